"""A LoRA run publishes its adapter for a base model on the Hub, or the merged model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from run_folders import make_record
from server import HubServer

from tl_toolkit.errors import UserError
from tl_toolkit.hub.arguments import parse_publish_arguments
from tl_toolkit.hub.publishing import publish

TEXTS = ["the old iron and tin", "apple of the rhine"]


@pytest.fixture
def push(hub: HubServer) -> Callable[..., None]:
    def call(folder: Path, repo_id: str, *flags: str) -> None:
        request = parse_publish_arguments([str(folder), "--repo_id", repo_id, *flags])
        publish(request, HfApi(endpoint=hub.endpoint, token=hub.token), lambda line: None)

    return call


@pytest.fixture
def lora(hub: HubServer, push: Callable[..., None], run_folder: Path, tmp_path: Path) -> Path:
    """The folder of a LoRA run that started from a model on the Hub."""
    from tl_toolkit.config.arguments import StrategyArguments
    from tl_toolkit.models import RnnForSequenceClassification
    from tl_toolkit.strategies.lora import Lora

    push(run_folder, "user/base")
    folder = tmp_path / "lora"
    folder.mkdir()
    strategy = Lora(StrategyArguments())
    adapted = strategy.prepare(RnnForSequenceClassification.from_pretrained(run_folder))
    torch.manual_seed(1)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    strategy.finish(adapted, folder).save_pretrained(folder)
    for path in run_folder.glob("tokenizer*.json"):
        shutil.copy(path, folder)
    record = make_record(str(tmp_path)) | {"strategy": {"name": "lora", "r": 8, "alpha": 16}}
    record["model"] |= {"model_name_or_path": "user/base", "revision": hub.commits("user/base")[0].oid}
    (folder / "result.json").write_text(json.dumps(record))
    return folder


def predict(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits


def test_adapter_and_merged_model_predict_the_same(hub: HubServer, lora: Path, push: Callable[..., None]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    push(lora, "user/adapter")
    published = hub.files("user/adapter")
    assert set(published) == {
        *(".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors", "learning_curve.png"),
        *("result.json", "tokenizer.json", "tokenizer_config.json"),
    }
    config = json.loads(published["adapter_config.json"])
    assert config["base_model_name_or_path"] == "user/base" and config["auto_mapping"] is None
    assert config["revision"] == hub.commits("user/base")[0].oid
    assert b"base_model: user/base" in published["README.md"] and b"library_name: peft" in published["README.md"]

    push(lora, "user/merged", "--merge")
    assert "adapter_config.json" not in hub.files("user/merged")
    labels = {index: label for index, label in enumerate(("fruit", "metal", "river"))}
    base = AutoModelForSequenceClassification.from_pretrained("user/base", id2label=labels)
    merged = AutoModelForSequenceClassification.from_pretrained("user/merged")
    tokenizer = AutoTokenizer.from_pretrained("user/adapter")
    before = predict(base, tokenizer)
    # peft uses the Hub endpoint of its import time, so it needs a local folder here.
    adapter = HfApi(endpoint=hub.endpoint).snapshot_download("user/adapter")
    adapted = predict(PeftModel.from_pretrained(base, adapter), tokenizer)
    torch.testing.assert_close(adapted, predict(merged, tokenizer))
    assert not torch.allclose(adapted, before)


def test_adapter_of_a_local_model_needs_base_model_or_merge(
    hub: HubServer, lora: Path, push: Callable[..., None], tmp_path: Path
) -> None:
    assert json.loads((lora / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    record = json.loads((lora / "result.json").read_text())
    record["model"]["model_name_or_path"] = str(tmp_path / "base")
    (lora / "result.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="only on this machine.*--base_model user/name.*--merge"):
        push(lora, "user/adapter")
    with pytest.raises(UserError, match="'user/nowhere', which is not on the Hub"):
        push(lora, "user/adapter", "--base_model", "user/nowhere")
    push(lora, "user/adapter", "--base_model", "user/base")
    config = json.loads(hub.files("user/adapter")["adapter_config.json"])
    assert config["base_model_name_or_path"] == "user/base"


def test_adapter_replaces_a_merged_model(hub: HubServer, lora: Path, push: Callable[..., None]) -> None:
    push(lora, "user/model", "--merge")
    push(lora, "user/model")
    assert not {"model.safetensors", "config.json"} & set(hub.files("user/model"))
    push(lora, "user/model", "--merge")
    assert not {"adapter_model.safetensors", "adapter_config.json"} & set(hub.files("user/model"))
