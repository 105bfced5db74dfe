"""Format numbers and names for readers: scores in per cent, parameters in millions, times in suitable units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..metrics.scores import named_class
from .intervals import Estimate, Interval, Spread
from .results import Result

LABELS, TOKENS = "labels", "tokens"
MISSING = "–"
MINUS = "−"
SPACE = "\u00a0"
"""A no-break space between a number and its unit."""

PERCENT_METRICS = {"accuracy", "macro_f1", "micro_f1", "weighted_f1", "f1", "precision", "recall", "exact_match"}
POINT_METRICS = {"bleu", "bleu_lowercase", "chrf"}
"""Metrics from 0 to 100."""
MOST_TEXT = 600
"""The maximum number of characters shown of a text."""
METRIC_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "f1": "entity F1",
    "bleu": "BLEU",
    "bleu_lowercase": "BLEU, lower case",
    "chrf": "chrF",
    "rmse": "RMSE",
    "smape": "sMAPE",
    "mase": "MASE",
}


def metric_name(metric: str) -> str:
    """The name of a metric within a sentence; that of a class is `recall of spam`."""
    if (found := named_class(metric)) is not None:
        return f"{'F1' if found[0] == 'f1' else found[0]} of {found[1]}"
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def in_per_cent(metric: str) -> bool:
    """Whether a metric is shown in per cent."""
    return metric in PERCENT_METRICS or named_class(metric) is not None


def metric_heading(metric: str) -> str:
    """The column heading of a metric, with its unit."""
    return capital(metric_axis(metric))


def metric_axis(metric: str) -> str:
    """The name of a metric with its unit, not capitalised: `accuracy, %`."""
    return metric_name(metric) + (", %" if in_per_cent(metric) else "")


def capital(text: str) -> str:
    """The text with its first letter in upper case and the rest unchanged."""
    return text[:1].upper() + text[1:]


def plain_score(value: float, metric: str) -> str:
    """A metric value without its unit: one decimal up to 100, else three decimals or four significant digits."""
    if not math.isfinite(value):
        return "undefined"
    if in_per_cent(metric) or metric in POINT_METRICS:
        return _signed(f"{100 * value if in_per_cent(metric) else value:.1f}")
    return _signed(f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}")


def score(value: float, metric: str) -> str:
    """A metric value with its unit."""
    return plain_score(value, metric) + (f"{SPACE}%" if in_per_cent(metric) else "")


def gap(value: float, metric: str) -> str:
    """The size of a difference, without its sign: `3.2 points` or `0.041`."""
    number = plain_score(abs(value), metric)
    if not in_per_cent(metric) and metric not in POINT_METRICS:
        return number
    return f"{number}{SPACE}{'point' if number == '1.0' else 'points'}"


def signed_gap(value: float, metric: str) -> str:
    """A difference with its sign, without its unit: `+3.2`."""
    number = plain_score(value, metric)
    return number if number.startswith(MINUS) or not math.isfinite(value) else f"+{number}"


def interval(bounds: Interval | Estimate | None, metric: str) -> str:
    """An interval as `1.2 to 3.4`, in the metric's unit."""
    return MISSING if bounds is None else f"{plain_score(bounds.low, metric)} to {plain_score(bounds.high, metric)}"


def spread(value: Spread | None, metric: str) -> str:
    """A spread as `45.1 ± 0.6`, or only the mean for a single run."""
    if value is None:
        return MISSING
    text = plain_score(value.mean, metric)
    return text if value.deviation is None else f"{text} ± {plain_score(value.deviation, metric)}"


def count(value: float | None) -> str:
    """A whole number with thousands separators: `12,000`."""
    return MISSING if value is None else f"{round(value):,}"


def span(numbers: Iterable[int | None], missing: str = MISSING) -> str:
    """The range of the known numbers: `100`, or `100 to 500`."""
    known = {number for number in numbers if number is not None}
    if not known:
        return missing
    return count(min(known)) if len(known) == 1 else f"{count(min(known))} to {count(max(known))}"


