"""Which words an answer comes from: integrated gradients, gradient x input, and occlusion.

Sundararajan et al. 2017, "Axiomatic attribution for deep networks"; Shrikumar et al. 2017; Zeiler and Fergus 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .readings import READ_AT_ONCE, Reading

if TYPE_CHECKING:
    from torch import Tensor

INTEGRATED, GRADIENT_INPUT, OCCLUSION = "integrated gradients", "gradient × input", "occlusion"
STEPS = (32, 128, 512)
"""Points of the integral; the next number is tried if the sum is not exact enough."""
TOLERANCE = 0.02
"""Largest relative error of the sum of integrated gradients, of a difference of scores of at least 1."""


def attribute(reading: Reading) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The attributions by method (answers, words), and the errors of the integrated gradients (answers,).

    With the embedded text x and the same text with padding in place of its words, x', the attribution of a token is

        integrated gradients: sum over its dimensions of (x - x') * integral from 0 to 1 of dS(x' + a (x - x'))/dx da,
        gradient x input: sum over its dimensions of x * dS(x)/dx.

    A word has the sum over its tokens; its occlusion is S(text) - S(text with padding in place of the word). Special
    tokens are the same in x and x'. Integrated gradients sum to S(x) - S(x') (completeness); the error is the distance
    to it, relative to it or, if it is less than 1, to 1. The integral is a Gauss-Legendre quadrature. Models whose
    words have no vectors have only the occlusion, and NaN as errors.
    """
    count = len(reading.words)
    scores = reading.scores_blanked(np.vstack([np.zeros((1, count), bool), np.eye(count, dtype=bool)]))
    occluded = (scores[0] - scores[1:]).T
    if reading.vectors is None:
        return {OCCLUSION: occluded}, np.full(len(reading.targets), np.nan)
    (whole, blank), (own, padding) = reading.scores_blanked(np.repeat([[0], [1]], count, 1) == 1), reading.vectors
    for steps in STEPS:
        points, weights = (0.5 * part for part in np.polynomial.legendre.leggauss(steps))
        mean = _gradients(reading, 0.5 + points, weights)
        integrated = _by_word(mean * (own - padding), reading.spans)
        expected = whole - blank
        errors = np.abs(integrated.sum(1) - expected) / np.maximum(1, np.abs(expected))
        if errors.max() <= TOLERANCE:
            break
    product = _by_word(_gradients(reading, np.ones(1), np.ones(1)) * own, reading.spans)
    return {INTEGRATED: integrated, GRADIENT_INPUT: product, OCCLUSION: occluded}, errors


def _gradients(reading: Reading, points: np.ndarray, weights: np.ndarray) -> Tensor:
    """(answers, time, size), the weighted sum of the gradients of each score at points between padding (0) and text."""
    import torch

    assert reading.vectors is not None
    own, padding = reading.vectors
    total = torch.zeros(len(reading.targets), *own.shape, dtype=torch.float64)
    size = max(1, READ_AT_ONCE // reading.time)
    for start in range(0, len(points), size):
        at = torch.tensor(points[start : start + size, None, None]).to(own)
        share = torch.tensor(weights[start : start + size, None, None])
        with torch.enable_grad():
            vectors = (padding + at * (own - padding)).requires_grad_(True)
            scores = reading.scores_of(vectors).sum(0)
            for answer, score in enumerate(scores):
                (found,) = torch.autograd.grad(score, vectors, retain_graph=answer + 1 < len(scores))
                total[answer] += (share * found.double()).sum(0)
    return total


def _by_word(values: Tensor, spans: Sequence[range]) -> np.ndarray:
    """(answers, words) from values of (answers, time, size)."""
    tokens = values.sum(-1).numpy()
    return np.stack([tokens[:, span.start : span.stop].sum(1) for span in spans], axis=1)
