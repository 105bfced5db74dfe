"""Careless or malicious folders and flags publish no other files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.errors import UserError
from tl_toolkit.hub.arguments import parse_publish_arguments
from tl_toolkit.hub.card import model_card
from tl_toolkit.hub.cleaning import clean_text
from tl_toolkit.hub.contents import model_contents
from tl_toolkit.records.artefacts import artefacts_in
from tl_toolkit.records.record import sealed, write_record


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refusal(folder: Path, *include: str) -> str:
    with pytest.raises(UserError) as refused:
        model_contents(folder, include)
    return str(refused.value)


@pytest.mark.parametrize("absolute", [True, False])
def test_an_auto_map_reaches_no_file_outside_the_folder(run_folder: Path, tmp_path: Path, absolute: bool) -> None:
    (tmp_path / "diary.py").write_text("secret = 1")
    place = str(tmp_path / "diary") if absolute else "sub/diary"
    change(run_folder / "config.json", model_type="foreign", auto_map={"AutoModel": f"{place}.Model"})
    assert "not a Python file beside config.json" in refusal(run_folder)


def test_a_pattern_reaches_no_file_outside_the_folder(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("secret")
    for pattern in ("../*.txt", str(tmp_path / "*.txt"), "../run/*"):
        assert pattern in refusal(run_folder, pattern) and "within the published folder" in refusal(run_folder, pattern)


@pytest.mark.parametrize("name", ["vocab.txt", "modeling_rnn.py"])
def test_a_link_reaches_no_file_outside_the_folder(run_folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "diary.txt").write_text("secret")
    (run_folder / name).unlink(missing_ok=True)
    (run_folder / name).symlink_to(tmp_path / "diary.txt")
    assert f"{name!r} in" in (message := refusal(run_folder)) and "leads out of the folder" in message
    (run_folder / name).unlink()
    (run_folder / "own.txt").write_text("x")
    (run_folder / name).symlink_to(run_folder / "own.txt")  # a link within the folder is allowed
    assert name in {file.path for file in model_contents(run_folder).files}


def test_a_pickle_with_an_upper_case_suffix_is_refused(run_folder: Path) -> None:
    (run_folder / "HEAD.PKL").write_bytes(b"x")
    assert "is a pickle" in refusal(run_folder, "*.PKL")
    assert model_contents(run_folder).left["HEAD.PKL"] == "is a pickle"


@pytest.mark.parametrize("auto_map", ["modeling_x.Model", ["modeling_x.Model", None], {"AutoModel": 3}])
def test_an_invalid_auto_map_is_reported(run_folder: Path, auto_map: Any) -> None:
    change(run_folder / "config.json", model_type="foreign", auto_map=auto_map)
    assert "names code" in refusal(run_folder)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_tokenizer_configuration_is_named(run_folder: Path, content: str) -> None:
    (run_folder / "tokenizer_config.json").write_text(content)
    assert "tokenizer_config.json" in refusal(run_folder)


@pytest.mark.parametrize("flags", [("--commit_message", "for hf_" + "Ab1" * 8), ("--timeout", "nan")])
def test_flags_with_a_token_or_an_endless_timeout_are_refused(flags: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=flags[0]) as refused:
        parse_publish_arguments(["run", "--repo_id", "user/run", *flags])
    assert "Ab1Ab1" not in str(refused.value)


def test_the_end_of_a_tag_is_not_a_path() -> None:
    assert clean_text("LSTM <i>new</i> +/-5 | 2") == "LSTM <i>new</i> +/-5 | 2"
    assert clean_text("</srv/anna/lm>, +/srv/anna/lm") == "<lm>, +lm"


@pytest.mark.parametrize(
    ("epochs", "sentence"),
    [(0.0457, "trained on 66 labelled texts, but saw only 4.6% of them"), (2.0, "66 labelled texts.")],
)
def test_a_card_claims_no_labels_that_training_never_saw(run_folder: Path, epochs: float, sentence: str) -> None:
    record = json.loads((run_folder / "result.json").read_text())
    change(run_folder / "result.json", cost=record["cost"] | {"epochs": epochs})
    assert sentence in str(model_card(run_folder))


def test_files_that_the_run_did_not_write_are_refused(run_folder: Path) -> None:
    record = json.loads((run_folder / "result.json").read_text())
    write_record(run_folder, record | {"schema_version": 2, "artefacts": artefacts_in(run_folder)})
    record = model_contents(run_folder, ["*.parquet"]).record
    assert record is not None and {"model.safetensors", "predictions_test.parquet"} <= set(record["artefacts"])
    assert sealed(record) == record  # of the published record, whose paths are cleaned
    change(run_folder / "config.json", note="edited by hand")
    model_contents(run_folder)
    for name in ("predictions_test.parquet", "model.safetensors"):
        content = bytearray((run_folder / name).read_bytes())
        content[-9] ^= 1
        (run_folder / name).write_bytes(content)
        assert f"{name!r} in" in refusal(run_folder, "*.parquet")
    change(run_folder / "result.json", metrics={"test": {"accuracy": 1.0}})
    assert "was changed after it was written" in refusal(run_folder)
    (run_folder / "result.json").write_text('{"another": "program"}')
    assert model_contents(run_folder).record is None
