"""How often the decision is right on real data.

    python benchmarks/real_coverage.py [--dataset stanfordnlp/imdb --comparisons 200]

Entries are linear models on n-grams, a seed is a training sample, and one entry occurs twice, with other samples. The
true scores are the means over all held-out rows and all runs. Each small comparison has three seeds, whose runs no
other comparison has, and test rows that are disjoint from those of as many others as possible (the number in brackets).
Entries share the sample of a seed, as in `compare`, or each has its own. Shares are in per cent.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from tl_toolkit.evaluation.decision import Cell, Entry, Panel, Settings, decide

BUDGETS, SEEDS, POOL = (100, 400), 3, 10_000
ENTRIES = {"tf-idf": "linear", "tf-idf, bigrams": "scratch", "counts": "transformer", "tf-idf again": "distilled"}
"""Entries with a kind each, so that leads of kinds are tested as well."""
DESIGNS = ((300, 0.05), (1000, 0.03))
"""Test rows of a comparison, and the margin."""
COLUMNS = (
    "lead covered",
    "difference covered",
    "score covered",
    "claimed (right)",
    "equivalent (right)",
    "wrong reports",
)
PAIRS = [("tf-idf", other) for other in ENTRIES if other != "tf-idf"]


def features(dataset: str, rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """Matrices (rows, n-grams) of the entries, and labels (rows,), in random order."""
    from datasets import concatenate_datasets, load_dataset
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    splits = load_dataset(dataset)
    data = concatenate_datasets([splits["train"], splits["test"]])
    order = rng.permutation(len(data))
    texts, labels = data["text"], np.asarray(data["label"])[order]

    def counts(longest: int) -> Any:
        made = HashingVectorizer(ngram_range=(1, longest), norm=None, alternate_sign=False, n_features=2**18)
        return made.transform(texts)[order]

    single, double = counts(1), counts(2)
    found = {"tf-idf": single, "tf-idf, bigrams": double}
    made = {name: TfidfTransformer(sublinear_tf=True).fit_transform(own) for name, own in found.items()}
    return made | {"counts": single}, labels


def runs(matrix: Any, labels: np.ndarray, size: int, count: int, cost: float) -> np.ndarray:
    """Whether runs are right on each held-out row, (count, rows). Samples are stratified, and disjoint if possible."""
    from sklearn.linear_model import LogisticRegression

    rng, right = np.random.default_rng(size), np.empty((count, len(labels) - POOL), dtype=bool)
    classes = [np.flatnonzero(labels[:POOL] == label) for label in np.unique(labels)]
    part, held = size // len(classes), matrix[POOL:]
    for run in range(count):
        place = run % (min(map(len, classes)) // part)
        if place == 0:
            classes = [rng.permutation(own) for own in classes]
        sample = np.concatenate([own[place * part : (place + 1) * part] for own in classes])
        model = LogisticRegression(C=cost, solver="liblinear", dual=True, tol=0.01, random_state=0)
        model.fit(matrix[sample], labels[sample])
        right[run] = model.predict(held) == labels[POOL:]
    return right


class Tally:
    """What decisions say, and whether it is right, as lists of 0 and 1 by name."""

    def __init__(self, truth: dict[tuple[str, int], float], margin: float) -> None:
        self.truth, self.margin = truth, margin
        self.noted: dict[str, list[float]] = {}

    def judge(self, decision: dict[str, Any]) -> None:
        """Note the statements of one report."""
        kinds, wrong = {kind: name for name, kind in ENTRIES.items()}, []
        for own in decision["kinds"]:
            a, b = kinds[own["a"]], kinds[own["b"]]
            lead = float(np.mean([self.score(b, size) - self.score(a, size) for size in BUDGETS]))
            wrong.append(self.read("lead", lead, own["average_lead"]))
        for budget in decision["budgets"]:
            labels = budget["labels"]
            for own in budget["entries"]:
                self.note("expected", own["low"] <= self.score(own["entry"], labels) <= own["high"])
            for own in budget["comparisons"]:
                wrong.append(self.read("budget", self.score(own["b"], labels) - self.score(own["a"], labels), own))
        self.note("wrong", any(wrong))

    def score(self, name: str, labels: float) -> float:
        return self.truth[name.removesuffix(" again"), int(labels)]

    def read(self, what: str, true: float, own: dict[str, Any]) -> bool:
        """Note a difference; whether its reading is wrong."""
        claimed, same = own["reading"] in ("ahead", "behind"), own["reading"] == "equivalent"
        right = abs(true) <= self.margin if same else true > 0 if own["reading"] == "ahead" else true < 0
        self.note(f"{what} covered", own["low"] <= true <= own["high"])
        self.note("claimed", claimed)
        self.note("equivalent", same)
        if claimed or same:
            self.note("claim right" if claimed else "equivalence right", right)
        return not right and (claimed or same)

    def note(self, name: str, value: bool) -> None:
        self.noted.setdefault(name, []).append(float(value))

    def row(self) -> list[str]:
        """The columns of the table."""

        def share(name: str) -> str:
            values = self.noted.get(name)
            return f"{100 * np.mean(values):.1f}" if values else "–"

        covered = [share(name) for name in ("lead covered", "budget covered", "expected")]
        return [*covered, *(f"{share(f'{a}')} ({share(f'{b} right')})" for a, b in SAID), share("wrong")]


SAID = (("claimed", "claim"), ("equivalent", "equivalence"))


def report(
    right: dict[tuple[str, int], np.ndarray], names: tuple[str, ...], rows: np.ndarray, one: int, own: bool
) -> Panel:
    """The comparison `one` of some entries; with `own` samples, each entry has the runs of another comparison."""
    entries = []
    for name in names:
        place = list(ENTRIES).index(name) if own or name.endswith(" again") else 0
        cells = {}
        for size in BUDGETS:
            every = right[name.removesuffix(" again"), size]
            mine = (np.arange(SEEDS) + SEEDS * one + place * len(every) // len(ENTRIES)) % len(every)
            cells[float(size)] = Cell(every[np.ix_(mine, rows)].astype(float))
        entries.append(Entry(name, ENTRIES[name], cells))
    return Panel("real", entries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="stanfordnlp/imdb")
    parser.add_argument("--comparisons", type=int, default=200)
    arguments = parser.parse_args()
    began, rng = time.perf_counter(), np.random.default_rng(0)
    matrices, labels = features(arguments.dataset, rng)
    right = {
        (name, size): runs(matrix, labels, size, SEEDS * arguments.comparisons, 0.1 if name == "counts" else 10)
        for name, matrix in matrices.items()
        for size in BUDGETS
    }
    truth = {place: float(own.mean()) for place, own in right.items()}
    for (name, size), value in truth.items():
        spread = right[name, size].mean(axis=1).std()
        print(f"{name}, {size} labels: {100 * value:.2f} % (SD over seeds {100 * spread:.2f} points)")
    print(f"{time.perf_counter() - began:.0f} s to here")
    print("| rows | margin | samples | entries |", " | ".join(COLUMNS), "|")
    print("|" + "---|" * (4 + len(COLUMNS)))
    held = len(labels) - POOL
    for rows, margin in DESIGNS:
        blocks = np.arange(held // rows * rows).reshape(-1, rows)
        settings = Settings("accuracy", margin=margin, bounds=(0.0, 1.0))
        for own in (False, True):
            for names in [*PAIRS, tuple(ENTRIES)]:
                tally = Tally(truth, margin)
                for one in range(arguments.comparisons):
                    tally.judge(decide([report(right, names, blocks[one % len(blocks)], one, own)], settings))
                named = "all four" if len(names) > 2 else " / ".join(names)
                first = [f"{rows} ({min(len(blocks), arguments.comparisons)})", f"{100 * margin:g}"]
                print("|", " | ".join([*first, "own" if own else "shared", named, *tally.row()]), "|", flush=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
