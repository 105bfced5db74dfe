"""Do attributions find the words that matter? Remove the most important ones first, and see how fast answers change.

DeYoung et al. 2020, "ERASER" (comprehensiveness); Samek et al. 2017, "Evaluating the visualization of what a deep
neural network has learned".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .readings import Reading

if TYPE_CHECKING:
    import pandas as pd

SHARES = np.linspace(0, 0.9, 10)
"""The shares of words that are removed."""
RANDOM = "random"
SEEDS = 5
"""Random orders of the words of each text."""


def deletion_curves(
    reading: Reading, attributions: Mapping[str, np.ndarray], text: int
) -> list[tuple[int, str, int, np.ndarray]]:
    """(answer, method, seed, probability at each of SHARES) for each answer of a text.

    Words are taken out of the text, so it is read as a shorter one: those with the highest attributions first, or in
    random orders. One word always stays, and of a tagger the word whose tag it is. Between whole words the curve is
    linear; answers about a text of one word have none.
    """
    count = len(reading.words)
    lines, removed = [], []
    for answer, own in enumerate(reading.own):
        removable = np.array([word for word in range(count) if word != own])
        most = min(len(removable), count - 1)
        if not most:
            continue
        numbers = np.unique(np.minimum(np.round(SHARES * len(removable)).astype(int), most))
        orders = {(method, 0): removable[np.argsort(-values[answer, removable], kind="stable")]
                  for method, values in attributions.items()}  # fmt: skip
        orders |= {(RANDOM, seed): np.random.default_rng([text, seed]).permutation(removable) for seed in range(SEEDS)}
        for key, order in orders.items():
            lines.append((answer, *key, numbers / len(removable)))
            removed += [np.isin(np.arange(count), order[:number]) for number in numbers]
    if not lines:
        return []
    rows, place = np.unique(removed, axis=0, return_inverse=True)  # answers share most of the shorter texts
    scores, curves, start = reading.scores_without(rows), [], 0
    for answer, method, seed, shares in lines:
        stop = start + len(shares)
        probabilities = reading.probability(scores[place[start:stop], answer])
        curves.append((answer, method, seed, np.interp(SHARES, shares, probabilities)))
        start = stop
    return curves


def areas(deletion: pd.DataFrame) -> pd.DataFrame:
    """By model and method: `area` below the mean curve, divided by its width, and `gain`, that of random words less it.

    `low` and `high` are the 95 % interval of the gain over texts, 1.96 standard errors of the mean; NaN for one text.
    """
    import pandas as pd

    columns = ["model", "method", "area", "gain", "low", "high", "texts"]
    if deletion.empty:
        return pd.DataFrame(columns=columns)
    lines = deletion.pivot_table("probability", ["model", "method", "text", "answer", "seed"], "share", sort=False)
    each = lines.apply(lambda line: np.trapezoid(line) / (len(line) - 1), axis=1)
    by_text = each.groupby(["model", "method", "text"], sort=False).mean().unstack("text").sort_index(axis=1)
    rows = []
    for (model, method), own in by_text.iterrows():
        own = own.dropna()
        gain = by_text.loc[(model, RANDOM)] - own
        error = 1.96 * gain.std() / np.sqrt(len(own))
        rows.append((model, method, own.mean(), gain.mean(), gain.mean() - error, gain.mean() + error, len(own)))
    return pd.DataFrame(rows, columns=columns)
