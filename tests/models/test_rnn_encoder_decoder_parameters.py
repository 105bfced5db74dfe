"""The recurrent encoder-decoder's parameters and configuration: initialisation, saving, tying, groups, adapters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForSeq2SeqLM

from tl_toolkit.models import RnnEncoderDecoderConfig, RnnEncoderDecoderForConditionalGeneration, RnnEncoderDecoderModel

IDS = torch.tensor([[5, 2, 7, 0], [3, 3, 1, 6]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
LABELS = torch.tensor([[4, 6, 3], [5, 3, -100]])
VARIANTS: dict[str, dict[str, Any]] = {
    "none": {"tie_word_embeddings": True},
    "bahdanau": {"attention": "bahdanau", "bidirectional_encoder": True, "cell_type": "gru", "decoder_vocab_size": 13},
    "feeding": {"attention": "luong", "input_feeding": True, "num_decoder_layers": 2, "share_embeddings": False},
    "local": {
        "attention": "luong",
        "attention_window": "local_p",
        "decoder_vocab_size": 13,
        "tie_word_embeddings": True,
        "num_encoder_layers": 2,
    },
}


def config(**fields: Any) -> RnnEncoderDecoderConfig:
    sizes = {"vocab_size": 11, "embedding_size": 5, "hidden_size": 7, "eos_token_id": 1, "decoder_start_token_id": 2}
    return RnnEncoderDecoderConfig(**{**sizes, **fields})


def network(**fields: Any) -> RnnEncoderDecoderForConditionalGeneration:
    torch.manual_seed(0)
    return RnnEncoderDecoderForConditionalGeneration(config(**fields)).eval()


def logits(model: Any) -> torch.Tensor:
    return model(IDS, attention_mask=MASK, labels=LABELS).logits


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("head", [RnnEncoderDecoderModel, RnnEncoderDecoderForConditionalGeneration])
def test_round_trip_is_exact(head: Any, variant: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = head(config(**VARIANTS[variant]))
    model.save_pretrained(tmp_path)
    loaded = head.from_pretrained(tmp_path)
    assert {**loaded.config.to_dict(), "_name_or_path": ""} == model.config.to_dict()
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("variant", ["none", "local"])
def test_tied_weights_stay_tied(variant: str, tmp_path: Path) -> None:
    model = network(**VARIANTS[variant])
    assert model.projection is not None  # embeddings and states differ in size
    model.save_pretrained(tmp_path)
    model = RnnEncoderDecoderForConditionalGeneration.from_pretrained(tmp_path).train()
    assert model.lm_head.weight is model.model.get_decoder_embeddings().weight
    shares = model.model.get_decoder_embeddings() is model.get_input_embeddings()
    assert shares == (variant == "none")
    model(IDS, labels=LABELS).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert model.lm_head.weight is model.model.get_decoder_embeddings().weight
    assert network(**{**VARIANTS[variant], "embedding_size": 7}).projection is None


def test_start_values() -> None:
    model = RnnEncoderDecoderForConditionalGeneration(config(**VARIANTS["bahdanau"], initializer_range=0.3))
    for cell in (layer.forward_cell for side in (model.model.encoder, model.model.decoder) for layer in side.layers):
        for gate in cell.weight_hh_l0.split(7):
            torch.testing.assert_close(gate @ gate.T, torch.eye(7), atol=1e-5, rtol=0)
        assert not cell.bias_hh_l0.any()
    for table in (model.get_input_embeddings(), model.model.get_decoder_embeddings()):
        assert 0.25 < table.weight.abs().max() <= 0.3
    assert not model.lm_head.bias.any() and not model.model.decoder.readout.bias.any()


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("score", ["general", "dot"])
def test_layer_groups_cover_every_parameter_once(variant: str, score: str) -> None:
    heads = (RnnEncoderDecoderModel, RnnEncoderDecoderForConditionalGeneration)
    for model in (head(config(**VARIANTS[variant], attention_score=score)) for head in heads if variant != "bahdanau"):
        prefixes = [prefix for group in model.layer_groups() for prefix in group]
        for name, _ in model.named_parameters():
            assert sum(name.startswith(prefix) for prefix in prefixes) == 1, name
        for prefix in prefixes:
            tied = prefix == "lm_head." and model.config.tie_word_embeddings
            assert tied or any(name.startswith(prefix) for name, _ in model.named_parameters()), prefix
        assert "embedding." in model.layer_groups()[0][0]


def test_resizing_one_vocabulary() -> None:
    model = network(tie_word_embeddings=True)
    before = logits(model)
    model.resize_token_embeddings(17, mean_resizing=False)
    assert (model.config.vocab_size, model.lm_head.weight.shape[0], model.lm_head.bias.shape[0]) == (17, 17, 17)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    torch.testing.assert_close(logits(model)[..., :11], before)
    with pytest.raises(ValueError, match="one embedding table for both sides .* got decoder_vocab_size=13"):
        network(decoder_vocab_size=13).resize_token_embeddings(17)


# --- Loading elsewhere ------------------------------------------------------------------------------------------------

# Runs in a Python where `import tl_toolkit` fails; prints the outputs of each head.
SCRIPT = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tl_toolkit":
            raise ModuleNotFoundError("no toolkit here")

sys.meta_path.insert(0, Absent())
import torch
import transformers

ids, mask = torch.tensor([[5, 2, 7, 0], [3, 3, 1, 6]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
result = []
for folder in sys.argv[1:]:
    body = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
    again = folder + "_again"
    model.save_pretrained(again)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(again, trust_remote_code=True).eval()
    result.append({
        "body": body(ids, mask, decoder_input_ids=ids)[0].tolist(),
        "logits": model(ids, mask, decoder_input_ids=ids).logits.tolist(),
        "generated": model.generate(ids, attention_mask=mask, max_new_tokens=5, num_beams=3).tolist(),
    })
assert not any(name.split(".")[0] == "tl_toolkit" for name in sys.modules)
print(json.dumps(result))
"""


