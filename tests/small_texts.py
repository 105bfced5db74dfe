"""Texts with classes, and a model that learns them in a second."""

from __future__ import annotations

import numpy as np

_WORDS = {
    "fruit": ["apple", "pear", "plum", "fig", "melon"],
    "metal": ["iron", "tin", "lead", "zinc", "gold"],
    "river": ["rhine", "rhone", "elbe", "oder", "main"],
}


def make_texts(rows: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of 3 to 11 words, one in three of which gives the class away, and the names of their classes."""
    rng = np.random.default_rng(seed)
    names = list(_WORDS)
    common = ["the", "a", "of", "and", "some", "very", "old", "new"]
    texts, labels = [], []
    for row in range(rows):
        label = names[row % len(names)]
        length = int(rng.integers(3, 12))
        words = [rng.choice(_WORDS[label]) if i % 3 == 0 else rng.choice(common) for i in range(length)]
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


_SIZES = "embedding_size=7,hidden_size=13,num_hidden_layers=1,embedding_dropout=0,classifier_dropout=0"
RNN = {"model_type": "rnn", "config_overrides": _SIZES}
