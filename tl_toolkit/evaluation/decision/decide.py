"""The decision of a comparison as a dictionary (docs/decision.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from . import families, readings
from .extrapolation import all_curves, label_equivalence, more_labels, target_labels, whole
from .inputs import Entry, Panel, Settings, check
from .layout import Layout, lay_out
from .noise import quantile
from .recommendation import fastest_form, recommend, recommend_overall, status
from .several import over_datasets

Json = dict[str, Any]


def decide(panels: Sequence[Panel], settings: Settings) -> Json:
    """What the runs of a comparison show, as the content of decision.json.

    `headline` and `verified` are left to the caller. Differences are b − a in the metric's unit; readings are those of
    b against a. Of several datasets each has its part of the error rate, and their means have half of it.

    Raises:
        UserError: for shapes that do not fit together.
    """
    check(panels, settings)
    level = 1 - settings.confidence
    if len(panels) > 1:  # half for the mean differences over datasets, half for the datasets one by one
        level = 1 - (1 - level / 2) ** (1 / len(panels))
    layouts = [lay_out(panel) for panel in panels]
    found: Json = {
        "schema_version": 1,
        "metric": settings.metric,
        "greater_is_better": settings.greater_is_better,
        "margin": settings.margin,
        "confidence": settings.confidence,
        "recommended": None,
        "single_runs": all(layout.noise is None for layout in layouts),
        "budgets": [],
        "kinds": [],
        "label_equivalence": [],
        "more_labels": [],
        "target": [],
        "pairs": [],
    }
    for panel, layout in zip(panels, layouts, strict=True):
        judged = _PanelDecision(panel, layout, settings, level)
        found["kinds"] += judged.kinds()
        found["budgets"] += judged.budgets()
        found["pairs"] += judged.pairs()
        curves = all_curves(layout, settings)
        found["label_equivalence"] += label_equivalence(panel, layout, curves, settings)
        found["more_labels"] += more_labels(panel, curves, settings)
        found["target"] += target_labels(panel, curves, settings)
    found["recommended"] = recommend_overall(panels, layouts, found["budgets"], settings)
    if len(panels) > 1:
        found["datasets"] = over_datasets(panels, layouts, settings)
    return plain(found)


class _PanelDecision:
    """The parts of the decision that one dataset gives."""

    def __init__(self, panel: Panel, layout: Layout, settings: Settings, level: float) -> None:
        self.panel, self.layout, self.settings, self.level = panel, layout, settings, level
        self.sign = settings.sign
        self.names = {cell: name for (name, _), cell in layout.entry.items()}
        if layout.noise is not None:
            self.gate = families.gate(layout, level)
            self.against, self.best, self.direct = families.with_the_best(layout, level)
        self.beating = families.beats_constant(layout, level)

    def kinds(self) -> list[Json]:
        """The average leads of kinds over each other and their trends."""
        if self.layout.noise is None:
            return [self._undecided_lead(lead) for lead in families.leads(self.layout)[0]]
        found, slopes = [], 0
        averages, trends = self.gate.averages, self.gate.trends
        for place, lead in enumerate(self.gate.between):
            value, half = float(averages.family.estimates[place]), float(averages.half[place])
            same = readings.equivalent(value, averages.family.noise[:, place], self.settings.margin)
            slope = spread = math.nan
            if lead.slope is not None:
                slope, spread = float(trends.family.estimates[slopes]), float(trends.half[slopes])
                slopes += 1
            found.append(
                {
                    "dataset": self.panel.dataset,
                    "a": lead.a,
                    "b": lead.b,
                    "average_lead": {
                        **self._interval(value, half),
                        "p_adjusted": self._p(float(averages.p[place]), averages.level),
                        "reading": readings.reading(value - half, value + half, same),
                    },
                    "trend": {
                        **self._interval(slope, spread, "per_doubling"),
                        "reading": _trend(slope - spread, slope + spread),
                    },
                    "crossing": _crossing(lead, value, slope, spread),
                }
            )
        return found

    def _undecided_lead(self, lead: families.Lead) -> Json:
        value = float(lead.average @ self.layout.means)
        slope = math.nan if lead.slope is None else float(lead.slope @ self.layout.means)
        nothing = {"reading": "undecided", "p_adjusted": math.nan}
        return {
            "dataset": self.panel.dataset,
            "a": lead.a,
            "b": lead.b,
            "average_lead": {**self._interval(value, math.nan), **nothing},
            "trend": {**self._interval(slope, math.nan, "per_doubling"), "reading": "constant_or_unknown"},
            "crossing": None,
        }

    def budgets(self) -> list[Json]:
        """One decision per budget."""
        return [self._budget(labels) for labels in self.layout.budgets]

    def _budget(self, labels: float) -> Json:
        layout = self.layout
        here = dict(layout.here(labels))
        best = max(here, key=lambda name: float(layout.means[here[name]]))
        comparisons = self._comparisons(labels, best, here)
        recommended = None
        allowed = [name for name, cell in here.items() if self.beating is None or self.beating[cell]]
        if layout.noise is not None and allowed:
            recommended = recommend(self.panel, layout, labels, allowed, self.settings.margin)
        if layout.noise is None:
            word, beats = "undecided", None
        elif recommended is None:
            word, beats = "nothing_beats_constant", False
        else:
            word = status(self.panel, labels, recommended, best, comparisons)
            beats = None if self.beating is None else True
        expected = {name: self._expected(cell) for name, cell in here.items()}
        return {
            "dataset": self.panel.dataset,
            "labels": whole(labels),
            "recommended": recommended,
            "form": self._form(labels, recommended, best, here),
            "status": word,
            "expected": expected[recommended or best],
            "beats_constant": beats,
            "best": best,
            "comparisons": [
                {key: value for key, value in one.items() if key != "within_margin"} for one in comparisons
            ],
            "entries": [self._entry(entry, labels, expected[entry.name], here) for entry in self._entries(here)],
        }

    def _form(self, labels: float, recommended: str | None, best: str, here: Mapping[str, int]) -> str | None:
        """The form in which to run the recommended entry: both losses together stay within the margin."""
        if recommended is None:
            return None
        means = self.layout.means
        room = self.settings.margin - float(means[here[best]] - means[here[recommended]])
        entry = next(entry for entry in self.panel.entries if entry.name == recommended)
        return fastest_form(entry, labels, room)

    def _entries(self, here: Mapping[str, int]) -> list[Entry]:
        return [entry for entry in self.panel.entries if entry.name in here]

    def _entry(self, entry: Entry, labels: float, expected: Json, here: Mapping[str, int]) -> Json:
        answer, training = entry.cost.get(labels, (math.nan, math.nan))
        return {
            "entry": entry.name,
            "kind": entry.kind,
            **expected,
            "runs": len(entry.cells[labels].scores) + entry.cells[labels].failed,
            "failed": entry.cells[labels].failed,
            "beats_constant": None if self.beating is None else self.beating[here[entry.name]],
            "answer_seconds": answer,
            "training_seconds": training,
            **({"forms": dict(entry.forms[labels])} if entry.forms.get(labels) else {}),
        }

    def _comparisons(self, labels: float, best: str, here: Mapping[str, int]) -> list[Json]:
        if self.layout.noise is None:
            return [self._unknown(best, name, here) for name in here if name != best]
        noise, found = self.layout.noise, []
        family, opened = self.best.family, self.gate.p <= self.level
        for place, (budget, first, second) in enumerate(self.against):
            if budget != labels:
                continue
            value, half, p = float(family.estimates[place]), float(self.best.half[place]), float(self.best.p[place])
            alone = float(self.direct.p[place])
            low, high = value - half, value + half
            if not opened:  # the interval reaches 0, unless the difference is found without the gate
                far = alone <= self.direct.level
                high = value + float(self.direct.half[place]) if far else max(high, 0.0)
            same = readings.equivalent(value, family.noise[:, place], self.settings.margin)
            contrast = np.zeros(len(self.layout.means))
            contrast[second], contrast[first] = 1, -1
            word = readings.reading(low, high, same)
            deviation = math.sqrt(float(contrast @ noise.parts.rows @ contrast + contrast**2 @ noise.parts.runs))
            power = float(quantile(family.noise[:, place], readings.POWER))
            settle = None
            if word == "undecided":
                critical = half / max(deviation, 1e-12)
                settle = readings.to_settle(
                    value, contrast, noise.parts, critical, self.settings.margin, self.layout.rows
                )
            found.append(
                {
                    "a": best,
                    "b": self.names[second],
                    **self._bounds(value, low, high, "difference"),
                    "p_adjusted": min(self._p(max(p, self.gate.p), self.level), self._p(alone, self.direct.level)),
                    "reading": word,
                    "detectable": half + power,
                    "to_settle": settle,
                    "within_margin": same,
                }
            )
        return found

    def _unknown(self, best: str, name: str, here: Mapping[str, int]) -> Json:
        value = float(self.layout.means[here[name]] - self.layout.means[here[best]])
        return {
            "a": best,
            "b": name,
            **self._interval(value, math.nan, "difference"),
            "p_adjusted": math.nan,
            "reading": "undecided",
            "detectable": math.nan,
            "to_settle": None,
            "within_margin": False,
        }

    def _expected(self, cell: int) -> Json:
        """The score on new rows, with a pointwise interval."""
        mean, noise = float(self.layout.means[cell]), self.layout.noise
        low = high = math.nan
        if noise is not None:
            variance = float(noise.parts.variance[cell])
            own = float(quantile(np.abs(noise.draws[:, cell]), self.settings.confidence))
            normal = float(ndtri((1 + self.settings.confidence) / 2))
            critical = max(own / math.sqrt(variance), normal) if variance > 0 else normal
            bounds = self.settings.bounds
            if bounds is not None and self.sign < 0:
                bounds = (-bounds[1], -bounds[0])
            low, high = readings.score_interval(mean, variance, critical, noise.parts.units, bounds)
        return self._bounds(mean, low, high)

    def pairs(self) -> list[Json]:
        """All pairs of entries, a family of its own; `p` is before and `p_adjusted` after adjustment."""
        if self.layout.noise is None:
            return []
        pairs, tested = families.all_pairs(self.layout, self.level)
        family, found = tested.family, []
        alone = ((np.abs(family.noise) >= np.abs(family.estimates)).sum(axis=0) + 1) / (len(family.noise) + 1)
        for place, (labels, first, second) in enumerate(pairs):
            value, half = float(family.estimates[place]), float(tested.half[place])
            found.append(
                {
                    "dataset": self.panel.dataset,
                    "labels": whole(labels),
                    "a": self.names[first],
                    "b": self.names[second],
                    **self._interval(value, half, "difference"),
                    "p": float(alone[place]),
                    "p_adjusted": self._p(float(tested.p[place]), self.level),
                    "reading": readings.reading(value - half, value + half, False),
                }
            )
        return found

    def _p(self, p: float, level: float) -> float:
        """A p-value of a family with a part of the error rate: significant if it is at most 1 − confidence."""
        return min(1.0, p * (1 - self.settings.confidence) / level)

    def _interval(self, value: float, half: float, name: str = "value") -> Json:
        return self._bounds(value, value - half, value + half, name)

    def _bounds(self, value: float, low: float, high: float, name: str = "value") -> Json:
        """A score or a difference of scores in the metric's unit."""
        ends = (low, high) if self.sign > 0 else (-high, -low)
        return {name: self.sign * value, "low": ends[0], "high": ends[1]}


def _trend(low: float, high: float) -> str:
    if low > 0:
        return "grows"
    return "shrinks" if high < 0 else "constant_or_unknown"


def _crossing(lead: families.Lead, average: float, slope: float, half: float) -> float | None:
    """The labels at which the fitted lead is 0, if it has a trend and is 0 within the budgets."""
    if not abs(slope) > half:
        return None
    logs = np.log2(np.maximum(lead.budgets, 1.0))
    place = float(logs.mean()) - average / slope
    return 2**place if logs.min() <= place <= logs.max() else None


def plain(value: Any) -> Any:
    """The value for JSON: floats that are not finite become None."""
    if isinstance(value, float):  # also numpy's
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(own) for key, own in value.items()}
    return [plain(own) for own in value] if isinstance(value, list) else value
