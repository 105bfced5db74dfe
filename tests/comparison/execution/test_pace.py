from __future__ import annotations

from pathlib import Path
from typing import Any

from stand_in_jobs import StandIn

from tl_toolkit.comparison.execution.jobs import RunJob
from tl_toolkit.comparison.execution.pace import Pace, report_seconds
from tl_toolkit.comparison.execution.progress import Progress
from tl_toolkit.comparison.execution.scheduler import _Execution
from tl_toolkit.comparison.planning.planned_run import PlannedRun

REPORT = report_seconds(0.0)


class FakeRun(RunJob):
    def made(self, output_dir: Path, retry_failed: bool) -> None:
        return None


def run_job(entry: str, seed: int) -> RunJob:
    return FakeRun(PlannedRun(entry, None, seed, {}), "key", {}, False)


def record(score: float) -> dict[str, Any]:
    task = {"main_metric": "accuracy", "greater_is_better": True}
    return {"status": "completed", "entry": "", "task": task, "metrics": {"test": {"accuracy": score}}}


class Machine:
    """An executor of one job at a time on a machine that is `load` times as slow; `now` is its clock."""

    at_once = 1

    def __init__(self, seconds: dict[str, float], load: float = 1.0, score: float = 0.8) -> None:
        self.seconds, self.load, self.score, self.now = seconds, load, score, 0.0
        self.job: Any = None
        self.begun: list[str] = []
        self.stopped: list[str] = []

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *error: object) -> None:
        if self.job is not None:
            self.stopped.append(self.job.name)
            self.job = None

    def check(self, jobs: Any) -> None: ...

    def has_room(self, job: Any) -> bool:
        return self.job is None

    def begin(self, job: Any, output_dir: Path) -> None:
        self.job, self.ends = job, self.now + self.load * self.seconds[getattr(job, "planned", job).entry]
        self.begun.append(job.name)

    def finished(self, timeout: float) -> list[Any]:
        if self.job is None or self.now + 1 < self.ends:
            self.now += 1
            return []
        self.now, job, self.job = self.ends, self.job, None
        return [(job, record(self.score))]


def work(machine: Machine, jobs: list[RunJob], minutes: float, tmp_path: Path, **how: Any) -> Pace:
    known, say = how.pop("estimates", machine.seconds), how.pop("say", lambda line: None)
    estimates = {job.name: known[job.planned.entry] for job in jobs}
    pace = Pace(60 * minutes, estimates, clock=lambda: machine.now, **how)
    _Execution(jobs, tmp_path, False, machine, Progress(jobs, say), pace).work(lambda: None)
    return pace


def test_no_run_starts_that_cannot_end(tmp_path: Path) -> None:
    machine = Machine({"a": 17.0, "b": 5.0})
    jobs = [run_job(entry, seed) for seed in range(20) for entry in "ab"]
    pace = work(machine, jobs, 2, tmp_path)
    assert not machine.stopped and 120 - REPORT - 10 < machine.now <= 120 - REPORT
    assert pace.factor == 1 and machine.begun[-1].startswith("runs/b-")  # when no long run fits, a short one does


def test_on_a_loaded_machine_fewer_runs_start_and_the_deadline_holds(tmp_path: Path) -> None:
    machine = Machine({"a": 7.0}, load=3.0)
    pace = work(machine, [run_job("a", seed) for seed in range(20)], 2, tmp_path)
    assert len(machine.begun) == 5 and not machine.stopped and machine.now <= 120 - REPORT and pace.factor == 3


def test_what_runs_at_the_deadline_is_stopped_and_no_failure(tmp_path: Path) -> None:
    machine = Machine({"a": 3.0, "b": 500.0})
    jobs = [run_job("a", 1), run_job("b", 1)]
    said: list[str] = []
    work(machine, jobs, 1, tmp_path, estimates={"a": 3.0, "b": 20.0}, say=said.append)
    assert said[-1].startswith("run of 'b'") and "stopped after" in said[-1]
    assert machine.stopped == ["runs/b-all-seed1"] and 60 - REPORT <= machine.now <= 62 - REPORT
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1  # the stopped run is not recorded


def test_time_is_kept_for_the_dearest_entry_that_may_win(tmp_path: Path) -> None:
    def run(score: float) -> Pace:
        machine = Machine({"a": 10.0, "b": 2.0})
        pace = Pace(120.0, {}, final={"a": 30.0, "b": 4.0}, clock=lambda: machine.now)
        pace.scored(run_job("a", 1), record(score))
        pace.scored(run_job("b", 1), record(0.8))
        return pace

    assert 30 < run(0.76).reserve < 40 and run(0.7).reserve < 5  # ten points behind, it will not win
    machine = Machine({"a": 10.0})
    work(machine, [run_job("a", seed) for seed in range(20)], 2, tmp_path, final={"a": 50.0}, growth=1.5)
    left = 120 - REPORT - machine.now
    assert 15 < left < 30  # by the run on all labels, its final model takes 15 s


def test_a_run_that_takes_longer_than_expected_leaves_more_time_for_the_final_model(tmp_path: Path) -> None:
    machine = Machine({"a": 10.0, "b": 10.0})
    pace = Pace(600.0, {"runs/b-all-seed1": 10.0}, final={"a": 20.0}, start=2.0, clock=lambda: machine.now)
    pace.scored(run_job("a", 1), record(0.8))
    assert pace.reserve == 20 * 1.15
    pace.begin(run_job("b", 1))
    machine.now = 30.0
    assert pace.surge == 3 and pace.reserve == 3 * 20 * 1.15
    machine.now = 600 - REPORT - 90
    assert pace.surge == 4 and pace.is_over  # 92 + 8 s: neither is longer than the 90 s that are left
    pace.end(run_job("b", 1), record(0.8))
    assert pace.surge == 1


def test_a_run_that_just_fits_is_not_stopped_and_its_process_stays(tmp_path: Path) -> None:
    machine = Machine({"a": 10.0})
    how: dict[str, Any] = {"final": {"a": 10.0}, "start": 3.0}
    work(machine, [run_job("a", seed) for seed in range(20)], 2, tmp_path, **how)
    left = 120 - report_seconds(3.0) - machine.now
    assert not machine.stopped and 10 * 1.15 + 3 <= left < 10 * 1.15 + 3 + 11.5


def test_a_job_after_the_runs_is_left_at_the_deadline(tmp_path: Path) -> None:
    machine = Machine({"": 100.0})
    pace = Pace(30.0, {}, clock=lambda: machine.now)
    job = StandIn("last")
    object.__setattr__(job, "entry", "")
    _Execution([], tmp_path, False, machine, Progress([], lambda line: None), pace).finish(job)
    assert machine.now <= 31 - REPORT and machine.job is job
