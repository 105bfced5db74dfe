"""Ctrl-C: one line, exit code 130, and a comparison's report of what it has made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tl_toolkit.cli import exit_cleanly

ROOT = Path(__file__).parents[2]


def stop(said: str = "") -> None:
    raise KeyboardInterrupt(said) if said else KeyboardInterrupt


@pytest.mark.parametrize("said", ["", "3 of 7 runs are done."])
def test_one_line_says_how_to_go_on(capsys: pytest.CaptureFixture, said: str) -> None:
    with pytest.raises(SystemExit) as left:
        exit_cleanly(lambda: stop(said), "The same command goes on.")
    assert left.value.code == 130
    assert capsys.readouterr().err == "\nStopped. " + (f"{said} " if said else "") + "The same command goes on.\n"


def test_the_first_process_alone_says_it(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as left:
        exit_cleanly(stop)
    assert left.value.code == 130
    assert capsys.readouterr().err == ""


def interrupt(command: list[str], folder: Path, sign: str) -> subprocess.CompletedProcess:
    """Start `command`, and send what Ctrl-C sends once there is something called `sign` in `folder`."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test runner in the background of a shell ignores Ctrl-C, and what it starts would do so as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and process.poll() is None and not list(folder.glob(sign)):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_a_training_that_is_stopped_says_how_it_goes_on(dataset_folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, str(ROOT / "recipes" / "finetune.py"), "--model_type", "rnn", "--config_overrides",
        "hidden_size=7", "--use_cpu", "--disable_tqdm", "--num_train_epochs", "4000", "--save_steps", "5",
        "--save_strategy", "steps", "--eval_strategy", "steps", "--eval_steps", "5", "--dataset_name",
        str(dataset_folder), "--output_dir", str(tmp_path / "out"),
    ]  # fmt: skip
    done = interrupt(command, tmp_path / "out", "checkpoint-*")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last == ("Stopped. Run the same command with --resume_from_checkpoint to resume from the last checkpoint.")


def test_a_comparison_that_is_stopped_reports_what_it_has_made(dataset_folder: Path, tmp_path: Path) -> None:
    shared = {"dataset_name": str(dataset_folder), "use_cpu": True, "model_type": "rnn"}
    sizes = {"config_overrides": {"hidden_size": 7}}
    entries = [
        {"name": "short", "num_train_epochs": 1, **sizes},
        {"name": "long", "num_train_epochs": 100_000, **sizes},
    ]
    grid = {**shared, "label_budgets": [12], "seeds": [1], "entries": entries}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    recipe, output = str(ROOT / "recipes" / "compare.py"), tmp_path / "out"
    command = [sys.executable, recipe, "--config", str(tmp_path / "grid.yaml"), "--output_dir", str(output)]
    done = interrupt(command, output, "results.jsonl")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1] == ("Stopped. 1 of 2 runs are done. Run the same command to resume.")
    assert "text: text" not in done.stdout  # a line a run is enough
    assert "short" in (output / "report.md").read_text()
    assert os.path.getsize(output / "report.html") > 1000
