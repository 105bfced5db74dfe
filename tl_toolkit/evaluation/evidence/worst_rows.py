"""The test rows with the worst predictions of a run, in words: classes, numbers, tags, texts and forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError
from .. import formatting as show
from ..predictions import PredictionReader, answer_in_words, column
from ..results import Result

MOST_ROWS = 8
MOST_WORDS = 8
"""The maximum number of wrong words shown per sentence."""
MOST_STEPS = 6
"""The maximum number of time steps shown per window."""
MOST_SCORED = 400
"""The maximum number of texts of a run that are scored one by one."""

HEADINGS = {
    "token-classification": "Sentences with the most wrong tags",
    "translation": "Worst outputs by chrF",
    "captioning": "Worst outputs by chrF",
    "forecasting": "Worst windows",
}
"""The heading of the list, by task."""


@dataclass(frozen=True)
class ShownMistake:
    """A mistake in words."""

    row: int
    text: str
    text_pair: str | None
    label: str
    prediction: str
    measure: str


def worst_rows(result: Result, reader: PredictionReader) -> list[ShownMistake]:
    """The worst rows of a run, worst first; empty if its predictions or their scorer are not available."""
    of_task = {
        "token-classification": _worst_tags,
        "translation": _worst_texts,
        "captioning": _worst_texts,
        "forecasting": _worst_windows,
    }
    return of_task.get(str(result.section("task").get("name")), _worst_labels)(result, reader)


def _worst_labels(result: Result, reader: PredictionReader) -> list[ShownMistake]:
    """The wrong predictions with the highest probability, or for numbers the largest errors."""
    table = reader.labelled(result, ["row", "text", "text_pair", "label", "prediction", "scores"])
    if table is None:
        return []
    label, prediction, names = column(table, "label"), column(table, "prediction"), result.label_names()
    if np.issubdtype(label.dtype, np.floating):
        badness = np.abs(prediction - label)
        wrong = badness > 0
        measures = [f"off by {error:+.3g}".replace("-", show.MINUS) for error in prediction - label]
    else:
        differs = label != prediction
        wrong = differs if differs.ndim == 1 else differs.any(axis=1)
        badness, measures = np.zeros(len(label)), ["probability unknown"] * len(label)
        if "scores" in table.column_names:
            badness = _certainty(prediction, column(table, "scores"), differs)
            measures = [f"probability {sure:.3f}" for sure in badness]
    places = np.flatnonzero(wrong)
    places = places[np.argsort(-badness[places], kind="stable")][:MOST_ROWS]
    return [
        ShownMistake(
            row=int(row["row"]),
            text=str(row.get("text") or ""),
            text_pair=row.get("text_pair"),
            label=answer_in_words(row["label"], names),
            prediction=answer_in_words(row["prediction"], names),
            measure=measures[place],
        )
        for place, row in zip(places, table.take(places).to_pylist(), strict=True)
    ]


def _certainty(prediction: np.ndarray, scores: np.ndarray, differs: np.ndarray) -> np.ndarray:
    """The probability (n,) of the predicted class; for multi-label tasks, of the most certain wrong decision."""
    if prediction.ndim == 1:
        return scores[np.arange(len(prediction)), prediction]
    decided = np.where(prediction == 1, scores, 1 - scores)
    return np.where(differs, decided, 0.0).max(axis=1)


def _worst_tags(result: Result, reader: PredictionReader) -> list[ShownMistake]:
    table = reader.columns(result, ["row", "words", "label", "prediction"])
    if table is None or table.num_columns < 4:
        return []
    labels, answers = table["label"].to_pylist(), table["prediction"].to_pylist()
    wrong = [
        [place for place, (true, own) in enumerate(zip(*pair, strict=True)) if true != own]
        for pair in zip(labels, answers, strict=True)
    ]
    places = _first(np.array([len(own) for own in wrong], dtype=float))
    shown = []
    for place, words in zip(places, table["words"].take(places).to_pylist(), strict=True):
        listed = wrong[place][:MOST_WORDS]
        shown.append(
            ShownMistake(
                row=table["row"][place].as_py(),
                text=show.shortened(" ".join(words), show.MOST_TEXT),
                text_pair=None,
                label=", ".join(f"{words[word]} {labels[place][word]}" for word in listed),
                prediction=", ".join(f"{words[word]} {answers[place][word] or 'cut off'}" for word in listed),
                measure=f"{len(wrong[place])} of {len(words)} words wrong",
            )
        )
    return shown


def _worst_texts(result: Result, reader: PredictionReader) -> list[ShownMistake]:
    """The worst texts by chrF per sentence; of many rows, only an evenly spaced subset is scored."""
    from ...metrics.generation import scorers

    table = reader.columns(result, ["row", "source", "reference", "prediction"])
    if table is None or not {"reference", "prediction"} <= set(table.column_names):
        return []
    try:
        chrf = scorers()["chrf"]
    except UserError:  # sacrebleu is not installed here; the report works without it
        return []
    table = table.take(np.unique(np.linspace(0, len(table) - 1, min(len(table), MOST_SCORED)).astype(int)))
    rows = table.to_pylist()
    references = [[row["reference"]] if isinstance(row["reference"], str) else row["reference"] for row in rows]
    pairs = zip(rows, references, strict=True)
    scores = np.array([chrf.sentence_score(row["prediction"], wanted).score for row, wanted in pairs])
    return [
        ShownMistake(
            row=rows[place]["row"],
            text=show.shortened(rows[place].get("source") or "", show.MOST_TEXT),
            text_pair=None,
            label=show.shortened(" / ".join(references[place]), show.MOST_TEXT),
            prediction=show.shortened(rows[place]["prediction"], show.MOST_TEXT),
            measure=f"chrF {scores[place]:.1f}",
        )
        for place in _first(100 - scores)
    ]


def _worst_windows(result: Result, reader: PredictionReader) -> list[ShownMistake]:
    """The worst windows by mean absolute error over observed values, without overlapping windows."""
    table = reader.columns(result, ["row", "time", "label", "prediction"])
    if table is None or not {"label", "prediction"} <= set(table.column_names):
        return []
    rows = table.to_pylist()
    starts = [row["row"] for row in rows]
    pairs = [(np.array(row["label"], dtype=float), np.array(row["prediction"], dtype=float)) for row in rows]
    errors = np.array([_mean_error(*pair) for pair in pairs])
    places: list[int] = []
    for place in _first(errors, len(rows)):
        if all(abs(starts[place] - starts[other]) >= len(pairs[place][0]) for other in places):
            places.append(place)
    return [
        ShownMistake(
            row=starts[place],
            text=f"From {rows[place]['time']} on" if rows[place].get("time") is not None else "",
            text_pair=None,
            label=_steps(pairs[place][0]),
            prediction=_steps(pairs[place][1]),
            measure=f"mean absolute error {errors[place]:.3g}",
        )
        for place in places[:MOST_ROWS]
    ]


def _mean_error(label: np.ndarray, prediction: np.ndarray) -> float:
    error = np.abs(prediction - label)
    return float(np.nanmean(error)) if not np.isnan(error).all() else 0.0


def _steps(values: np.ndarray) -> str:
    """The first time steps as text; several variables of a step are in brackets."""
    first = [_numbers(step) for step in values[:MOST_STEPS]]
    return ", ".join(first) + (", …" if len(values) > MOST_STEPS else "")


def _numbers(step: Any) -> str:
    if np.ndim(step):
        return f"({', '.join(map(_numbers, step))})"
    return "unknown" if np.isnan(step) else f"{step:.4g}".replace("-", show.MINUS)


def _first(badness: np.ndarray, most: int = MOST_ROWS) -> Sequence[int]:
    """The positions of the worst rows, without rows that have no errors."""
    order = np.argsort(-badness, kind="stable")
    return [int(place) for place in order if badness[place] > 0][:most]
