"""Generation with a recurrent language model: with and without its state and padding."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, pipeline

from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM, RnnConfig, RnnForCausalLM, RnnForSequenceClassification
from tl_toolkit.models.rnn_cache import RnnCache

VOCAB, PAD, EOS = 29, 0, 1
NEW = 7


def language_model(kind: str = "lstm", **fields: Any) -> RnnForCausalLM | AwdLstmForCausalLM:
    """A model with one cell type, or an AWD-LSTM."""
    torch.manual_seed(2)
    sizes = {"vocab_size": VOCAB, "embedding_size": 11, "hidden_size": 13, "num_hidden_layers": 2}
    fields = {**sizes, "pad_token_id": PAD, "eos_token_id": EOS, **fields}
    if kind == "awd_lstm":
        model = AwdLstmForCausalLM(AwdLstmConfig(**fields)).eval()
    else:
        model = RnnForCausalLM(RnnConfig(cell_type=kind, **fields)).eval()
    with torch.no_grad():  # large weights: the choices differ from step to step
        for parameter in model.parameters():
            parameter.uniform_(-2.5, 2.5)
        if model.lm_head.bias is not None:
            model.lm_head.bias.zero_()
    return model


@pytest.fixture
def prompts() -> torch.Tensor:
    return torch.randint(2, VOCAB, (3, 5), generator=torch.Generator().manual_seed(7))


def generate(model: RnnForCausalLM, ids: torch.Tensor, **options: Any) -> torch.Tensor:
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": NEW, **options}
    torch.manual_seed(11)
    return model.generate(ids, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_sample": True, "top_k": 5, "temperature": 0.7},
        {"num_beams": 3},
        {"num_beams": 4, "length_penalty": 2.0, "num_return_sequences": 2},
        {"num_beams": 3, "do_sample": True},
        {"do_sample": True, "num_return_sequences": 3},
    ],
    ids=["greedy", "sample", "beam", "beam-length-penalty", "beam-sample", "many-samples"],
)
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh", "awd_lstm"])
def test_cached_equals_uncached(kind: str, options: dict[str, Any], prompts: torch.Tensor) -> None:
    model = language_model(kind)
    cached = generate(model, prompts, use_cache=True, **options)
    assert cached.shape[1] > prompts.shape[1]
    assert torch.equal(cached, generate(model, prompts, use_cache=False, **options))


@pytest.mark.parametrize("kind", ["lstm", "awd_lstm"])
@torch.no_grad()
def test_greedy_by_hand(kind: str, prompts: torch.Tensor) -> None:
    model = language_model(kind)
    row = prompts[:1]
    expected = row
    for _ in range(NEW):
        expected = torch.cat([expected, model(expected, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
        if expected[0, -1] == EOS:
            break
    assert len(set(expected[0, 5:].tolist())) > 2
    assert torch.equal(generate(model, row), expected)


@torch.no_grad()
def test_wide_beam_finds_the_best_text(prompts: torch.Tensor) -> None:
    """A beam as wide as the vocabulary is exhaustive over two steps."""
    model, row = language_model(), prompts[:1]
    found = generate(model, row, num_beams=VOCAB, max_new_tokens=2, length_penalty=0.0)
    best, best_score = None, -math.inf
    first = model(row).logits[0, -1].log_softmax(-1)
    for token in range(VOCAB):
        if token == EOS:
            continue
        second = model(torch.cat([row, torch.tensor([[token]])], dim=1)).logits[0, -1].log_softmax(-1)
        score, follower = (first[token] + second).max(-1)
        if score > best_score:
            best, best_score = [token, int(follower)], score
    assert first[EOS] < best_score  # a text that ends immediately is not better
    assert found[0, 5:].tolist() == best


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beam"])
@pytest.mark.parametrize("kind", ["lstm", "awd_lstm"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_left_padding_equals_no_padding(
    use_cache: bool, kind: str, options: dict[str, Any], prompts: torch.Tensor
) -> None:
    model = language_model(kind)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])
    padded = torch.where(mask.bool(), prompts, PAD)
    together = generate(model, padded, attention_mask=mask, use_cache=use_cache, **options)
    for row in range(3):
        alone = generate(model, prompts[row, mask[row].bool()][None], use_cache=use_cache, **options)
        new = alone[0, mask[row].sum() :]
        assert together[row, 5 : 5 + len(new)].tolist() == new.tolist()
        assert (together[row, 5 + len(new) :] == PAD).all()


@pytest.mark.parametrize("kind", ["lstm", "awd_lstm"])
def test_continuing_from_a_returned_state(kind: str, prompts: torch.Tensor) -> None:
    model = language_model(kind)
    model.generation_config.eos_token_id = None
    whole = generate(model, prompts)
    half = generate(model, prompts, max_new_tokens=3, return_dict_in_generate=True)
    assert isinstance(half.past_key_values, RnnCache)
    rest = generate(model, half.sequences, past_key_values=half.past_key_values, max_new_tokens=NEW - 3)
    assert torch.equal(rest, whole)


@pytest.mark.parametrize("kind", ["lstm", "awd_lstm"])
def test_from_embeddings(kind: str, prompts: torch.Tensor) -> None:
    model = language_model(kind)
    embeds = model.get_input_embeddings()(prompts)
    mask = torch.ones_like(prompts)
    generated = model.generate(inputs_embeds=embeds, attention_mask=mask, max_new_tokens=NEW)
    assert torch.equal(generated, generate(model, prompts)[:, 5:])


def test_a_backward_model_does_not_append(prompts: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="direction='backward'"):
        generate(language_model(direction="backward"), prompts)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<eos>", *(chr(ord("a") + index) for index in range(26)), "<unk>"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


@pytest.mark.parametrize("kind", ["lstm", "awd_lstm"])
def test_text_generation_pipeline(kind: str, tokenizer: PreTrainedTokenizerFast) -> None:
    model = language_model(kind)
    tokenizer.padding_side = "left"
    generator = pipeline("text-generation", model=model, tokenizer=tokenizer)
    options = {"max_new_tokens": NEW, "do_sample": False, "return_full_text": False}
    texts = ["a b c d", "e f"]
    batched = generator(texts, batch_size=2, **options)
    for text, result in zip(texts, batched, strict=True):
        ids = tokenizer(text, return_tensors="pt").input_ids
        expected = tokenizer.decode(generate(model, ids)[0, ids.shape[1] :], skip_special_tokens=True)
        assert result[0]["generated_text"].split() == expected.split()
        assert generator(text, **options) == result


def test_text_classification_pipeline(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    config = RnnConfig(vocab_size=VOCAB, hidden_size=13, num_labels=3, bidirectional=True, pooling="attention")
    model = RnnForSequenceClassification(config).eval()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
    texts = ["a b c d", "e"]
    for text, scores in zip(texts, classify(texts, batch_size=2), strict=True):
        expected = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        found = {entry["label"]: entry["score"] for entry in scores}
        torch.testing.assert_close(torch.tensor([found[f"LABEL_{index}"] for index in range(3)]), expected.detach())
