"""The pooling of a sentence encoder on the Hub is read from its small files, also without a network."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, constants
from server import HubServer
from transformers import AutoConfig, BertConfig, BertModel

from tl_toolkit.config.arguments import ModelArguments
from tl_toolkit.loading.model import make_model
from tl_toolkit.models import PooledEncoderForSequenceClassification

ARGUMENTS = ModelArguments(model_name_or_path="user/encoder")
HEAD = "AutoModelForSequenceClassification"


@pytest.fixture
def push(hub: HubServer, tmp_path: Path) -> Any:
    """Publishes a tiny BERT as user/encoder, with or without the files of sentence-transformers."""

    def call(is_sentence_encoder: bool) -> None:
        folder = tmp_path / "encoder"
        torch.manual_seed(0)
        config = BertConfig(vocab_size=31, hidden_size=12, num_hidden_layers=1, num_attention_heads=3)
        BertModel(config).save_pretrained(folder)
        if is_sentence_encoder:
            modules = [{"path": path, "type": f"models.{path[2:]}"} for path in ("0_Transformer", "1_Pooling")]
            (folder / "modules.json").write_text(json.dumps(modules))
            (folder / "1_Pooling").mkdir()
            (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_repo("user/encoder")
        api.upload_folder(repo_id="user/encoder", folder_path=folder)

    return call


def test_a_sentence_encoder_is_pooled_as_its_modules_say_also_offline(
    push: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(is_sentence_encoder=True)
    assert make_model(ARGUMENTS, HEAD, {}, None).config.pooling == "max"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert make_model(ARGUMENTS, HEAD, {}, None).config.pooling == "max"


def test_other_models_keep_their_head_also_offline(
    push: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push(is_sentence_encoder=False)
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        with caplog.at_level(logging.WARNING):
            assert not isinstance(make_model(ARGUMENTS, HEAD, {}, None), PooledEncoderForSequenceClassification)
        assert "could not be checked" not in caplog.text


def test_an_unknown_pooling_is_a_warning(
    push: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The model is in the cache, but whether it has modules is not."""
    push(is_sentence_encoder=True)
    BertModel.from_pretrained("user/encoder", config=AutoConfig.from_pretrained("user/encoder"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with caplog.at_level(logging.WARNING):
        assert not isinstance(make_model(ARGUMENTS, HEAD, {}, None), PooledEncoderForSequenceClassification)
    assert "could not be checked" in caplog.text and "Set --pooling" in caplog.text
