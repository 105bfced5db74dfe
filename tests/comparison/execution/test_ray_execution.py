"""Ray, started in this process: records and folders are returned, and a killed task ends nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tl_toolkit.atomic_files import write_json
from tl_toolkit.comparison.execution.ray_execution import RayTasks, packed, put_in_place
from tl_toolkit.errors import UserError
from tl_toolkit.records.record import read_record
from tl_toolkit.workflows.compare import train

HERE = Path(__file__).parent


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'tl-toolkit[ray]'")
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # for Ray's workers
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    how = {"num_cpus": 2, "num_gpus": 0, "include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    try:
        ray.init("local", **how)
    except Exception:  # a busy machine can exceed Ray's timeout
        ray.shutdown()
        ray.init("local", **how)
    yield
    ray.shutdown()


def test_records_and_folders_are_returned_and_killed_tasks_end_alone(ray: None, tmp_path: Path) -> None:
    from stand_in_jobs import StandIn, work  # type: ignore[import-not-found]

    output = tmp_path / "out"
    output.mkdir()
    jobs = [
        StandIn("first"), StandIn("behind it", after=("runs/first",)), StandIn("defect", "a defect"),
        StandIn("killed", "SIGKILL"), StandIn("next"),
    ]  # fmt: skip
    with RayTasks(train) as tasks:
        assert tasks.at_once == 2
        with pytest.raises(UserError, match="'greedy' requests 3 GPUs of one node.*more than 0"):
            tasks.check([StandIn("greedy", asks=3)])
        records = work(tasks, jobs, output)
    assert records == {job.title: read_record(output / job.name) for job in jobs}
    assert {title: record.get("failure") for title, record in records.items()} == {
        "first": None, "behind it": None, "defect": "error", "killed": "killed", "next": None,
    }  # fmt: skip
    assert records["first"]["folder"] == str(output / "runs" / "first")  # not the path on the node
    assert (output / "runs" / "first" / "weights.bin").read_bytes() == b"\x00\x01" * 1009
    assert "a defect" in (output / "runs" / "defect" / "error.txt").read_text()
    assert "worker" in records["killed"]["error"] and "\n" not in records["killed"]["error"]
    assert [path.name for path in output.iterdir()] == ["runs"]


def test_the_error_without_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"tl-toolkit\[ray\]"):
        RayTasks(train)


def test_a_folder_replaces_the_earlier_one(tmp_path: Path) -> None:
    away, home = tmp_path / "away", tmp_path / "home"
    for place, text in ((away, "new"), (home, "old")):
        (place / "runs" / "x").mkdir(parents=True)
        (place / "runs" / "x" / f"{text}.txt").write_text(text)
    write_json(away / "runs" / "x" / "result.json", {"schema_version": 1, "seed": 3})
    content = packed(away, ["runs/x", "stages/none"])
    put_in_place(content, "runs/x", home, {"schema_version": 1, "seed": 5})
    assert {path.name for path in (home / "runs" / "x").iterdir()} == {"new.txt", "result.json"}
    assert read_record(home / "runs" / "x") == {"schema_version": 1, "seed": 5}
    assert [path.name for path in home.iterdir()] == ["runs"]
