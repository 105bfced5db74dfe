"""What labels are worth: labels that another entry needs for the same score, and scores with more labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .curves import Curves, fit_curves, interval
from .inputs import KINDS, Panel, Settings
from .layout import Layout

DRAWS = 512
MORE = (2, 4)
"""Factors of the largest budget to which curves are extrapolated."""


def all_curves(layout: Layout, settings: Settings) -> dict[str, Curves]:
    """The learning curve of each entry with two budgets; none if every cell has a single run."""
    if layout.noise is None:
        return {}
    names = list(dict.fromkeys(name for name, _ in layout.entry))
    curves = {name: _curves(name, layout, settings) for name in names}
    return {name: own for name, own in curves.items() if len(own.labels) > 1}


def label_equivalence(
    panel: Panel, layout: Layout, curves: Mapping[str, Curves], settings: Settings
) -> list[dict[str, Any]]:
    """The labels that each kind's entry needs to reach the score of another kind's entry at each budget.

    The entry of a kind is the one with the best mean validation score (test score without one). Intervals are
    pointwise; a number of labels that is not reached within 1,000 times the largest budget is None.
    """
    names = [name for name in _of_kinds(panel, layout) if name in curves]
    targets = {name: curves[name].values(np.log2(curves[name].labels)).T for name in names}
    found = []
    for other in names:
        entries = [name for name in names if name != other]
        if not entries:
            continue
        needs = iter(curves[other].labels_for(np.concatenate([targets[name] for name in entries])))
        for name in entries:
            for labels, needed in zip(curves[name].labels, needs, strict=False):
                low, high = interval(needed[1:], 1 - settings.confidence)
                found.append(
                    {
                        "dataset": panel.dataset,
                        "entry": name,
                        "labels": whole(labels),
                        "against": other,
                        "needs": float(needed[0]),
                        "low": low,
                        "high": high,
                    }
                )
    return found


def more_labels(panel: Panel, curves: Mapping[str, Curves], settings: Settings) -> list[dict[str, Any]]:
    """The expected score of each entry with twice and four times the labels of its largest budget.

    `gain` is b − a of this score and that of the same curve at the largest budget.
    """
    found = []
    for name, own in curves.items():
        for factor in MORE:
            labels = factor * float(own.labels[-1])
            values = settings.sign * own.at(labels)
            gains = values - settings.sign * own.at(float(own.labels[-1]))
            low, high = interval(values[1:], 1 - settings.confidence)
            gain = interval(gains[1:], 1 - settings.confidence)
            found.append(
                {
                    "dataset": panel.dataset,
                    "entry": name,
                    "labels": whole(labels),
                    "expected": float(values[0]),
                    "low": low,
                    "high": high,
                    "gain": {"value": float(gains[0]), "low": gain[0], "high": gain[1]},
                }
            )
    return found


def target_labels(panel: Panel, curves: Mapping[str, Curves], settings: Settings) -> list[dict[str, Any]]:
    """The labels with which each entry reaches the target; None beyond 1,000 times its largest budget."""
    if settings.target is None:
        return []
    found = []
    for name, own in curves.items():
        needed = own.labels_for(np.full((1, len(own.limit)), settings.sign * settings.target))[0]
        low, high = interval(needed[1:], 1 - settings.confidence)
        found.append({"dataset": panel.dataset, "entry": name, "needs": float(needed[0]), "low": low, "high": high})
    return found


def whole(labels: float) -> float:
    """A number of labels, an int if it is a whole number."""
    return int(labels) if float(labels).is_integer() else float(labels)


def _curves(name: str, layout: Layout, settings: Settings) -> Curves:
    assert layout.noise is not None
    cells = [layout.entry[name, labels] for labels in layout.budgets if (name, labels) in layout.entry]
    draws = layout.means[cells] + layout.noise.draws[:DRAWS][:, cells]
    scores = np.concatenate([layout.means[None, cells], draws])
    highest = None
    if settings.bounds is not None:
        highest = settings.bounds[1] if settings.greater_is_better else -settings.bounds[0]
    return fit_curves(layout.labels[cells], scores, layout.noise.parts.variance[cells], highest)


def _of_kinds(panel: Panel, layout: Layout) -> list[str]:
    """The entry of each kind with the best mean validation score, in the order of the kinds."""
    found = []
    for kind in KINDS:
        members = [e for e in panel.entries if e.kind == kind and any((e.name, b) in layout.entry for b in e.cells)]
        if not members or kind == "constant":
            continue
        checked = {
            entry.name: [
                float(c.validation.mean())
                for c in entry.cells.values()
                if c.validation is not None and len(c.validation)
            ]
            for entry in members
        }
        if all(checked.values()):
            merits = {name: float(np.mean(values)) for name, values in checked.items()}
        else:
            merits = {
                entry.name: float(
                    np.mean([layout.means[cell] for (own, _), cell in layout.entry.items() if own == entry.name])
                )
                for entry in members
            }
        found.append(max(merits, key=lambda name: merits[name] if math.isfinite(merits[name]) else -math.inf))
    return found
