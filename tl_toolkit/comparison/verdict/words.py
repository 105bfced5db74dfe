"""The numbers of a decision in words: scores, differences, labels and costs of one dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.intervals import Interval
from ...evaluation.statistics.forms import NAMES as FORMS

Json = Mapping[str, Any]
KINDS = {
    "linear": "linear models",
    "word_vectors": "networks on word vectors",
    "scratch": "networks from scratch",
    "ulmfit": "ULMFiT models",
    "transformer": "pre-trained transformers",
    "distilled": "distilled models",
    "prompt": "prompted models",
}


class Words:
    """Writes the numbers of one dataset: in its metric, its unit of labels, and with better as positive."""

    def __init__(self, facts: Json) -> None:
        self.metric, self.unit, self.margin = facts["metric"], facts["unit"], facts["margin"]
        self.sign = 1 if facts["greater_is_better"] else -1
        self.constant, self.rows, self.target = facts["constant"], facts["test_rows"], facts["target"]
        self.folds: int | None = facts.get("folds")
        self.floor: float | None = facts.get("constant_score")

    def score(self, value: float) -> str:
        """`91.2 % accuracy`, `a BLEU of 23.1`."""
        if show.in_per_cent(self.metric):
            return f"{show.score(value, self.metric)} {show.metric_name(self.metric)}"
        return f"a {show.metric_name(self.metric)} of {show.score(value, self.metric)}"

    def interval(self, own: Json) -> str:
        """` (95 % interval 90.1 to 92.3)`; empty without an interval."""
        known = own["low"] is not None and own["high"] is not None
        return f" (95{show.SPACE}% interval {self.ends(own)})" if known else ""

    @property
    def within(self) -> str:
        """The margin, `2 points`."""
        return self.gap(self.margin).replace(f".0{show.SPACE}", show.SPACE)

    @property
    def axis(self) -> str:
        """The name of the metric with its unit."""
        return show.metric_axis(self.metric)

    def plain(self, value: float | None) -> str:
        """A score without its unit."""
        return show.MISSING if value is None else show.plain_score(value, self.metric)

    def gap(self, value: float | None) -> str:
        """The size of a difference with its unit, `3.1 points`."""
        return show.MISSING if value is None else show.gap(value, self.metric)

    def ends(self, own: Json) -> str:
        """An interval, `90.1 to 92.3`."""
        known = own["low"] is not None and own["high"] is not None
        return show.interval(Interval(own["low"], own["high"]) if known else None, self.metric)

    def difference(self, own: Json, name: str = "difference") -> str:
        """A difference with its sign and interval, `+3.1 (1.0 to 5.2)`."""
        if own[name] is None:
            return show.MISSING
        interval = "" if own["low"] is None else f" ({self.ends(own)})"
        return show.signed_gap(own[name], self.metric) + interval

    def lead(self, own: Json, name: str = "difference", turned: bool = False) -> dict[str, Any]:
        """How much better b is than a (turned: a than b), as `value`, `low` and `high`."""
        sign = -self.sign if turned else self.sign
        values = [None if own[part] is None else sign * own[part] for part in (name, "low", "high")]
        low, high = values[1:] if sign > 0 else values[:0:-1]
        return {"value": values[0], "low": low, "high": high}

    def better(self, lead: Json) -> str:
        """`3.1 points better (95 % interval 1.0 to 5.2)`; for a negative lead, how much worse."""
        value, low, high = (lead[part] for part in ("value", "low", "high"))
        said = f"{self.gap(value)} {'worse' if value < 0 else 'better'}"
        if self.plain(abs(value)) == self.plain(0):
            said = "on the same score"
        if low is None or high is None:
            return said
        if low < 0 < high:
            ends = f"{self.plain(-low)} worse to {self.plain(high)} better"
        else:
            ends = " to ".join(map(self.plain, sorted((abs(low), abs(high)))))
        return f"{said} (95{show.SPACE}% interval {ends})"

    def labels(self, number: float) -> str:
        """`6,920 labels`."""
        return f"{show.count(number)} {self.unit}"

    def trained(self, number: float) -> str:
        """`6,920 labels`, or `240 of 300 labels (5-fold cross-validation)`."""
        if not self.folds:
            return self.labels(number)
        return f"{show.count(number)} of {show.count(self.rows)} {self.unit} ({self.folds}-fold cross-validation)"

    def needs(self, own: Json) -> str:
        """`about 3,800 labels (95 % interval 600 to 9,000)`."""
        low, high = (None if own[end] is None else show.significant(max(own[end], 1)) for end in ("low", "high"))
        ends = f"{low} to {high}" if low and high else f"{low} or more" if low else ""
        bounds = f" (95{show.SPACE}% interval {ends})" if ends else ""
        return f"about {show.significant(max(own['needs'], 1))} {self.unit}{bounds}"

    def form(self, entry: Json, form: str | None) -> str:
        """`Run it as ONNX, int8: 0.14 ms per prediction, 1.0 MB on disk.`; empty for PyTorch or unknown."""
        if form in (None, "pytorch"):
            return ""
        own = entry["forms"][form]
        lost = f", {self.gap(own['score_lost'])} lost" if form == "int8" and own["score_lost"] > 0 else ""
        told = (
            f"{show.milliseconds(own['latency_seconds'])} per prediction, {show.memory(own.get('bytes'))} on disk{lost}"
        )
        return f"Run it as {FORMS[form]}: {told} (tl-toolkit export)."

    def cost(self, entry: Json) -> str:
        """`2.1 ms per prediction and 48 s of training`; only what is known."""
        answer, training = entry["answer_seconds"], entry["training_seconds"]
        parts = [] if answer is None else [f"{show.milliseconds(answer)} per prediction"]
        return show.joined(parts + ([] if training is None else [f"{show.seconds(training)} of training"]) or [""])