def test_loads_without_the_toolkit(tmp_path: Path) -> None:
    models = [network(**VARIANTS[variant]) for variant in ("bahdanau", "local")]
    folders = [tmp_path / "bahdanau", tmp_path / "local"]
    for model, folder in zip(models, folders, strict=True):
        model.save_pretrained(folder)
        assert all("tl_toolkit" not in path.read_text() for path in folder.glob("*.py"))
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SCRIPT, *map(str, folders)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for model, found in zip(models, json.loads(done.stdout.splitlines()[-1]), strict=True):
        torch.testing.assert_close(torch.tensor(found["body"]), model.model(IDS, MASK, decoder_input_ids=IDS)[0])
        torch.testing.assert_close(torch.tensor(found["logits"]), model(IDS, MASK, decoder_input_ids=IDS).logits)
        generated = model.generate(IDS, attention_mask=MASK, max_new_tokens=5, num_beams=3)
        assert found["generated"] == generated.tolist()


def test_auto_classes(tmp_path: Path) -> None:
    assert type(AutoModel.from_config(config())) is RnnEncoderDecoderModel
    RnnEncoderDecoderModel(config()).save_pretrained(tmp_path)
    assert type(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)) is RnnEncoderDecoderForConditionalGeneration


# --- LoRA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["none", "bahdanau", "feeding"])
def test_lora_on_linear_layers_and_recurrent_weights(variant: str, tmp_path: Path) -> None:
    base = network(**{**VARIANTS[variant], "tie_word_embeddings": False})
    base.save_pretrained(tmp_path / "base")
    linear = ["lm_head"] + ([] if variant == "none" else ["key_projection", "readout"])
    lora = LoraConfig(
        r=3,
        lora_dropout=0.0,
        task_type="SEQ_2_SEQ_LM",
        target_modules=linear,
        target_parameters=["forward_cell.weight_hh_l0", "forward_cell.weight_ih_l0"],
    )
    model = get_peft_model(base, lora).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=IDS, attention_mask=MASK, labels=LABELS).loss.backward()
        optimizer.step()
    # Every adapter is trained, including those of the weights in the loop.
    assert all(p.grad is not None and p.grad.any() for p in model.parameters() if p.requires_grad)
    model.eval()
    adapted = logits(model)
    with model.disable_adapter():
        assert not torch.allclose(logits(model), adapted, atol=1e-3)
    model.save_pretrained(tmp_path / "adapter")
    fresh = RnnEncoderDecoderForConditionalGeneration.from_pretrained(tmp_path / "base")
    torch.testing.assert_close(logits(PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()), adapted)
    torch.testing.assert_close(logits(model.merge_and_unload()), adapted)


# --- Configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"decoder_vocab_size": 0}, "decoder_vocab_size must be at least 1, got 0"),
        ({"hidden_dropout": 1.0}, r"hidden_dropout is a probability and must be in \[0, 1\), got 1.0"),
        ({"scheduled_sampling": 1.5}, r"scheduled_sampling must be in \[0, 1\], got 1.5"),
        ({"reverse_source": True, "bidirectional_encoder": True}, "reads both ways"),
        ({"input_feeding": True}, "input_feeding=True needs attention='luong', got attention='none'"),
        (
            {"attention": "bahdanau", "attention_window": "local_p"},
            "attention_window='local_p' needs attention='luong'",
        ),
        ({"attention": "luong", "attention_score": "dot", "bidirectional_encoder": True}, "twice as large"),
        ({"attention": "lung"}, "attention"),
        ({"hiden_size": 3}, "Did you mean 'hidden_size'"),
    ],
)
def test_bad_configuration(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        config(**fields)


def test_vocabularies_of_the_two_sides() -> None:
    two = config(decoder_vocab_size=13)
    assert (two.get_text_config().vocab_size, two.get_text_config(decoder=True).vocab_size) == (11, 13)
    assert two.vocab_size == 11 and two.num_hidden_layers == two.num_encoder_layers
    assert config().get_text_config(decoder=True).vocab_size == 11
