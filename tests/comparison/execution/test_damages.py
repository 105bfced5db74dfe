"""A comparison whose files are damaged repairs itself when it is run again, and its report names the damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.execution.scheduler import InProcess, execute
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.comparison.report.merging import report_from_results
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.records.artefacts import damages
from tl_toolkit.records.record import read_record, sealed
from tl_toolkit.workflows.compare import train

MODEL = {"model_type": "rnn", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=1"}


def run_again(home: Path, output: Path) -> list[str]:
    """Run the comparison; returns its lines of progress."""
    lines: list[str] = []
    content = {
        "dataset_name": str(home / "reviews.csv"), "use_cpu": True, "num_train_epochs": 1, "label_budgets": [12],
        "seeds": [1, 2], "entries": [{"name": "plain", **MODEL}],
    }  # fmt: skip
    grid = make_grid(content, {}, "the grid")
    assert execute(grid, output, retry_failed=False, executor=InProcess(train), say=lines.append) == 0
    return lines


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and a comparison of two runs."""
    home = tmp_path_factory.mktemp("home")
    rows = [f"{('sweet', 'hard')[n % 2]} thing number {n},{('fruit', 'metal')[n % 2]}" for n in range(90)]
    (home / "reviews.csv").write_text("\n".join(["text,label", *rows, ""]))
    run_again(home, home / "out")
    return home


def delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9]) and None


def flip(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def change_record(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        record = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(record | changes))

    return change


def change_type(folder: Path) -> None:
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(sealed(record | {"metrics": [0.5]})))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "deleted predictions": (delete("predictions_test.parquet"), "predictions_test.parquet is missing"),
    "cut predictions": (cut("predictions_validation.parquet"), "predictions_validation.parquet has "),
    "a flipped bit of predictions": (flip("predictions_test.parquet"), "predictions_test.parquet has another content"),
    "deleted model": (delete("model.safetensors"), "model.safetensors is missing"),
    "cut model": (cut("model.safetensors"), "model.safetensors has "),
    "a flipped bit of the model": (flip("model.safetensors"), "model.safetensors has another content"),
    "empty configuration": (lambda folder: (folder / "config.json").write_text("") and None, "config.json has 0 bytes"),
    "deleted tokenizer": (delete("tokenizer.json"), "tokenizer.json is missing"),
    "cut record": (cut("result.json"), "result.json' is not JSON"),
    "changed score": (change_record(metrics={"test": {"accuracy": 1.0}}), "was changed after it was written"),
    "record of another type": (change_type, "the field 'metrics' must be a mapping"),
    "record that is not text": (lambda folder: (folder / "result.json").write_bytes(b"\xff\xfe") and None, "not JSON"),
    "deleted record": (delete("result.json"), ""),
    "deleted folder": (shutil.rmtree, ""),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_comparison_repairs_itself(
    made: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    output = shutil.copytree(made / "out", tmp_path / "out")
    damaged, sound = (output / run.folder for run in read_results(output / "results.jsonl"))
    before, stamp = read_record(damaged), (sound / "result.json").stat().st_mtime_ns
    damage, named = DAMAGES[name]
    damage(damaged)
    lines = run_again(made, output)
    assert sum("cached" in line for line in lines) == 1  # only the damaged run is repeated
    assert named.replace("result.json' ", "") in caplog.text
    again = read_record(damaged)
    assert before is not None and again is not None and again["status"] == "completed"
    assert again["metrics"] == before["metrics"] and damages(damaged, again) == {}
    assert (sound / "result.json").stat().st_mtime_ns == stamp
    assert [run.record["metrics"] for run in read_results(output / "results.jsonl")][0] == before["metrics"]
    caplog.clear()
    assert all("cached" in line for line in run_again(made, output)) and not caplog.text


@pytest.mark.parametrize(
    "name", [name for name, (_, named) in DAMAGES.items() if ".parquet" in named or "model." in named]
)
def test_a_report_names_damaged_files(made: Path, tmp_path: Path, name: str) -> None:
    output = shutil.copytree(made / "out", tmp_path / "out")
    damaged = read_results(output / "results.jsonl")[0]
    damage, named = DAMAGES[name]
    damage(output / damaged.folder)
    page = report_from_results([output]).read_text()
    if name == "a flipped bit of the model":  # a report does not read models, and checks only their size
        assert "missing or damaged" not in page
    else:
        assert "Files of plain, 12 labels, seed 1 are missing or damaged" in page and named in page
    assert "missing or damaged" not in report_from_results([made / "out"]).read_text()


def test_a_damaged_line_costs_a_run_of_the_report_and_is_restored(made: Path, tmp_path: Path) -> None:
    output = shutil.copytree(made / "out", tmp_path / "out")
    whole = (output / "results.jsonl").read_bytes()
    first, second = whole.splitlines(keepends=True)
    (output / "results.jsonl").write_bytes(first.replace(b'"completed"', b'"comp\xffeted"') + second)
    page = report_from_results([output]).read_text()
    assert "Line 1 of results.jsonl is not JSON" in page and "1 finished" in page.replace("\u00a0", " ")
    assert all("cached" in line for line in run_again(made, output))
    assert (output / "results.jsonl").read_bytes() == whole


def test_a_stage_whose_model_is_damaged_is_repeated(made: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "texts" / f"{split}.txt").write_text("\n".join(f"some words, {number}" for number in range(30)))
    language_model = {
        "task": "causal-lm", "dataset_name": str(tmp_path / "texts"), "model_type": "awd_lstm",
        "tokenizer_name": "char",
        "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=1", "num_train_epochs": 1,
        "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2, "window_length": 20,
    }  # fmt: skip
    content = {
        "dataset_name": str(made / "reviews.csv"), "use_cpu": True, "num_train_epochs": 1, "label_budgets": [12],
        "seeds": [1], "stages": {"lm": language_model},
        "entries": [{"name": "tuned", "model_name_or_path": "stage:lm"}],
    }  # fmt: skip
    grid, output = make_grid(content, {}, "the grid"), tmp_path / "out"
    execute(grid, output, retry_failed=False, executor=InProcess(train), say=print)
    stage, (run,) = output / "stages" / "lm", read_results(output / "results.jsonl")
    assert run.completed
    for damage in (flip("model.safetensors"), delete("result.json")):
        lines: list[str] = []
        damage(stage)
        delete("model.safetensors")(output / run.folder)  # a run needs the stage again
        assert execute(grid, output, retry_failed=False, executor=InProcess(train), say=lines.append) == 0
        assert "stage 'lm': started" in lines and not any("cached" in line for line in lines)
        assert damages(stage, read_record(stage) or {}) == {}
