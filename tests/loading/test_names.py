"""Messages about checkpoints and architectures that cannot be found."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tl_toolkit.config.arguments import ModelArguments
from tl_toolkit.errors import UserError
from tl_toolkit.loading import names as location
from tl_toolkit.loading.model import load_config
from tl_toolkit.loading.tokenizer import load_tokenizer


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `outputs` in the working directory, which contains a folder `sst2_lstm`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "sst2_lstm").mkdir(parents=True)
    return tmp_path / "outputs"


@pytest.mark.parametrize("load", [load_config, load_tokenizer])
@pytest.mark.parametrize("known", [True, False])
def test_a_failed_download_mentions_local_folders(outputs: Path, load: object, known: bool) -> None:
    name = "outputs/sst2_lstn" if known else "outputs/bert"
    with pytest.raises(UserError) as caught:
        load(ModelArguments(model_name_or_path=name))
    message = str(caught.value)
    assert f"There is no local folder '{name}' either." in message and "builtin:minilm need no network" in message
    assert ("Did you mean 'sst2_lstm'?" in message) is known


def test_a_missing_folder_is_named_with_its_nearest_sibling(outputs: Path) -> None:
    with pytest.raises(UserError, match="'./outputs/sst2_lstn' does not exist. Did you mean 'sst2_lstm'"):
        location.location_of("./outputs/sst2_lstn")


def test_a_warning_precedes_the_request_to_the_hub(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for name in ("outputs/sst2_lstn", "outputs/sst2_lstn", "google-bert/bert-base-uncased", "gpt2"):
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
            assert location.location_of(name) == name
            assert not caplog.records  # offline, the error follows immediately
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in ("outputs/sst2_lstn", "outputs/sst2_lstn", "google-bert/bert-base-uncased", "gpt2"):
        assert location.location_of(name) == name
    (record,) = caplog.records
    assert "no local folder 'outputs/sst2_lstn'. Did you mean 'sst2_lstm'?" in record.getMessage()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lstm", "--model_type rnn with --config_overrides cell_type=lstm"),
        ("BiLSTM", "--model_type rnn with --config_overrides cell_type=lstm,bidirectional=true"),
        ("gru", "--model_type rnn with --config_overrides cell_type=gru"),
        ("elman", "--model_type rnn with --config_overrides cell_type=rnn_tanh"),
        ("transformer", "--model_type self_attention"),
    ],
)
def test_other_names_of_an_architecture(name: str, said: str) -> None:
    with pytest.raises(UserError, match=f"There is no --model_type '{name}': use {said}[.]"):
        load_config(ModelArguments(model_type=name))