def parameters(value: float | None) -> str:
    """A parameter count in three digits: `22.7M`, `310k`, `84`."""
    if value is None:
        return MISSING
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size * 0.9995:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def seconds(value: float | None) -> str:
    """A duration in seconds, minutes or hours, with its unit."""
    if value is None:
        return MISSING
    for unit, size, upto in (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, math.inf)):
        if value < upto:
            number = value / size
            return f"{number:.0f}{SPACE}{unit}" if number >= 9.95 else f"{number:.1f}{SPACE}{unit}"
    return "for ever"


def plain_seconds(value: float | None) -> str:
    """Seconds for a table column, with one decimal below 100."""
    if value is None:
        return MISSING
    return f"{value:,.1f}" if value < 99.95 else f"{value:,.0f}"


def plain_milliseconds(value: float | None) -> str:
    """Seconds as milliseconds for a table column, in three digits."""
    return MISSING if value is None else f"{1000 * value:.3g}"


def milliseconds(value: float | None) -> str:
    """Seconds as milliseconds with their unit."""
    return MISSING if value is None else f"{plain_milliseconds(value)}{SPACE}ms"


def memory(value: float | None) -> str:
    """Bytes as kB, MB or GB (powers of ten)."""
    if value is None:
        return MISSING
    if value < 999_500:
        return f"{value / 1e3:.3g}{SPACE}kB"
    return f"{value / 1e9:.2f}{SPACE}GB" if value >= 1e9 else f"{value / 1e6:.0f}{SPACE}MB"


def p_value(p: float | None) -> str:
    """A p-value in two or three decimals, or `<0.001`."""
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def estimate(value: Estimate | None, metric: str) -> str:
    """A mean with its interval over rows, `81.3 (70.2 to 89.0)`, without its unit."""
    return MISSING if value is None else f"{plain_score(value.mean, metric)} ({interval(value, metric)})"


def significant(value: float, digits: int = 2) -> str:
    """A number rounded to `digits` significant digits: 1,284 becomes `1,300`."""
    magnitude = 10 ** max(0, math.floor(math.log10(value)) + 1 - digits)
    return f"{round(value / magnitude) * magnitude:,}"


def joined(parts: Sequence[str], last: str = "and") -> str:
    """The parts as `a`, `a and b` or `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def budget(value: float, train_labels: int | None) -> str:
    """A label budget: `100`, `all 6,920` without a limit, or `500 (412 found)` if the dataset has fewer rows."""
    found = "" if train_labels is None else count(train_labels)
    if math.isinf(value):
        return f"all {found}".strip()
    asked = count(value)
    return asked if train_labels is None or train_labels == round(value) else f"{asked} ({found} found)"


_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def visible(value: Any) -> Any:
    """A text with each character that is invalid in pages (null bytes, lone surrogates) replaced by U+FFFD.

    Other values, including subclasses of str, are returned unchanged.
    """
    return _UNSEEN.sub("\ufffd", value) if type(value) is str else value


def shortened(text: str, most: int) -> str:
    """The text, cut after `most` characters, with the number of missing characters."""
    return text if len(text) <= most else f"{text[:most].rstrip()} … ({count(len(text) - most)} more characters)"


def _signed(text: str) -> str:
    if float(text) == 0:
        return text.removeprefix("-")
    return text.replace("-", MINUS)


def markdown_text(value: Any) -> Any:
    """A string escaped for Markdown, on one line, without markup or cell separators; other values unchanged."""
    if not isinstance(value, str):
        return value
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", re.sub(r"\s*[\r\n]+\s*", " ", visible(value)))


def unit_of(results: Sequence[Result]) -> str:
    """The unit of the budgets of a panel's runs: "labels" or "tokens"."""
    known = next((result for result in results if result.section("budget")), None)
    return TOKENS if known is not None and known.section("budget").get("train_tokens") else LABELS
