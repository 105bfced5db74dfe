"""The output folder of a run; a run that fails to start leaves no files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tl_toolkit.config.parsing import parse_arguments
from tl_toolkit.config.pretrain_arguments import parse_pretrain_arguments
from tl_toolkit.errors import UserError
from tl_toolkit.records.output_dir import without_empty_folder
from tl_toolkit.workflows.convert import ConvertArguments, convert
from tl_toolkit.workflows.finetune import finetune
from tl_toolkit.workflows.predict import parse_predict_arguments, predict
from tl_toolkit.workflows.pretrain import pretrain


def test_a_folder_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new, old = ["--model_type", "rnn"], ["--model_name_or_path", "outputs"]
    recipes: list[tuple[Callable, Callable, list[str]]] = [
        (finetune, parse_arguments, new),
        (pretrain, parse_pretrain_arguments, new),
        (predict, parse_predict_arguments, old),
    ]
    for recipe, parse, model in recipes:
        with pytest.raises(UserError, match="set --output_dir"):
            recipe(parse([*model, "--dataset_name", "x.csv", "--use_cpu"]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"text_column": "txet"},
        {"config_overrides": "hiden_size=3"},
        {"report_to": "nowhere"},
        {"optim": "adamw_apex_fused"},  # fails after the trainer has created the folder
    ],
)
def test_unusable_input_leaves_no_folder(
    finetune: Callable[..., dict], tiny_rnn: dict, tmp_path: Path, wrong: dict
) -> None:
    with pytest.raises(UserError):
        finetune("new/out", **{**tiny_rnn, **wrong})
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(UserError):
        finetune("old", **{**tiny_rnn, **wrong})
    assert (tmp_path / "old").is_dir()  # existed before


def test_a_folder_with_files_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), without_empty_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "note.txt").touch()
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["note.txt"]


def test_a_tracker_that_is_missing_is_named_with_its_package(
    finetune: Callable[..., dict], tiny_rnn: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: False)
    with pytest.raises(UserError, match="pip install tensorboard[.]"):
        finetune(**tiny_rnn, report_to="tensorboard")


def test_a_conversion_that_fails_to_start_leaves_no_folder(tmp_path: Path) -> None:
    arguments = ConvertArguments(
        output_dir=str(tmp_path / "new"),
        source="fastai",
        weights=str(tmp_path / "w.pth"),
        vocab=str(tmp_path / "v.pkl"),
    )
    with pytest.raises(UserError, match="v.pkl"):
        convert(arguments)
    assert not list(tmp_path.iterdir())
