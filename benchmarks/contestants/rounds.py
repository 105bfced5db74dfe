"""What all contestants share: data from the same seeds, and rounds on request. Imports numpy only.

A contestant is a script, run as `CONTESTANT.py NAME SETTINGS` in an environment of its own. `NAME` is one of its
functions. It takes the settings (JSON) and returns another one, which prepares a round: what that returns is timed,
and returns the number of rows or tokens that it read. For each line on standard input one round runs, and its work and
processor seconds (on a GPU, seconds) are printed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

PAD, SPECIAL, WORDS, LABELS = 0, 4, 10_000, 2
Texts = list[tuple[np.ndarray, np.ndarray]]
Round = Callable[[], int]


def buckets(rows: int, batch: int, longest: int = 40, words: int = WORDS) -> Texts:
    """Batches of texts of similar lengths from 5 to `longest` tokens, in random order: padded ids, and labels.

    The longest of a batch has a multiple of 4 tokens, because Keras compiles for each length.
    """
    generator = np.random.default_rng(1)
    lengths = np.sort(generator.integers(5, longest + 1, rows))
    batches: Texts = []
    for own in lengths.reshape(-1, batch)[generator.permutation(rows // batch)]:
        own[-1] = -(-own[-1] // 4) * 4
        ids = generator.integers(SPECIAL, words, (batch, own[-1]), dtype=np.int64)
        ids[np.arange(ids.shape[1]) >= own[:, None]] = PAD
        batches.append((ids, generator.integers(0, LABELS, batch)))
    return batches


def stream(tokens: int, words: int = WORDS) -> np.ndarray:
    """The tokens of a text."""
    return np.random.default_rng(1).integers(SPECIAL, words, tokens, dtype=np.int64)


def pairs(batches: int, batch: int, words: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Padded sources and targets with lengths as in Multi30k, the longest source first."""
    generator = np.random.default_rng(1)
    for _ in range(batches):
        lengths = np.sort(generator.integers(7, 19, batch))[::-1]
        sides = []
        for own in (lengths, np.maximum(lengths + generator.integers(-2, 3, batch), 2)):
            ids = generator.integers(SPECIAL, words, (batch, own.max()), dtype=np.int64)
            ids[np.arange(ids.shape[1]) >= own[:, None]] = PAD
            sides.append(ids)
        yield sides[0], sides[1]


def train_in_turn(step: Callable[[Any], int], batches: list[Any], each_round: int) -> Callable[[], Round]:
    """Rounds of so many steps, which go on where the last one ended and start again at the end."""
    done = 0

    def round_() -> int:
        nonlocal done
        done += each_round
        return sum(step(batches[number % len(batches)]) for number in range(done - each_round, done))

    return lambda: round_


def run(**contestants: Callable[..., Callable[[], Round]]) -> None:
    """Answer requests for rounds, see above."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    settings = json.loads(sys.argv[2])
    clock = time.perf_counter if settings.get("device") == "cuda" else time.process_time
    prepare = contestants[sys.argv[1]](**settings)
    for _ in sys.stdin:
        timed = prepare()
        began = clock()
        work = timed()
        print(json.dumps({"work": work, "seconds": clock() - began}), file=answers, flush=True)
