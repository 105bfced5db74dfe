"""Progress output of a comparison: a line for each finished run, and on a terminal a live line."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from ...evaluation.formatting import MOST_TEXT, shortened
from ..planning.planned_run import RUNS
from .jobs import Job, RunJob

_NAMED = 3  # maximum number of runs named in the live line


class Progress:
    """Prints a line for each run: its name, its result, and the estimated remaining time.

    Args:
        jobs: all jobs of the comparison, runs in the order in which they are counted.
        say: prints a finished line.
        at_once: number of concurrent jobs.
        live: a terminal whose last line shows the running jobs; None for no live line.
        left: the seconds until a deadline, in place of an estimate.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        say: Callable[[str], None],
        at_once: int = 1,
        live: TextIO | None = None,
        left: Callable[[], float] | None = None,
    ) -> None:
        self.left = left
        self.runs = [job for job in jobs if isinstance(job, RunJob)]
        self.say, self.at_once, self.live = say, at_once, live
        self.waiting = {job.name: job for job in self.runs}
        self.began: dict[str, tuple[Job, float]] = {}
        self.seconds: dict[tuple[str, str, str], list[float]] = {}
        self.done = self.failures = 0

    def skip(self, job: Job, record: Mapping[str, Any]) -> None:
        """Report a job that is skipped, because its record is still valid."""
        self._report(job, record, "(cached)")

    def begin(self, job: Job) -> None:
        """Report the start of a job."""
        self.began[job.name] = job, time.perf_counter()
        if not isinstance(job, RunJob):
            self._say(f"{job.called.removeprefix('the ')}: started")
        self.refresh()

    def end(self, job: Job, record: Mapping[str, Any]) -> None:
        """Report the end of a job, completed or failed."""
        _, began = self.began.pop(job.name, (job, time.perf_counter()))
        took = time.perf_counter() - began
        if isinstance(job, RunJob):
            self.seconds.setdefault(_cell(job), []).append(took)
        self._report(job, record, f"{took:.1f} s", self._left_in_words)

    def stop(self) -> None:
        """Report that the running jobs are stopped, because the time is over."""
        for job, began in self.began.values():
            took = time.perf_counter() - began
            self._say(f"{job.called.removeprefix('the ')}: stopped after {took:.0f} s, as its time is over")
        self.began = {}

    def refresh(self) -> None:
        """Rewrite the live line."""
        if self.live is None:
            return
        names = [job.called.removeprefix("the ").removeprefix("run of ") for job, _ in self.began.values()]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        done = f"{self.done} runs" if self.left else f"{self.done}/{len(self.runs)} runs"
        parts = [done, f"{self.failures} failed" if self.failures else ""]
        parts += [", ".join(names[:_NAMED]) + more, self._left_in_words() if self.seconds or self.left else ""]
        line = "  |  ".join(part for part in parts if part)
        self.live.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
        self.live.flush()

    def note(self, line: str) -> None:
        """Print a separate line."""
        self._say(line)
        self.refresh()

    def close(self) -> None:
        """Clear the live line."""
        if self.live is not None:
            self.live.write("\r\x1b[K")
            self.live.flush()

    def seconds_left(self) -> float:
        """Estimated remaining seconds, from runs of the same cell, else the entry's longest, else the mean of all."""
        mean = {cell: sum(times) / len(times) for cell, times in self.seconds.items()}
        by_entry: dict[str, float] = {}
        for (entry, *_), seconds in mean.items():
            by_entry[entry] = max(by_entry.get(entry, 0.0), seconds)
        overall = sum(mean.values()) / len(mean) if mean else 0.0
        total, longest = 0.0, 0.0
        for job in self.waiting.values():
            expected = mean.get(_cell(job), by_entry.get(job.planned.entry, overall))
            if job.name in self.began:
                expected = max(expected - (time.perf_counter() - self.began[job.name][1]), 0.0)
            total, longest = total + expected, max(longest, expected)
        return max(total / self.at_once, longest)  # the total cannot be shorter than the longest run

    def _left_in_words(self) -> str:
        if self.left is not None:
            left = max(int(self.left()), 0)
            return f"{left // 60}:{left % 60:02d} min left"
        seconds = self.seconds_left()
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"

    def _report(self, job: Job, record: Mapping[str, Any], took: str, left: Callable[[], str] | None = None) -> None:
        failed = record["status"] == "failed"
        if isinstance(job, RunJob) and job.name.startswith(RUNS):
            self.waiting.pop(job.name, None)
            self.done += 1
            self.failures += failed
            self._say(f"{self._head(job)}  {_outcome(record):<16} {took:>8}   {left() if left else ''}".rstrip())
        else:
            self._say(f"{job.called.removeprefix('the ')}: {_outcome(record) or 'done'}   {took}")
        if failed:
            self._say(f"        {shortened(record['error'], MOST_TEXT)}")
        self.refresh()

    def _head(self, job: RunJob) -> str:
        planned, total = job.planned, len(self.runs)
        entries = max(len(run.planned.entry) for run in self.runs)
        budgets = max(len(run.planned.budget_text) for run in self.runs)
        number = f"[{self.done:>{len(str(total))}}{'' if self.left else f'/{total}'}]"
        on = "" if planned.dataset is None else f"{planned.dataset}  "
        return f"{number} {on}{planned.entry:<{entries}}  {planned.budget_text:>{budgets}}  seed {planned.seed_text}"

    def _say(self, line: str) -> None:
        self.close()
        self.say(line)


def _cell(job: RunJob) -> tuple[str, str, str]:
    """The entry, budget and dataset of a run; runs that share them take about as long."""
    return job.planned.entry, job.planned.budget_text, job.planned.dataset or ""


def _outcome(record: Mapping[str, Any]) -> str:
    """The main metric on the test rows, for a stage the validation perplexity, for a failed job `FAILED`."""
    if record["status"] == "failed":
        return "FAILED"
    with contextlib.suppress(KeyError, TypeError):
        if "entry" in record:
            metric = record["task"]["main_metric"]
            return f"{metric} {record['metrics']['test'][metric]:.3f}"
        return f"perplexity {record['metrics']['validation']['perplexity']:.2f}"
    return ""
