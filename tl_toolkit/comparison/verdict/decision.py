"""The decision of a comparison: from its records and predictions to the content of decision.json (docs/decision.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ...atomic_files import write_json
from ...errors import UserError
from ...evaluation.decision import Settings, decide
from ...evaluation.predictions import PredictionReader
from ...evaluation.results import Result, panels, read_results
from ...evaluation.scored_panels import ScoredPanel, bounds_of, default_margin, scored_panel
from .wording import card_of, headline_of

NAME = "decision.json"
_ASKED: dict[str, Any] = {"margin": (int, float), "target": (int, float), "settle": dict}
_FIRST = (
    "schema_version",
    "verified",
    "metric",
    "greater_is_better",
    "margin",
    "confidence",
    "headline",
    "recommended",
)
_LISTS = ("budgets", "kinds", "label_equivalence", "more_labels", "target", "pairs")


def decision_in(folder: Path, margin: float | None = None, target: float | None = None) -> dict[str, Any]:
    """The decision of the comparison in `folder`, from its results.jsonl and prediction files.

    Args:
        margin: the difference that a user would not pay for, in the metric's unit; by default that of decision.json,
            else `scored_panels.default_margin`.
        target: a score, to whose labels curves are extrapolated; by default that of decision.json, else none.
    """
    reader = PredictionReader(folder)
    groups = {name: (runs, reader) for name, runs in panels(read_results(folder / "results.jsonl")).items()}
    return decide_runs(groups, asked_in(folder, margin, target))


def asked_in(folder: Path, margin: float | None = None, target: float | None = None) -> dict[str, Any]:
    """`margin`, `target` and `settle`: those given, else those asked for when the folder's decision.json was written.

    `settle` maps the folder of the first run of a cell to the seeds that `--settle` added to it.
    """
    try:
        asked = json.loads((folder / NAME).read_text(encoding="utf-8"))["asked"]
        before = {name: asked[name] for name, kind in _ASKED.items() if isinstance(asked.get(name), kind)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # there is none, or it is damaged
        before = {}
    given = {name: value for name, value in (("margin", margin), ("target", target)) if value is not None}
    return {"margin": None, "target": None, "settle": {}} | before | given


def decide_runs(
    groups: Mapping[str, tuple[Sequence[Result], PredictionReader]], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """The decision on the runs of each dataset, as the content of decision.json.

    Datasets with different metrics are decided separately, so that there is no overall recommendation.

    Args:
        asked: from `asked_in`.
    """
    margin, target = asked["margin"], asked["target"]
    if margin is not None and not (margin > 0 and math.isfinite(margin)):
        raise UserError(f"--margin must be a number above 0, in the unit of the main metric, but is {margin}.")
    scored = [(scored_panel(name, runs, reader), runs) for name, (runs, reader) in groups.items()]
    found: dict[str, Any] = {"recommended": None, "single_runs": False} | {name: [] for name in _LISTS}
    margins: dict[str, float] = {}
    able = sorted((own for own, _ in scored if own.panel.entries), key=lambda own: own.goal.metric)
    by_metric = [list(members) for _, members in groupby(able, key=lambda own: own.goal.metric)]
    for members in by_metric:
        goal = members[0].goal
        margins[goal.metric] = default_margin(members) if margin is None else margin
        bounds = bounds_of(goal.metric)
        settings = Settings(goal.metric, goal.greater_is_better, margins[goal.metric], target=target, bounds=bounds)
        made = decide([own.panel for own in members], settings)
        found |= {name: found[name] + made.pop(name) for name in _LISTS}
        found |= made if len(by_metric) == 1 else {"single_runs": found["single_runs"] or made["single_runs"]}
    first = scored[0][0].goal if scored else None
    facts = [_facts(own, runs, margins) | {"target": target} for own, runs in scored]
    found |= {
        "schema_version": 1,
        "verified": all(run.verified for runs, _ in groups.values() for run in runs),
        "metric": None if first is None else first.metric,
        "greater_is_better": first is None or first.greater_is_better,
        "margin": facts[0]["margin"] if facts else margin,
        "confidence": Settings("").confidence,
        "asked": dict(asked),
    }
    found["panels"] = [own | {"card": card_of(found, own)} for own in facts]
    found["headline"] = headline_of(found)
    return {name: found[name] for name in _FIRST} | found


def write_decision(folder: Path, decision: Mapping[str, Any]) -> None:
    """Write decision.json into the folder of a comparison."""
    write_json(folder / NAME, dict(decision))


def of_dataset(decision: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """The parts of a decision that are about one dataset, with the facts on it as `facts`."""
    facts = next(own for own in decision["panels"] if own["dataset"] == dataset)
    own = {name: [part for part in decision[name] if part["dataset"] == dataset] for name in _LISTS}
    return {**decision, **own, "facts": facts, "card": facts["card"]}


def _facts(own: ScoredPanel, runs: Sequence[Result], margins: Mapping[str, float]) -> dict[str, Any]:
    """What the wording needs to know about a dataset beyond the decision."""
    return {
        "dataset": own.panel.dataset,
        "metric": own.goal.metric,
        "greater_is_better": own.goal.greater_is_better,
        "margin": margins.get(own.goal.metric),
        "unit": own.unit,
        "constant": own.constant,
        "constant_score": None if own.panel.constant is None else own.goal.sign * float(own.panel.constant.mean()),
        "test_rows": own.rows,
        "folds": own.folds,
        "repeats": own.repeats,
        "runs": sum(run.completed for run in runs),
        "failed": sum(not run.completed for run in runs),
        "notes": own.notes,
    }
