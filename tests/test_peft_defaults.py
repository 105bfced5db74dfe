"""What peft adapts in the families if its configuration names no targets."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import BertConfig

import tl_toolkit as tt
from tl_toolkit.strategies.layer_groups import head_parameters
from tl_toolkit.strategies.lora import targets

SIZES: dict[str, Any] = {"vocab_size": 17, "embedding_size": 5, "hidden_size": 11, "num_hidden_layers": 2}
IDS = torch.randint(3, 17, (5, 7), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [0] * 2 + [1] * 5, [1, 0, 1, 0, 1, 0, 1], [1] + [0] * 6])
BERT = BertConfig(vocab_size=17, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=13)
TOKENS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 2}
MODELS = {
    "rnn": lambda: tt.RnnForSequenceClassification(tt.RnnConfig(**SIZES, pooling="attention", bidirectional=True)),
    "tagger": lambda: tt.RnnForTokenClassification(tt.RnnConfig(**SIZES, crf=True)),
    "awd_lstm": lambda: tt.AwdLstmForSequenceClassification(tt.AwdLstmConfig(**SIZES, direction="both")),
    "self_attention": lambda: tt.SelfAttentionForSequenceClassification(
        tt.SelfAttentionConfig(**{**SIZES, "hidden_size": 8}, num_attention_heads=2)
    ),
    "rnn_encoder_decoder": lambda: tt.RnnEncoderDecoderForConditionalGeneration(
        tt.RnnEncoderDecoderConfig(vocab_size=17, embedding_size=5, hidden_size=11, attention="bahdanau", **TOKENS)
    ),
    "rnn_image_captioner": lambda: tt.RnnImageCaptionerForConditionalGeneration(
        tt.RnnImageCaptionerConfig(
            vocab_size=17, image_size=[12, 8], num_channels=3, encoder_channels=[8], encoder_stride=2, embedding_size=5,
            hidden_size=11, bos_token_id=2, **TOKENS,
        )
    ),
    "pooled_encoder": lambda: tt.PooledEncoderForSequenceClassification(tt.PooledEncoderConfig(encoder_config=BERT)),
}  # fmt: skip
TASKS = {"tagger": "TOKEN_CLS", "rnn_encoder_decoder": "SEQ_2_SEQ_LM", "rnn_image_captioner": None}


def inputs(name: str) -> dict[str, Any]:
    if name == "rnn_image_captioner":
        return {"pixel_values": torch.rand(5, 3, 12, 8), "decoder_input_ids": IDS}
    return {"input_ids": IDS, "attention_mask": MASK, **({"decoder_input_ids": IDS} if "decoder" in name else {})}


def perturb(model: nn.Module) -> set[str]:
    """Change all trained parameters, and return their names."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for parameter in trained.values():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return set(trained)


@pytest.mark.parametrize("name", MODELS)
def test_lora_adapts_what_the_strategy_adapts(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = MODELS[name]()
    head, given = head_parameters(base), inputs(name)
    fresh = copy.deepcopy(base)
    modules, parameters = targets(base, head)
    assert name in ("self_attention", "pooled_encoder") or parameters
    task_type = TASKS.get(name, "SEQ_CLS")
    model = get_peft_model(base, LoraConfig(task_type=task_type))
    trained = perturb(model)
    assert len({key for key in trained if "lora_" in key}) == 2 * (len(modules) + len(parameters))
    if task_type in ("SEQ_CLS", "TOKEN_CLS"):  # the whole head is trained, whatever its modules are called
        assert len({key for key in trained if "lora_" not in key}) == len(head)
    logits = model.eval()(**given).logits

    model.save_pretrained(tmp_path)
    torch.testing.assert_close(PeftModel.from_pretrained(fresh, tmp_path).eval()(**given).logits, logits)
    torch.testing.assert_close(model.merge_and_unload()(**given).logits, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["self_attention", "rnn_encoder_decoder", "pooled_encoder"])
def test_ia3_rescales_linear_layers(name: str) -> None:
    torch.manual_seed(0)
    model, given = get_peft_model(MODELS[name](), IA3Config(task_type=TASKS.get(name, "SEQ_CLS"))), inputs(name)
    assert any("ia3_l" in key for key in perturb(model))
    logits = model.eval()(**given).logits
    torch.testing.assert_close(model.merge_and_unload()(**given).logits, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["rnn", "awd_lstm"])
def test_ia3_says_why_it_cannot_rescale_recurrent_weights(name: str) -> None:
    with pytest.raises(ValueError, match=r"body of \w+ForSequenceClassification has none. Use LoraConfig"):
        get_peft_model(MODELS[name](), IA3Config(task_type="SEQ_CLS"))


def test_all_linear_warns_of_frozen_recurrent_layers() -> None:
    model = MODELS["rnn_encoder_decoder"]()
    frozen = sum(p.numel() for m in model.modules() if isinstance(m, nn.RNNBase) for p in m.parameters())
    with pytest.warns(UserWarning, match=f"leaves the recurrent layers .* frozen \\({frozen:,} parameters"):
        get_peft_model(model, LoraConfig(target_modules="all-linear"))


def test_a_second_adapter_has_the_targets_of_the_first() -> None:
    model = get_peft_model(MODELS["rnn"](), LoraConfig(task_type="SEQ_CLS"))
    model.add_adapter("second", LoraConfig(task_type="SEQ_CLS", r=2))
    first, second = model.peft_config["default"], model.peft_config["second"]
    assert set(first.target_parameters) == set(second.target_parameters)
    model.set_adapter("second")
    assert model(**inputs("rnn")).logits.requires_grad


def test_targets_that_are_named_stay() -> None:
    config = LoraConfig(target_modules=[], target_parameters=["layers.0.forward_cell.weight_hh_l0"])
    model = get_peft_model(MODELS["rnn"](), config)
    assert sum(parameter.requires_grad for parameter in model.parameters()) == 2


@pytest.mark.parametrize(
    "imports", ["import peft, tl_toolkit", "import tl_toolkit, peft", "import tl_toolkit, transformers.training_args"]
)
def test_whichever_is_imported_first(imports: str) -> None:
    code = f"{imports}, sys; print('tl_toolkit.peft_defaults' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
