"""Labels that are probably wrong, by confident learning (Northcutt et al. 2021) on rows that were not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..predictions import PredictionReader, class_name, confusion_matrix
from ..results import Result

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["split", "row", "text", "label", "predicted", "confidence"]
_SHOWN = 3


def suspicious(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each label is in a cell of the confident joint off its diagonal (equations 1 and 2), bool (rows,).

    A row counts for the class with the highest probability among those whose probability reaches the mean one of the
    rows that have this label.

    Args:
        scores: probabilities (rows, classes), out of sample.
        labels: class ids (rows,).
    """
    classes = scores.shape[1]
    mine = [scores[labels == own, own] for own in range(classes)]
    thresholds = np.array([own.mean() if len(own) else np.inf for own in mine])
    confident = np.where(scores >= thresholds, scores, -1.0)
    return (confident.max(axis=1) >= 0) & (confident.argmax(axis=1) != labels)


def suspicious_rows(runs: Sequence[Result], folder: Path) -> pd.DataFrame | None:
    """The rows with a suspicious label, in `COLUMNS`, the most confident ones first; None without probabilities.

    The probabilities of a row are the mean over the runs that have it among their validation or test rows.

    Args:
        runs: the runs of an entry with the same labels.
        folder: that of the comparison.
    """
    import pandas as pd

    parts = []
    for run in runs:
        dataset = run.section("dataset")
        for role in ("test", "validation"):
            name = run.section("predictions").get(role)
            path = folder / run.folder / str(name)
            if run.section("task").get("problem_type") == "regression" or not name or not path.exists():
                continue
            frame = pd.read_parquet(path)
            if not {"scores", "label", "label_name", "text"} <= set(frame.columns):
                return None
            parts.append(frame.assign(split=dataset.get(f"{role}_from", role)))
    if not parts:
        return None
    frame = pd.concat(parts, ignore_index=True)
    frame["key"] = frame["split"].astype(str) + " " + frame["row"].astype(str)
    first = frame.drop_duplicates("key").reset_index(drop=True)
    place = first.set_index("key").index.get_indexer(frame["key"])
    total = np.zeros((len(first), len(frame["scores"].iloc[0])))
    np.add.at(total, place, np.stack(list(frame["scores"])))
    scores = total / np.bincount(place)[:, None]
    names, labels = runs[0].label_names(), np.stack(list(first["label"]))
    if labels.ndim == 1:
        found, chosen = suspicious(scores, labels), scores.argmax(axis=1)
        found &= chosen != labels
        predicted = [[class_name(int(own), names)] for own in chosen]
        confidence = scores.max(axis=1)
    else:  # each label by itself
        each = [suspicious(np.stack([1 - own, own], axis=1), labels[:, n]) for n, own in enumerate(scores.T)]
        flags = np.stack(each, axis=1) & ((scores > 0.5) != labels.astype(bool))
        found = flags.any(axis=1)
        predicted = [[class_name(int(n), names) for n in np.flatnonzero(own)] for own in scores > 0.5]
        confidence = np.where(flags, np.maximum(scores, 1 - scores), 0.0).max(axis=1)
    told = first.assign(predicted=predicted, confidence=confidence.round(4), label=first["label_name"])
    for column in ("label", "predicted"):
        told[column] = [own if isinstance(own, str) else ", ".join(own) for own in told[column]]
    return told[found].sort_values("confidence", ascending=False, kind="stable")[COLUMNS]


def confusions(runs: Sequence[Result], reader: PredictionReader) -> list[tuple[str, str, float]]:
    """The most frequent confusions on test rows: a class, that predicted for it, and the share of its rows."""
    read = [own for run in runs if (own := reader.labels(run)) is not None]
    if not read or read[0].label.ndim > 1 or np.issubdtype(read[0].label.dtype, np.floating):
        return []
    names = runs[0].label_names()
    classes = 1 + max(int(max(own.label.max(), own.prediction.max())) for own in read)
    counts = confusion_matrix(read, classes)
    pairs: Counter[Any] = Counter({(a, b): int(counts[a, b]) for a in range(classes) for b in range(classes) if a != b})
    return [
        (class_name(a, names), class_name(b, names), count / int(counts[a].sum()))
        for (a, b), count in pairs.most_common(_SHOWN)
        if count
    ]
