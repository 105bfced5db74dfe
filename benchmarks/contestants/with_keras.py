"""Keras 3 on jax: `fit`, compiled for each length of a batch before the first measured round."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import rounds

os.environ |= {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

import keras  # noqa: E402


class _Batches(keras.utils.PyDataset):
    def __init__(self, texts: rounds.Texts) -> None:
        super().__init__()
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Any:
        return self.texts[index]


def classifier(rows: int, batch: int, hidden: int, bidirectional: bool) -> Callable[[], rounds.Round]:
    lstm = keras.layers.LSTM(hidden, return_sequences=True)
    model = keras.Sequential(
        [
            keras.layers.Embedding(rounds.WORDS, 100, mask_zero=True),
            keras.layers.Bidirectional(lstm) if bidirectional else lstm,
            keras.layers.GlobalMaxPooling1D(),  # knows no mask
            keras.layers.Dense(rounds.LABELS),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3, global_clipnorm=1.0), loss)
    texts = _Batches(rounds.buckets(rows, batch))

    def epoch() -> int:
        model.fit(texts, epochs=1, shuffle=False, verbose=0)
        return rows

    return lambda: epoch


if __name__ == "__main__":
    rounds.run(classifier=classifier)
