"""A deadline for a comparison: which jobs may still start, and when all must end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from .jobs import Job, RunJob

_SLOWER = 1.15  # another seed of an entry may need a little longer
_LEAST_FACTOR, _MOST_FACTOR = 0.7, 4.0


class Pace:
    """Keeps a comparison within its time.

    Estimates are corrected by the median ratio of the times that runs really took, so that on a loaded machine fewer
    runs start.

    Args:
        deadline: when everything must have ended, as a time of `clock`.
        seconds: the estimated seconds of each run, by its folder; other runs do not start.
        final: the estimated seconds of the final model of each entry. The dearest of those that have been compared and
            may still win is kept free.
        start: the seconds in which a worker process starts, by which the first run takes longer.
        slack: how far the mean score of an entry may lie behind the best one for it to win still.
    """

    def __init__(
        self,
        deadline: float,
        seconds: Mapping[str, float],
        final: Mapping[str, float] | None = None,
        start: float = 0.0,
        slack: float = 0.06,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deadline, self.estimates, self.clock = deadline, dict(seconds), clock
        self.final, self.slack = dict(final or {}), slack
        self._scores: dict[str, list[float]] = {}
        self._began: dict[str, float] = {}
        self._ratios: list[float] = []
        self._took: dict[tuple[str, str], float] = {}
        self._starting = start

    @property
    def factor(self) -> float:
        """By what estimates are multiplied on this machine, at this load."""
        if not self._ratios:
            return 1.0
        return min(max(statistics.median(self._ratios[-9:]), _LEAST_FACTOR), _MOST_FACTOR)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - self.clock()

    @property
    def reserve(self) -> float:
        """Seconds for the final model of the dearest entry that may still win."""
        means = {entry: statistics.fmean(scores) for entry, scores in self._scores.items()}
        best = max(means.values(), default=0.0)
        able = [entry for entry, mean in means.items() if mean >= best - self.slack]
        return max((self.final.get(entry, 0.0) for entry in able), default=0.0) * max(self.factor, 1.0)

    @property
    def left_for_runs(self) -> float:
        """Seconds until the last run must have ended."""
        return self.left - self.reserve

    @property
    def is_over(self) -> bool:
        """Whether running jobs must stop."""
        return self.left_for_runs <= 0

    def fits(self, job: Job) -> bool:
        """Whether a job can be expected to end in time. A job that is needed by a run counts as the run does."""
        if not isinstance(job, RunJob):
            return self.left_for_runs > 0
        own, final = self._expected(job), self.final.get(job.planned.entry, 0.0) * max(self.factor, 1.0)
        return own is not None and own + self._starting + max(self.reserve, final) <= self.left

    def _expected(self, job: RunJob) -> float | None:
        """The seconds of a run: those of another run of its entry with the same budget, else the corrected estimate."""
        if (took := self._took.get((job.planned.entry, job.planned.budget_text))) is not None:
            return took * _SLOWER
        own = self.estimates.get(job.name)
        return None if own is None else own * self.factor

    def begin(self, job: Job) -> None:
        """Note the start of a job."""
        self._began[job.name] = self.clock()

    def scored(self, job: Job, record: Mapping[str, Any]) -> None:
        """Note the score of a run on all labels; higher is better. Entries with other scores may always win."""
        if isinstance(job, RunJob) and job.planned.label_budget is None and record["status"] == "completed":
            task = record["task"]
            score = record["metrics"]["test"][task["main_metric"]] if task["greater_is_better"] else 0.0
            self._scores.setdefault(job.planned.entry, []).append(score)

    def end(self, job: Job, record: Mapping[str, Any]) -> None:
        """Note the end of a job, and correct the estimates by its time."""
        self.scored(job, record)
        took = self.clock() - self._began.pop(job.name, self.clock()) - self._starting
        self._starting = 0.0
        if isinstance(job, RunJob) and record["status"] == "completed":
            self._took[job.planned.entry, job.planned.budget_text] = max(took, 0.0)
            if estimate := self.estimates.get(job.name):
                self._ratios.append(max(took, 0.0) / estimate)
