from __future__ import annotations

import numpy as np

from tl_toolkit.evaluation.evidence.suspicious_labels import suspicious


def test_confident_learning_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9], [0.55, 0.45]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    # thresholds: (0.9 + 0.7 + 0.2) / 3 = 0.6 and (0.7 + 0.9 + 0.45) / 3 = 0.683
    assert suspicious(scores, labels).tolist() == [False, False, True, False, False, False]
    absent = np.concatenate([scores, np.zeros((6, 1))], axis=1)  # a class that no row has is never confident
    assert suspicious(absent, labels).tolist() == suspicious(scores, labels).tolist()


def test_flipped_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 3000)
    logits = rng.normal(size=(3000, 3)) + 4 * np.eye(3)[true]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = rng.random(3000) < 0.05
    given = np.where(flipped, (true + 1) % 3, true)
    found = suspicious(scores, given)
    assert (found & flipped).sum() / flipped.sum() > 0.8 and (found & ~flipped).sum() / found.sum() < 0.3
