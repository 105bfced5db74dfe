"""A deadline for a comparison: which jobs may still start, and when all must end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from .jobs import Job, RunJob

_SLOWER = 1.15  # another run of an entry may need a little longer
_LEAST_FACTOR, _MOST_FACTOR = 0.7, 4.0
_REPORT_STARTS, _LEAST_REPORT = 2.5, 8.0
_RUNS_TO_REPORT = 4


def report_seconds(start: float) -> float:
    """The seconds of the decision, the report and leaving, on a machine where a process needs `start` to start."""
    return max(_LEAST_REPORT, _REPORT_STARTS * start)


class Pace:
    """Keeps a comparison within its time.

    Estimates are corrected by the median ratio of the times that runs really took, so that on a loaded machine fewer
    runs start.

    Args:
        deadline: when everything must have ended, the report included, as a time of `clock`.
        seconds: the estimated seconds of each run, by its folder; other runs do not start.
        final: the estimated seconds of the final model of each entry. The dearest of those that have been compared and
            may still win is kept free, except that the first entry runs also without: a decision alone is better than
            nothing.
        growth: the rows that a final model is trained on, for each row of a run on all labels.
        start: the seconds in which a worker process starts.
        more: called while runs are executed, and may add estimates of others; called until it sets `more` to None.
        slack: how far the mean score of an entry may lie behind the best one for it to win still.
    """

    def __init__(
        self,
        deadline: float,
        seconds: Mapping[str, float],
        final: Mapping[str, float] | None = None,
        *,
        growth: float = 1.0,
        start: float = 0.0,
        slack: float = 0.06,
        more: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.more = more
        self.deadline, self.estimates, self.clock = deadline, dict(seconds), clock
        self.final, self.growth, self.slack = dict(final or {}), growth, slack
        self._start = start
        self._scores: dict[str, list[float]] = {}
        self._running: dict[str, tuple[float, float | None]] = {}
        self._ratios: list[float] = []
        self._report: float | None = None
        self._took: dict[tuple[str, int | None], float] = {}

    @property
    def factor(self) -> float:
        """By what estimates are multiplied on this machine, at this load."""
        if not self._ratios:
            return 1.0
        return min(max(statistics.median(self._ratios[-9:]), _LEAST_FACTOR), _MOST_FACTOR)

    @property
    def surge(self) -> float:
        """How many times as long as expected a running job takes already: others need the machine, too."""
        now = self.clock()
        ratios = [(now - began) / expected for began, expected in self._running.values() if expected]
        return min(max([1.0, *ratios]), _MOST_FACTOR)

    @property
    def left(self) -> float:
        """Seconds until the last job must have ended."""
        report = self._report or report_seconds(self._start * max(self.factor, 1.0))
        return self.deadline - report - self.clock()

    @property
    def wants_report(self) -> bool:
        """Whether a report should be written, to measure how long it takes."""
        return self._report is None and len(self._ratios) >= _RUNS_TO_REPORT

    def reported(self, seconds: float) -> None:
        """Note the seconds of a report, while other jobs ran."""
        self._report = max(_LEAST_REPORT, seconds)

    @property
    def reserve(self) -> float:
        """Seconds for the final model of the dearest entry that may still win."""
        means = {entry: statistics.fmean(scores) for entry, scores in self._scores.items()}
        best = max(means.values(), default=0.0)
        able = [entry for entry, mean in means.items() if mean >= best - self.slack]
        return max(map(self.final_seconds, able), default=0.0)

    @property
    def is_over(self) -> bool:
        """Whether running jobs must stop, so that the final model can be trained by a new process."""
        return self.left <= self._with_start(self.reserve)

    def final_seconds(self, entry: str) -> float:
        """The seconds of the final model of an entry, by its run on all labels if there is one."""
        if entry not in self.final:
            return 0.0
        estimate = self.final[entry] * max(self.factor, 1.0)
        if (took := self._took.get((entry, None))) is not None:
            estimate = took * self.growth
        return estimate * _SLOWER * self.surge

    def fits(self, job: Job) -> bool:
        """Whether a job can be expected to end in time. The time of stages and searches is unknown."""
        if not isinstance(job, RunJob):
            return False
        own, reserve = self._expected(job), self.reserve
        if job.planned.label_budget is None:
            reserve = max(reserve, self.final_seconds(job.planned.entry))
        if not self.final.keys() & self._scores.keys():
            reserve = 0.0
        return own is not None and own + self._with_start(reserve) <= self.left

    def _with_start(self, reserve: float) -> float:
        """The seconds of the final model, if there is to be one, in a new process."""
        return reserve + self._start * self.surge if reserve else 0.0

    def begin(self, job: Job) -> None:
        """Note the start of a job."""
        self._running[job.name] = self.clock(), self._expected(job) if isinstance(job, RunJob) else None

    def end(self, job: Job, record: Mapping[str, Any]) -> None:
        """Note the end of a job, and correct the estimates by its time."""
        self.scored(job, record)
        took = self.clock() - self._running.pop(job.name, (self.clock(), None))[0]
        if isinstance(job, RunJob) and record["status"] == "completed":
            run = job.planned
            self._took[run.entry, run.label_budget] = took
            if estimate := self.estimates.get(job.name):
                self._ratios.append(took / estimate)

    def scored(self, job: Job, record: Mapping[str, Any]) -> None:
        """Note the score of a run on all labels. Where lower is better, every entry may always win."""
        if isinstance(job, RunJob) and job.planned.label_budget is None and record["status"] == "completed":
            task = record["task"]
            score = record["metrics"]["test"][task["main_metric"]] if task["greater_is_better"] else 0.0
            self._scores.setdefault(job.planned.entry, []).append(score)
            if "finished" in record:  # also of a run that an earlier command made
                self._took.setdefault((job.planned.entry, None), _seconds_of(record))

    def _expected(self, job: RunJob) -> float | None:
        """The seconds of a run: those of another run of its entry with the same budget, else the corrected estimate."""
        run = job.planned
        if (took := self._took.get((run.entry, run.label_budget))) is not None:
            return took * _SLOWER
        own = self.estimates.get(job.name)
        return None if own is None else own * self.factor


def _seconds_of(record: Mapping[str, Any]) -> float:
    """The seconds of a recorded run."""
    began, ended = (datetime.fromisoformat(record[end]) for end in ("started", "finished"))
    return (ended - began).total_seconds()
