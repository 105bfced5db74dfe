"""A full disk in the middle of a checkpoint, a record and a report: one paragraph, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pandas.testing import assert_frame_equal

from tl_toolkit import atomic_files, cli
from tl_toolkit.comparison.execution import jobs
from tl_toolkit.comparison.execution.scheduler import InProcess, execute
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.comparison.report import merging
from tl_toolkit.errors import as_user_error
from tl_toolkit.records.checkpoints import checkpoints, last_complete_checkpoint
from tl_toolkit.training.trainer import BaseTrainer
from tl_toolkit.workflows import lifecycle
from tl_toolkit.workflows.compare import train

SIZES = "hidden_size=7,embedding_size=5"


class Disk:
    """A folder on a disk that `fill` makes full and `free` empty again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave less space than a checkpoint or a record takes."""
        with (self.folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(512))

    def free(self) -> None:
        """Make space again."""
        (self.folder / "filler").unlink()


class FaultyDisk(Disk):
    """A disk whose errors are injected where files are written; the files are left half-written."""

    def fill(self) -> None:
        def half(content: Any, path: Any, *rest: Any, **more: Any) -> None:
            Path(path).write_bytes(b"half")
            raise RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0: file write failed")

        def whole(path: Path, write: Callable[[Path], Any]) -> None:
            path.with_name(f".{path.name}.1.tmp").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(torch, "save", half)
        self.patch.setattr(atomic_files, "write_whole", whole)

    def free(self) -> None:
        self.patch.undo()


@pytest.fixture(params=["injected", "tmpfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "injected":
        yield FaultyDisk(folder)
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_at(monkeypatch: pytest.MonkeyPatch, disk: Disk, place: Any, name: str, call: int = 1) -> None:
    """Fill the disk before the function `name` is called for the `call`-th time."""
    own, calls = getattr(place, name), [0]

    def filling(*args: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            disk.fill()
        return own(*args, **more)

    monkeypatch.setattr(place, name, filling)


def command(capsys: pytest.CaptureFixture, verb: str, *argv: object) -> tuple[int, str]:
    """The exit code of a command, and what it prints to the standard error stream."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["tl-toolkit", verb, *map(str, argv)])
        try:
            cli.main()
        except SystemExit as left:
            return int(left.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().err


def assert_one_paragraph(answer: tuple[int, str]) -> None:
    code, said = answer
    assert code == 2 and "Traceback" not in said, said
    error = said.rpartition("\nerror: ")[2]
    assert "disk is full" in " ".join(error.split()) and "\n\n" not in error.strip(), said


def assert_same_run(one: Path, other: Path) -> None:
    import pandas as pd

    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    for split in ("validation", "test"):
        assert_frame_equal(*(pd.read_parquet(at / f"predictions_{split}.parquet") for at in (one, other)))
    first, second = (json.loads((at / "result.json").read_text()) for at in (one, other))
    assert first["status"] == second["status"] == "completed"
    assert first["metrics"] == second["metrics"] and first["identity"] == second["identity"]


@pytest.mark.parametrize("place", ["checkpoint", "record"])
def test_a_run_goes_on_when_there_is_space(
    place: str, disk: Disk, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    settings = ["--model_type", "rnn", "--config_overrides", SIZES, "--num_train_epochs", 3, "--use_cpu"]
    run = [dataset_folder, *settings, "--disable_tqdm", "--resume_from_checkpoint", "--output_dir"]
    assert command(capsys, "finetune", *run, tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patch:
        if place == "checkpoint":
            fill_at(patch, disk, BaseTrainer, "_save_checkpoint", call=2)
        else:
            fill_at(patch, disk, lifecycle, "write_record")
        assert_one_paragraph(command(capsys, "finetune", *run, disk.folder / "out"))
    left = checkpoints(disk.folder / "out")
    assert last_complete_checkpoint(disk.folder / "out") == left[0 if place == "checkpoint" else -1]
    disk.free()
    assert command(capsys, "finetune", *run, disk.folder / "out")[0] == 0
    assert_same_run(tmp_path / "whole", disk.folder / "out")


def test_a_comparison_goes_on_when_there_is_space(
    disk: Disk, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"name": "a", "model_type": "rnn", "config_overrides": SIZES, "num_train_epochs": 1}
    shared = {"dataset_name": str(dataset_folder), "use_cpu": True, "label_budgets": [20], "seeds": [1, 2, 3]}
    grid = make_grid({**shared, "entries": [entry]}, {}, "the grid")

    def start(folder: Path) -> list[str]:
        said: list[str] = []
        assert execute(grid, folder, retry_failed=False, executor=InProcess(train), say=said.append) == 0
        return said

    start(tmp_path / "whole")
    with monkeypatch.context() as patch:
        fill_at(patch, disk, jobs, "write_record", call=2)
        with pytest.raises(OSError) as raised:
            start(disk.folder / "out")
    assert "disk is full" in str(as_user_error(raised.value))
    kept = (disk.folder / "out/runs/a-20-seed1/result.json").read_bytes()
    assert (disk.folder / "out/results.jsonl").read_text().count("\n") == 1
    disk.free()
    said = start(disk.folder / "out")
    assert [("(cached)" in line) for line in said] == [True, False, False]
    assert (disk.folder / "out/runs/a-20-seed1/result.json").read_bytes() == kept
    for seed in (1, 2, 3):
        assert_same_run(*(folder / f"runs/a-20-seed{seed}" for folder in (tmp_path / "whole", disk.folder / "out")))
    assert not list(disk.folder.rglob("out/runs/*/.*"))


def test_a_report_is_written_when_there_is_space(
    disk: Disk, comparison: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    comparison()
    records = (tmp_path / "results.jsonl").read_bytes()
    run = ["--from_results", tmp_path, "--output_dir", disk.folder / "out"]
    with monkeypatch.context() as patch:
        fill_at(patch, disk, merging, "write_report")
        assert_one_paragraph(command(capsys, "compare", *run))
    assert not (disk.folder / "out" / "report.html").exists()
    assert (tmp_path / "results.jsonl").read_bytes() == records
    disk.free()
    assert command(capsys, "compare", *run)[0] == 0
    assert (disk.folder / "out" / "report.html").read_text().rstrip().endswith("</html>")
