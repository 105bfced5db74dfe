"""What to run in the time there is: the cheapest and most informative runs first, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from .planned_run import PlannedRun

CURVE = (4, 2)
"""The label budgets of a learning curve, as fractions of all labels, besides all."""
_MANY_LABELS, _FEW_OF_MANY = 8000, 16  # with many labels, there is a smaller budget, for entries that are dear
_LEAST_LABELS = 50
_CHEAP, _AFFORDABLE, _DEAR = 0.02, 0.3, 0.6  # as parts of the available time
SAFETY = 1.1
"""Estimates are multiplied by this factor, so that a run which needs a little longer still ends."""

Seconds = Callable[[PlannedRun, bool], float | None]
"""The seconds of a run, and whether another run has computed its features; None if unknown."""


@dataclass
class TimePlan:
    """The runs to do, in order, and those without time, with their seconds (None: unknown).

    `reserve` is the time for the final model of the dearest entry that is compared, `total` that of all runs.
    """

    runs: list[PlannedRun] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: list[tuple[PlannedRun, float | None]] = field(default_factory=list)
    reserve: float = 0.0

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def curve_budgets(labels: int, classes: int) -> list[int]:
    """Label budgets below all `labels`, with two significant digits; none if they would be too small to learn from."""
    found = []
    for part in (_FEW_OF_MANY, *CURVE) if labels >= _MANY_LABELS else CURVE:
        budget = labels // part
        unit = 10 ** max(len(str(budget)) - 2, 0)
        budget -= budget % unit
        if budget >= max(_LEAST_LABELS, 5 * classes):
            found.append(budget)
    return found


def with_curve(runs: Sequence[PlannedRun], budgets: Sequence[int]) -> list[PlannedRun]:
    """The runs, and before them the same ones with smaller budgets. Language models have no such budgets."""
    smaller = [run.with_budget(budget) for budget in budgets for run in runs]
    return [*smaller, *runs]


def in_order(runs: Sequence[PlannedRun], seconds: Seconds, available: float) -> list[PlannedRun]:
    """The runs by what they tell for their time: all labels first, then budgets from large to small.

    At all labels, entries that are solved come first, with all their seeds if each takes a fraction of the `available`
    seconds; every other one has its first seed before any has its second. Cheaper entries come first. An entry for
    which all labels are too dear has the largest affordable budget instead, with which the others are then run as well.
    A constant answer is the same for every seed and nearly for every budget, so it has one run.
    """
    top = {run.dataset: max(_size(own) for own in runs if own.dataset == run.dataset) for run in runs}
    place = {seed: number for number, seed in enumerate(dict.fromkeys(run.seed for run in runs))}
    cost = {run.folder: seconds(run, False) for run in runs}

    def exceeds(run: PlannedRun, part: float) -> bool:
        own = cost[run.folder]
        return own is None or own * (run.folds or 1) > part * available

    whole = [run for run in runs if _size(run) == top[run.dataset] and not is_constant(run)]
    known = sorted((run for run in whole if cost[run.folder] is not None), key=lambda run: cost[run.folder] or 0.0)
    cheapest = {run.dataset: run.entry for run in reversed(known)}  # it is run on all labels whatever it costs
    instead: dict[tuple[str, str | None], float] = {}
    for run in whole:
        if exceeds(run, _DEAR) and run.entry != cheapest.get(run.dataset):
            same = [own for own in runs if (own.entry, own.dataset) == (run.entry, run.dataset)]
            sizes = [_size(own) for own in same if not exceeds(own, _AFFORDABLE)]
            instead[run.entry, run.dataset] = max(sizes, default=0.0)
    shared = {(dataset, size) for (_, dataset), size in instead.items()}

    def rank(run: PlannedRun) -> tuple[float, ...]:
        own, size = cost[run.folder], _size(run)
        dear = float("inf") if own is None else own
        if size == top[run.dataset] and not instead.get((run.entry, run.dataset)):
            first = is_solved(run) and (not place[run.seed] or dear <= _CHEAP * available)
            return (0, 0, 0, dear) if first else (1, place[run.seed], 0, dear)
        if (run.dataset, size) in shared:
            return (1, place[run.seed], 1 if instead.get((run.entry, run.dataset)) == size else 2, dear)
        return (3 if size == top[run.dataset] else 2, place[run.seed], -size, dear)

    told = [run for run in runs if not is_constant(run) or (_size(run) == top[run.dataset] and not place[run.seed])]
    return sorted(told, key=rank)


def is_solved(run: PlannedRun) -> bool:
    """Whether the head of a run is solved at once instead of trained in updates."""
    return run.settings.get("model_type") == "bag_of_ngrams" or run.settings.get("strategy") == "probe"


def is_constant(run: PlannedRun) -> bool:
    """Whether the entry of a run predicts the same for every text."""
    overrides = run.settings.get("config_overrides")
    return isinstance(overrides, dict) and str(overrides.get("max_ngrams")) == "0"


def plan_within(
    runs: Sequence[PlannedRun],
    available: float,
    seconds: Seconds,
    final_seconds: Callable[[PlannedRun], float | None],
    done: Collection[str] = (),
    at_once: int = 1,
) -> TimePlan:
    """Which of `runs`, in their order, fit in `available` seconds beside the final model of the dearest of them.

    Args:
        final_seconds: the seconds of training the entry of a run on all labels.
        done: the folders of the runs that are recorded already.
        at_once: the number of concurrent runs, by which their time is divided.
    """
    plan, computed = TimePlan(), {(run.entry, run.dataset) for run in runs if run.folder in done}
    top = {run.dataset: max(_size(own) for own in runs if own.dataset == run.dataset) for run in runs}
    for folds in _repetitions(runs):
        may_win = _size(folds[0]) == top[folds[0].dataset]
        final, new = final_seconds(folds[0]) if may_win else 0.0, [run for run in folds if run.folder not in done]
        if not new:
            plan.reserve = max(plan.reserve, SAFETY * (final or 0.0))
            continue
        known = (folds[0].entry, folds[0].dataset) in computed
        own = [seconds(run, known or place > 0) for place, run in enumerate(new)]
        needed = sum(one or 0.0 for one in own)
        if None in own or final is None:
            plan.left_out += zip(new, own, strict=True)
            continue
        reserve = max(plan.reserve, SAFETY * final)
        kept = reserve if plan.reserve else 0.0  # for the first entry, a decision without a model is better than none
        if (plan.total + SAFETY * needed) / at_once + kept > available:
            plan.left_out += zip(new, own, strict=True)
            continue
        computed.add((folds[0].entry, folds[0].dataset))
        plan.runs += new
        plan.seconds |= {run.folder: SAFETY * (one or 0.0) for run, one in zip(new, own, strict=True)}
        plan.reserve = reserve
    return plan


def _repetitions(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs, each with its other folds, which are compared together or not at all."""
    found: dict[str, list[PlannedRun]] = {}
    for run in runs:
        found.setdefault(replace(run, fold=None, folds=None).folder, []).append(run)
    return list(found.values())


def _size(run: PlannedRun) -> float:
    return float("inf") if run.label_budget is None else float(run.label_budget)
