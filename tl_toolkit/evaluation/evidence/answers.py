"""The predictions of entries for the same test rows, combined over the seeds of each entry.

Labels are combined by majority vote over seeds, with ties decided by the mean probability; numbers by the mean; tags by
majority vote per word, and texts by the most frequent one, with ties decided by the first seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from ..predictions import PredictionReader, Predictions, answer_in_words
from ..statistics.cells import Cell

if TYPE_CHECKING:
    import pyarrow as pa

MOST_WORDS = 8
"""The maximum number of words of a sentence that are shown with their tags."""
MOST_SCORED = 2400
"""The maximum number of texts of a panel that are scored one by one, at a quarter of a millisecond each."""


@dataclass(frozen=True)
class RowAnswer:
    """An entry's prediction for a row in words, with a `probability` if it has one or else a `measure` (`chrF 31.2`).

    `right` is None if predictions are not simply right or wrong.
    """

    entry: str
    answer: str
    right: bool | None
    probability: float | None = None
    measure: str = ""


@dataclass(frozen=True)
class Answers:
    """Predictions (entries, items) for the same rows; an item is a row, or a word of a row.

    Equal `codes` are equal predictions; `right` marks the right ones, None for numbers and texts. `owner` (items,) is
    the position of each item's row in `row`. `gap` (entries, rows), for numbers and texts, is the error of a
    prediction, NaN if it was not scored. `certainty` (entries, rows) are probabilities, if available. `say` and `truth`
    return a prediction and the label in words.
    """

    entries: list[str]
    row: np.ndarray
    codes: np.ndarray
    owner: np.ndarray
    what: str
    say: Callable[[int, int], RowAnswer]
    truth: Callable[[int], str]
    right: np.ndarray | None = None
    gap: np.ndarray | None = None
    certainty: np.ndarray | None = None


def label_answers(cells: Sequence[Cell], reader: PredictionReader) -> Answers | None:
    """The predictions of classification and regression; None unless two entries have predictions for the same rows."""
    kept: list[tuple[str, list[Predictions], list[np.ndarray] | None]] = []
    for cell in cells:
        runs = [(read, reader.scores(result)) for result in cell.results if (read := reader.labels(result)) is not None]
        first = kept[0][1][0] if kept else runs[0][0] if runs else None
        same = [(read, own) for read, own in runs if first is not None and np.array_equal(read.row, first.row)]
        if same:
            scores = [own for _, own in same if own is not None]
            kept.append((cell.entry, [read for read, _ in same], scores if len(scores) == len(same) else None))
    if len(kept) < 2:
        return None
    names, label = cells[0].results[0].label_names(), kept[0][1][0].label
    make = _numbers if np.issubdtype(label.dtype, np.floating) else _label_sets if label.ndim == 2 else _classes
    return make(kept, label, names)


def _classes(kept: list, label: np.ndarray, names: list[str] | None) -> Answers:
    rows = np.arange(len(label))
    chosen, certainty = [], []
    for _, runs, scores in kept:
        classes = 1 + max(int(run.prediction.max()) for run in runs)
        votes = np.zeros((len(rows), classes))
        for run in runs:
            votes[rows, run.prediction] += 1
        mean = None if scores is None else np.mean(scores, axis=0)
        chosen.append((votes if mean is None else votes + mean[:, :classes] / 2).argmax(axis=1))
        certainty.append(np.full(len(rows), np.nan) if mean is None else mean[rows, chosen[-1]])
    return _labelled(kept, label, np.stack(chosen), np.stack(certainty), np.stack(chosen), names)


def _label_sets(kept: list, label: np.ndarray, names: list[str] | None) -> Answers:
    chosen, certainty = [], []
    for _, runs, scores in kept:
        votes = np.mean([run.prediction for run in runs], axis=0)
        mean = None if scores is None else np.mean(scores, axis=0)
        chosen.append(((votes if mean is None else votes + (mean - 0.5) / (2 * len(runs))) > 0.5).astype(int))
        decided = None if mean is None else np.where(chosen[-1] == 1, mean, 1 - mean)
        # The least certain label decides.
        certainty.append(np.full(len(label), np.nan) if decided is None else decided.min(axis=1))
    sets = np.stack(chosen)
    _, codes = np.unique(sets.reshape(-1, sets.shape[2]), axis=0, return_inverse=True)
    return _labelled(kept, label, sets, np.stack(certainty), codes.reshape(sets.shape[:2]), names)


def _labelled(
    kept: list, label: np.ndarray, chosen: np.ndarray, certainty: np.ndarray, codes: np.ndarray, names: list[str] | None
) -> Answers:
    right = chosen == label
    right = right.all(axis=2) if right.ndim == 3 else right

    def say(entry: int, row: int) -> RowAnswer:
        sure = float(certainty[entry, row])
        answer = answer_in_words(_plain(chosen[entry, row]), names)
        return RowAnswer(kept[entry][0], answer, bool(right[entry, row]), None if np.isnan(sure) else sure)

    return Answers(
        entries=[entry for entry, _, _ in kept],
        row=kept[0][1][0].row,
        codes=codes,
        owner=np.arange(len(label)),
        what="test rows",
        say=say,
        truth=lambda row: answer_in_words(_plain(label[row]), names),
        right=right,
        certainty=None if np.isnan(certainty).any() else certainty,
    )


def _plain(value: np.ndarray) -> list[int] | int:
    return value.tolist()


def _numbers(kept: list, label: np.ndarray, names: list[str] | None) -> Answers:
    means = np.stack([np.mean([run.prediction for run in runs], axis=0) for _, runs, _ in kept])
    return Answers(
        entries=[entry for entry, _, _ in kept],
        row=kept[0][1][0].row,
        codes=means,
        owner=np.arange(len(label)),
        what="test rows",
        say=lambda entry, row: RowAnswer(kept[entry][0], answer_in_words(float(means[entry, row]), None), None),
        truth=lambda row: answer_in_words(float(label[row]), None),
        gap=np.abs(means - label),
    )


def tag_answers(cells: Sequence[Cell], reader: PredictionReader) -> Answers | None:
    """The predictions of taggers per word, without words that are outside entities for the truth and all entries."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kept: list[tuple[str, list[pa.Table]]] = []
    for cell in cells:
        read = (reader.columns(result, ["row", "words", "label", "prediction"]) for result in cell.results)
        whole = [table for table in read if table is not None and table.num_columns == 4]
        first = kept[0][1][0] if kept else whole[0] if whole else None
        if same := [table for table in whole if first is not None and table["label"].equals(first["label"])]:
            kept.append((cell.entry, same))
    if len(kept) < 2:
        return None
    first = kept[0][1][0]
    lengths = pc.list_value_length(first["label"]).to_numpy()
    flat = {"label": pc.list_flatten(first["label"]), "words": pc.list_flatten(first["words"])}
    answers = [[pc.list_flatten(table["prediction"]) for table in tables] for _, tables in kept]
    seen = pa.chunked_array([c for own in [[flat["label"]], *answers] for column in own for c in column.chunks])
    tags = pc.unique(seen.drop_null())
    coded = [[_codes(column, tags) for column in own] for own in answers]
    label = _codes(flat["label"], tags)
    codes = np.stack([_most_voted(own, len(tags)) for own in coded])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    names, words = [*tags.to_pylist(), "cut off"], flat["words"].to_pylist()  # code −1 is the last name
    ends = np.cumsum(lengths)

    def contested(row: int) -> list[int]:
        own = range(int(ends[row] - lengths[row]), int(ends[row]))
        return [word for word in own if len(set(codes[:, word].tolist())) > 1][:MOST_WORDS]

    def say(entry: int, row: int) -> RowAnswer:
        shown = [f"{words[word]} {names[codes[entry, word]]}" for word in contested(row)]
        right = all(codes[entry, word] == label[word] for word in contested(row))
        return RowAnswer(kept[entry][0], ", ".join(shown), right)

    outside = names.index("O") if "O" in names else None
    item = np.ones(len(label), dtype=bool) if outside is None else (np.vstack([codes, label]) != outside).any(axis=0)
    return Answers(
        entries=[entry for entry, _ in kept],
        row=first["row"].to_numpy(),
        codes=codes[:, item],
        owner=owner[item],
        what="words" if outside is None else "words that the truth or an entry tags",
        say=say,
        truth=lambda row: ", ".join(f"{words[word]} {names[label[word]]}" for word in contested(row)),
        right=(codes == label)[:, item],
    )


