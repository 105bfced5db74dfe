"""Saved folders of the self-attention family: exact, and complete without the toolkit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from tl_toolkit.models import (
    SelfAttentionConfig,
    SelfAttentionForCausalLM,
    SelfAttentionForMaskedLM,
    SelfAttentionForSequenceClassification,
    SelfAttentionForTokenClassification,
    SelfAttentionModel,
)

AUTO = {
    SelfAttentionModel: AutoModel,
    SelfAttentionForSequenceClassification: AutoModelForSequenceClassification,
    SelfAttentionForTokenClassification: AutoModelForTokenClassification,
    SelfAttentionForCausalLM: AutoModelForCausalLM,
    SelfAttentionForMaskedLM: AutoModelForMaskedLM,
}
CLASSES = list(AUTO)
IDS = torch.tensor([[5, 7, 11, 13, 17]])

# Runs in a Python that cannot import the toolkit, on a folder with one saved folder per class: every Auto class loads
# every folder, saves the body's output next to it, and saves the model again.
WITHOUT_TOOLKIT = """
import pathlib, sys
sys.modules["tl_toolkit"] = None
import torch, transformers
root = pathlib.Path(sys.argv[1])
for folder in sorted(path for path in root.iterdir() if path.name.startswith("SelfAttention")):
    for name in sys.argv[2:]:
        model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True).eval()
        body = model if name == "AutoModel" else model.model
        torch.save(body(torch.tensor([[5, 7, 11, 13, 17]])).last_hidden_state, root / f"{folder.name}-{name}.pt")
        model.save_pretrained(root / f"again-{folder.name}-{name}")
assert not any(module.startswith("tl_toolkit.") for module in sys.modules)
"""


def build(model_class: Any, **fields: Any) -> Any:
    sizes = {"vocab_size": 31, "embedding_size": 13, "hidden_size": 22, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 17, "pad_token_id": 0}
    torch.manual_seed(1)
    return model_class(SelfAttentionConfig(**{**sizes, **fields})).eval()


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"position_embedding_type": "learned", "norm_position": "post", "pooling": "attention"},
        {"embedding_size": 22, "tie_word_embeddings": False, "num_labels": 3},
    ],
)
def test_round_trip_is_exact(model_class: Any, fields: dict[str, Any], tmp_path: Path) -> None:
    model = build(model_class, **fields)
    model.save_pretrained(tmp_path)
    auto_class: Any = AUTO[model_class]
    for loaded in (model_class.from_pretrained(tmp_path), auto_class.from_pretrained(tmp_path)):
        assert type(loaded) is model_class
        state = loaded.state_dict()
        assert state.keys() == model.state_dict().keys()
        for name, value in model.state_dict().items():
            assert torch.equal(state[name], value), name
        assert torch.equal(loaded.eval()(IDS)[0], model(IDS)[0])
        same = {"architectures": [model_class.__name__], "_name_or_path": str(tmp_path)}
        assert loaded.config.to_dict() == {**model.config.to_dict(), **same}


@pytest.mark.parametrize("model_class", CLASSES)
def test_fields_are_restored(model_class: Any, tmp_path: Path) -> None:
    build(model_class, norm_position="post", attention_dropout=0.3).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, SelfAttentionConfig)
    assert (loaded.norm_position, loaded.attention_dropout) == ("post", 0.3)
    assert loaded.is_causal == (model_class is SelfAttentionForCausalLM)


def test_a_classifier_loads_the_body_of_a_language_model(tmp_path: Path) -> None:
    language_model = build(SelfAttentionForCausalLM)
    language_model.save_pretrained(tmp_path)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3).eval()
    assert classifier.config.is_causal
    assert torch.equal(classifier.model(IDS)[0], language_model.model(IDS)[0])
    assert classifier(IDS).logits.shape == (1, 3)


def test_any_head_loads_from_any_folder_without_the_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {model_class.__name__: build(model_class, position_embedding_type="learned") for model_class in CLASSES}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))  # where transformers stores the code that it loads
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    auto_names = [auto_class.__name__ for auto_class in AUTO.values()]
    command = [sys.executable, "-c", WITHOUT_TOOLKIT, str(tmp_path), *auto_names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    code = {"configuration_self_attention.py", "modeling_self_attention.py", "self_attention_layers.py"}
    code |= {"pooling.py", "strict_config.py"}
    for name, model in models.items():
        body = model if isinstance(model, SelfAttentionModel) else model.model
        for auto_name in auto_names:
            output = torch.load(tmp_path / f"{name}-{auto_name}.pt")
            # A language model's head adds a causal mask to the body, or removes it.
            own = body.config.is_causal
            body.config.is_causal = {"AutoModelForCausalLM": True, "AutoModelForMaskedLM": False}.get(auto_name, own)
            expected = body(IDS)[0]
            body.config.is_causal = own
            assert torch.equal(output, expected), (name, auto_name)
            assert code <= {path.name for path in (tmp_path / f"again-{name}-{auto_name}").glob("*.py")}
