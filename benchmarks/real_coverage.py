"""How often the decision is right on real data.

    python benchmarks/real_coverage.py [--dataset stanfordnlp/imdb --comparisons 200 --cross_validation]

Entries are linear models on n-grams, a seed is a training sample, and one entry occurs twice, with other samples. The
true scores are the means over all held-out rows and all runs. Each small comparison has three seeds, whose runs no
other comparison has, and test rows that are disjoint from those of as many others as possible (the number in brackets).
Entries share the sample of a seed, as in `compare`, or each has its own. Shares are in per cent.

With `--cross_validation`, a comparison is five-fold cross-validation of a sample of 300 rows; the samples are disjoint
until all rows are used. The true score of an entry is its mean over all samples, in which each row is tested.
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

    def __init__(self, truth: dict[tuple[str, int], float], margin: float, budgets: tuple[int, ...] = BUDGETS) -> None:
        self.truth, self.margin, self.budgets = truth, margin, budgets
        self.noted: dict[str, list[float]] = {}

    def judge(self, decision: dict[str, Any]) -> None:
        """Note the statements of one report."""
        kinds, wrong = {kind: name for name, kind in ENTRIES.items()}, []
        for own in decision["kinds"]:
            a, b = kinds[own["a"]], kinds[own["b"]]
            lead = float(np.mean([self.score(b, size) - self.score(a, size) for size in self.budgets]))
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


def divided(
    matrices: dict[str, Any], labels: np.ndarray, samples: int, rows: int = 300, most: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the models of folds are right (samples, entries, repetitions, rows), and the folds of all entries."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    right = np.empty((samples, len(matrices), most, rows))
    folds, rng, order = np.empty((samples, most, rows), dtype=int), np.random.default_rng(1), np.empty(0, dtype=int)
    for sample in range(samples):
        if len(order) < rows:
            order = rng.permutation(len(labels))
        own, order = order[:rows], order[rows:]
        for repetition in range(most):
            parts = StratifiedKFold(5, shuffle=True, random_state=most * sample + repetition)
            for fold, (train, test) in enumerate(parts.split(own, labels[own])):
                folds[sample, repetition, test] = fold
                for place, (name, matrix) in enumerate(matrices.items()):
                    cost = 0.1 if name == "counts" else 10
                    model = LogisticRegression(C=cost, solver="liblinear", dual=True, tol=0.01, random_state=0)
                    model.fit(matrix[own[train]], labels[own[train]])
                    right[sample, place, repetition, test] = model.predict(matrix[own[test]]) == labels[own[test]]
    return right, folds


def cross_validated(names: list[str], right: np.ndarray, folds: np.ndarray) -> None:
    """Print a row for each number of repetitions; those of each entry are its last ones."""
    truth, settings = right.mean(axis=(0, 2, 3)), Settings("accuracy", margin=0.05, bounds=(0.0, 1.0))
    print("| repetitions |", " | ".join(f"{name}: score covered, width" for name in names), "| wrong reports |")
    print("|" + "---|" * (2 + len(names)))
    for counts in ((1, 1, 1), (2, 2, 2), (3, 3, 3), (3, 2, 1)):
        tally = Tally({(name, 240): float(own) for name, own in zip(names, truth, strict=True)}, 0.05, (240,))
        found = []
        for scores, own in zip(right, folds, strict=True):
            places = [range(3 - count, 3) for count in counts]
            cells = [Cell(scores[entry][place], repetitions=place) for entry, place in enumerate(places)]
            entries = [Entry(name, ENTRIES[name], {240.0: cell}) for name, cell in zip(names, cells, strict=True)]
            decision = decide([Panel("real", entries, folds=own)], settings)
            tally.judge(decision)
            found.append([(one["low"], one["high"]) for one in decision["budgets"][0]["entries"]])
        low, high = np.moveaxis(100 * np.array(found), 2, 0)
        covered = 100 * ((low <= 100 * truth) & (100 * truth <= high)).mean(axis=0)
        shown = [f"{share:.1f}, {width:.1f}" for share, width in zip(covered, (high - low).mean(axis=0), strict=True)]
        print("|", " | ".join([", ".join(map(str, dict.fromkeys(counts))), *shown, tally.row()[-1]]), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="stanfordnlp/imdb")
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--cross_validation", action="store_true", help="of samples of 300 rows, instead")
    arguments = parser.parse_args()
    began, rng = time.perf_counter(), np.random.default_rng(0)
    matrices, labels = features(arguments.dataset, rng)
    if arguments.cross_validation:
        cross_validated(list(matrices), *divided(matrices, labels, arguments.comparisons))
        print(f"{time.perf_counter() - began:.0f} s")
        return
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