def _codes(tags: pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    """The index of each tag in the known ones, −1 for truncated words."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.index_in(tags, value_set=known), -1).to_numpy()


def _most_voted(runs: Sequence[np.ndarray], tags: int) -> np.ndarray:
    votes = np.zeros((len(runs[0]), tags + 1))
    for place, codes in enumerate(runs):
        votes[np.arange(len(codes)), codes] += 1 if place else 1.5  # ties: the first run decides
    chosen = votes.argmax(axis=1)
    return np.where(chosen == tags, -1, chosen)


def text_answers(cells: Sequence[Cell], reader: PredictionReader) -> Answers | None:
    """The generated texts with chrF per sentence; of many rows, only an evenly spaced subset is scored."""
    from ...metrics.generation import scorers

    kept: list[tuple[str, list[str]]] = []
    row: np.ndarray | None = None
    references: list = []
    for cell in cells:
        read = [reader.columns(result, ["row", "reference", "prediction"]) for result in cell.results]
        whole = [table for table in read if table is not None and table.num_columns == 3]
        if row is None and whole:
            row, references = whole[0]["row"].to_numpy(), whole[0]["reference"].to_pylist()
        same = [table for table in whole if row is not None and np.array_equal(table["row"].to_numpy(), row)]
        if written := [table["prediction"].to_pylist() for table in same]:
            kept.append((cell.entry, [Counter(own).most_common(1)[0][0] for own in zip(*written, strict=True)]))
    if len(kept) < 2 or row is None:
        return None
    wanted = [[own] if isinstance(own, str) else list(own) for own in references]
    try:
        chrf = scorers()["chrf"]
    except UserError:  # sacrebleu is not installed here; the report works without it
        return None
    gap = np.full((len(kept), len(row)), np.nan)
    scored = np.unique(np.linspace(0, len(row) - 1, min(len(row), max(1, MOST_SCORED // len(kept)))).astype(int))
    for entry, (_, texts) in enumerate(kept):
        gap[entry, scored] = [100 - chrf.sentence_score(texts[place], wanted[place]).score for place in scored]
    codes = {text: code for code, text in enumerate(dict.fromkeys(text for _, texts in kept for text in texts))}

    def say(entry: int, place: int) -> RowAnswer:
        text = kept[entry][1][place]
        right = text.strip() in {own.strip() for own in wanted[place]}
        return RowAnswer(kept[entry][0], text, right, measure=f"chrF {100 - gap[entry, place]:.1f}")

    return Answers(
        entries=[entry for entry, _ in kept],
        row=row,
        codes=np.array([[codes[text] for text in texts] for _, texts in kept]),
        owner=np.arange(len(row)),
        what="test rows",
        say=say,
        truth=lambda place: " / ".join(wanted[place]),
        gap=gap,
    )
