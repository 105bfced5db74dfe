"""Runs in several processes, started through accelerate with the number of processes of the launch file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tl_toolkit.comparison.execution.accelerate_processes import _check_world_size, _failure, through
from tl_toolkit.comparison.execution.scheduler import InProcess, execute
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.comparison.planning.launch_settings import Launch, take_launch
from tl_toolkit.errors import UserError
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.workflows.compare import train

HERE = Path(__file__).parent
TWO_CPU = str(HERE.parents[2] / "recipes" / "accelerate" / "two_cpu.yaml")


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[..., str]:
    """Write a launch file; keywords are its keys."""

    def write(**content: Any) -> str:
        (tmp_path / "launch.yaml").write_text(yaml.safe_dump(content))
        return str(tmp_path / "launch.yaml")

    return write


def test_a_run_of_two_processes_is_recorded_as_one(dataset_folder: Path, tmp_path: Path) -> None:
    rnn = {"model_type": "rnn", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=1"}
    content = {
        "dataset_name": str(dataset_folder), "use_cpu": True, "num_train_epochs": 1, "label_budgets": [31],
        "seeds": [1], "keep_models": False, "entries": [{"name": "large", **rnn, "accelerate_config": TWO_CPU}],
    }  # fmt: skip
    output = tmp_path / "out"
    assert (
        execute(
            make_grid(content, {}, "the grid"),
            output,
            retry_failed=False,
            executor=InProcess(train),
            say=lambda line: None,
        )
        == 0
    )
    (result,) = read_results(output / "results.jsonl")
    assert result.completed and result.record["hardware"]["world_size"] == 2
    left = {path.name for path in (output / result.folder).iterdir()}
    assert {"predictions_test.parquet", "result.json"} <= left and not any(name.startswith(".") for name in left)


def test_an_error_of_any_process_is_raised_and_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    from stand_in_jobs import fails_in_the_second_process  # type: ignore[import-not-found]

    with pytest.raises(ArithmeticError, match="a defect of the second process") as caught:
        through(Launch(accelerate_config=TWO_CPU), fails_in_the_second_process)
    assert "fails_in_the_second_process" in caught.value.__notes__[0]  # traceback of the other process
    assert caught.value.failure == "error"


def test_the_error_for_a_killed_process() -> None:
    error = _failure(1, "...\n  exitcode  : -9 (pid: 77)\n  traceback : Signal 9 (SIGKILL) received by PID 77\n")
    assert "killed by SIGKILL" in str(error) and error.failure == "killed"  # type: ignore[attr-defined]
    assert "exit code is 3" in str(_failure(3, ""))


def test_fewer_processes_than_requested_are_an_error(write_file: Callable[..., str]) -> None:
    launch = Launch(accelerate_config=write_file(num_processes=3))
    _check_world_size(launch, {"hardware": {"world_size": 3}})
    with pytest.raises(UserError, match="requests 3 processes, but accelerate started 1.*MULTI_GPU"):
        _check_world_size(launch, {"hardware": {"world_size": 1}})


def test_the_resources_of_an_entry(write_file: Callable[..., str], tmp_path: Path) -> None:
    launch, rest = take_launch({"gpus": 2, "cpus": 3, "seed": 5}, "the entry")
    assert (launch, rest) == (Launch(gpus=2, cpus=3), {"seed": 5})
    assert take_launch({"use_cpu": True}, "the entry")[0] == Launch(gpus=0)
    assert take_launch({"accelerate_config": TWO_CPU}, "the entry")[0] == Launch(0, TWO_CPU)
    file = write_file(num_processes=4, distributed_type="MULTI_GPU")
    launch, _ = take_launch({"accelerate_config": file}, "the entry")
    assert launch == Launch(4, file)
    moved = tmp_path / "moved.yaml"
    moved.write_text(Path(file).read_text())
    assert Launch(4, str(moved)).counts() == launch.counts() != Launch(4, TWO_CPU).counts()
    assert Launch().counts() == Launch(gpus=0, cpus=7).counts() == {}  # the keys of existing runs do not change


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gpus": -1}, "'gpus' in the entry must be .* but is -1"),
        ({"cpus": 0}, "'cpus' in the entry must be .* but is 0"),
        ({"gpus": True}, "'gpus' in the entry must be .* but is True"),
        ({"accelerate_config": 7}, "'accelerate_config' in the entry must be .* but is 7"),
        ({"accelerate_config": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_invalid_requests_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        take_launch(settings, "the entry")


def test_several_machines_are_refused(write_file: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="requests 2 machines"):
        take_launch({"accelerate_config": write_file(num_machines=2, num_processes=4)}, "the entry")
