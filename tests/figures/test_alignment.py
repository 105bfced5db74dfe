"""The returned attention equals the attention in `generate`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.figures.alignment import attention_of
from tl_toolkit.models import RnnConfig, RnnForCausalLM

TEXT = "घर ab"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer("char", [TEXT, "abcdefgh"], min_frequency=1)


def make_model(kind: str, vocab_size: int) -> PreTrainedModel:
    ids: dict[str, Any] = {"vocab_size": vocab_size, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 2}
    bart = {
        **ids, "d_model": 8, "encoder_layers": 1, "decoder_layers": 3, "encoder_attention_heads": 2, "bos_token_id": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 11, "decoder_ffn_dim": 11, "max_position_embeddings": 37,
        "forced_eos_token_id": None, "init_std": 1.0,
    }  # fmt: skip
    torch.manual_seed(3)
    if kind == "marian":
        model: Any = MarianMTModel(MarianConfig(**bart))
    elif kind == "bart":
        model = BartForConditionalGeneration(BartConfig(**bart))
    else:
        model = T5ForConditionalGeneration(T5Config(d_model=8, d_kv=4, d_ff=11, num_layers=3, num_heads=2, **ids))
    return model.eval()


@pytest.mark.parametrize("kind", ["marian", "bart", "t5"])
@pytest.mark.parametrize("layer", [-1, 1])
def test_weights_equal_those_of_generate(kind: str, layer: int, tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model(kind, len(tokenizer))
    chosen = model.config._attn_implementation
    found = attention_of(model, tokenizer, TEXT, layer=layer, max_new_tokens=7, num_beams=1, do_sample=False)
    assert model.config._attn_implementation == chosen and not model.training
    model.set_attn_implementation("eager")
    inputs = tokenizer(TEXT, return_tensors="pt")
    generated = model.generate(
        **inputs, max_new_tokens=7, num_beams=1, do_sample=False, output_attentions=True, return_dict_in_generate=True
    )
    expected = torch.stack([step[layer][0, :, -1].mean(0) for step in generated.cross_attentions])
    torch.testing.assert_close(found.weights, expected, atol=1e-5, rtol=1e-4)
    assert found.source == list(TEXT)
    assert len(found.target) == len(expected)
    torch.testing.assert_close(found.weights.sum(1), torch.ones(len(found.target)))


def test_one_head(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("marian", len(tokenizer))
    heads = [attention_of(model, tokenizer, TEXT, head=head, max_new_tokens=5).weights for head in (0, 1)]
    assert not torch.allclose(*heads, atol=1e-3)
    torch.testing.assert_close(attention_of(model, tokenizer, TEXT, max_new_tokens=5).weights, sum(heads) / 2)


def test_it_stops_at_the_end_of_the_text_and_supports_beams(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("bart", len(tokenizer))
    inputs = tokenizer(TEXT, return_tensors="pt")
    written = model.generate(**inputs, num_beams=3, max_new_tokens=5)[0, 1:].tolist()
    found = attention_of(model, tokenizer, TEXT, num_beams=3, max_new_tokens=5)
    assert "".join(t for t in found.target if not t.startswith("<")) == tokenizer.decode(
        written, skip_special_tokens=True
    )
    model.generation_config.eos_token_id = [3, *inputs.input_ids[0].tolist(), *range(4, len(tokenizer))]
    assert len(attention_of(model, tokenizer, TEXT, max_new_tokens=5).target) == 1


def test_models_without_alignment_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match="RnnForCausalLM is not an encoder-decoder"):
        attention_of(RnnForCausalLM(RnnConfig(vocab_size=len(tokenizer))), tokenizer, TEXT)
    model = make_model("marian", len(tokenizer))
    with pytest.raises(UserError, match="MarianMTModel has no layer 3: it has 3"):
        attention_of(model, tokenizer, TEXT, layer=3, max_new_tokens=5)
    with pytest.raises(UserError, match="MarianMTModel has no head 2: it has 2"):
        attention_of(model, tokenizer, TEXT, head=2, max_new_tokens=5)
