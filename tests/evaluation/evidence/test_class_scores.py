from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from tl_toolkit.evaluation.evidence.class_scores import Counts, class_scores, classes_by_entry
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.cells import make_cells

NAMES = ["a", "b", "c"]


@pytest.fixture
def scored(tmp_path, make_record, write_lines, write_parquet):
    """Computes the classes of entries from runs (entry, budget, seed, prediction columns)."""

    def score(runs, **task):
        records = []
        for entry, budget, seed, columns in runs:
            record = make_record(entry, budget, seed, 0.5)
            record["task"] |= {"labels": NAMES} | task
            records.append(record)
            if columns:
                write_parquet(tmp_path / record["folder"], columns)
        write_lines(tmp_path, records)
        return classes_by_entry(make_cells(read_results(tmp_path / "results.jsonl")), PredictionReader(tmp_path))

    return score


def test_hand_computed_and_undefined_scores():
    runs = [np.array([[2, 4, 3], [0, 0, 2], [0, 0, 0]]), np.array([[1, 2, 3], [1, 1, 2], [0, 1, 0]])]
    first, second, third = class_scores(NAMES, [Counts(*map(csr_array, run.T[:, None, :])) for run in runs])
    assert (first.support, first.precision.mean, first.recall.mean) == (3, 0.5, 0.5)
    assert first.f1.mean == pytest.approx((4 / 7 + 2 / 5) / 2) and first.recall.deviation > 0
    assert (second.precision.mean, second.precision.count) == (1.0, 1)  # never predicted in the first run
    assert second.recall.mean == 0.25 and second.f1.mean == pytest.approx((0 + 2 / 3) / 2)
    assert third.recall is None and third.precision.mean == 0 and third.f1.count == 1


@pytest.mark.parametrize("many", [False, True])
def test_scores_equal_scikit_learn(scored, many):
    from sklearn.metrics import precision_recall_fscore_support

    generator = np.random.default_rng(5)
    shape = (211, 3) if many else (211,)
    label, *answers = (generator.integers(2 if many else 3, size=shape) for _ in range(3))
    kind = "multi_label_classification" if many else "single_label_classification"
    columns = {"row": range(211), "text": ["x"] * 211, "label": label.tolist()}
    runs = [("lstm", 500, seed, columns | {"prediction": own.tolist()}) for seed, own in enumerate(answers)]
    (found,) = scored([("lstm", 100, 7, None), *runs], problem_type=kind)
    assert (found.entry, found.budget, found.seeds, found.what) == ("lstm", 500, 2, "test rows")
    expected = [precision_recall_fscore_support(label, own, labels=[0, 1, 2]) for own in answers]
    for place, own in enumerate(found.classes):
        assert own.name == NAMES[place] and own.support == expected[0][3][place]
        for number, got in enumerate((own.precision, own.recall, own.f1)):
            assert got.mean == pytest.approx(np.mean([run[number][place] for run in expected]))


def test_scores_of_entity_types_equal_seqeval(scored):
    reference = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="seqeval is not installed")
    label = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC"], ["B-PER", "O"]]
    answer = [["B-PER", "I-PER", "O", "B-PER"], ["O", "B-LOC"], ["O", None]]
    columns = {"row": [0, 1, 2], "words": [["w"] * len(own) for own in label], "label": label, "prediction": answer}
    task = {"name": "token-classification", "problem_type": None, "tag_scheme": "IOB2"}
    (found,) = scored([("lstm", 100, 1, columns)], **task)
    assert found.what == "entities" and [own.name for own in found.classes] == ["LOC", "PER"]
    whole = [[tag or "O" for tag in own] for own in answer]
    precision, recall, f1, support = reference.precision_recall_fscore_support(label, whole, average=None)
    assert [own.precision.mean for own in found.classes] == pytest.approx(precision)
    assert [own.recall.mean for own in found.classes] == pytest.approx(recall)
    assert [own.f1.mean for own in found.classes] == pytest.approx(f1)
    assert [own.support for own in found.classes] == support.tolist()


def test_tags_without_entities_are_scored_per_word(scored):
    columns = {
        "row": [0, 1],
        "words": [["a", "b", "c"], ["d"]],
        "label": [["NOUN", "VERB", "NOUN"], ["VERB"]],
        "prediction": [["NOUN", "NOUN", None], ["VERB"]],
    }
    task = {"name": "token-classification", "problem_type": None, "tag_scheme": None}
    (found,) = scored([("lstm", 100, 1, columns)], **task)
    assert found.what == "words"
    noun, verb = found.classes
    assert (noun.name, noun.support, noun.precision.mean, noun.recall.mean) == ("NOUN", 2, 0.5, 0.5)
    assert (verb.name, verb.support, verb.precision.mean, verb.recall.mean) == ("VERB", 2, 1.0, 0.5)


def test_regression_and_missing_predictions_have_no_classes(scored):
    columns = {"row": [0, 1], "text": ["a", "b"], "label": [0.5, 1.0], "prediction": [0.2, 0.3]}
    assert scored([("lstm", 100, 1, columns)], problem_type="regression", labels=None) == []
    assert scored([("gru", 100, 1, None)], problem_type="single_label_classification") == []


CHANCES = np.array([5 / 300, 0.2, 0.3, 1 - 5 / 300 - 0.5])


def answers(generator, rows, runs, size):
    """Classes (rows,) and predictions (runs, rows) of rows; runs and clusters of `size` share the difficulty."""
    clusters = np.arange(rows) // size
    label = generator.choice(4, size=rows, p=CHANCES)
    ease = 1 + generator.normal(size=clusters[-1] + 1)[clusters] + 0.5 * generator.normal(size=rows)
    other = generator.choice(4, size=(runs, rows), p=CHANCES)
    return clusters, label, np.where(ease + generator.normal(size=(runs, rows)) > 0, label, other)


def scores_of(label, predictions, clusters):
    def counted(chosen):
        return csr_array(np.eye(4)[chosen])

    true = counted(label)
    runs = [Counts(csr_array(counted(own).multiply(true)), counted(own), true) for own in predictions]
    return class_scores(["rare", "a", "b", "c"], runs, clusters)


@pytest.mark.parametrize(("rows", "runs", "size"), [(300, 1, 1), (300, 3, 1), (2000, 3, 1), (300, 3, 4), (2000, 1, 4)])
def test_intervals_have_the_scores_of_new_rows(rows, runs, size):
    """95 % intervals cover the true scores in at least 90 % of simulated test sets, also of a class with five rows."""
    generator, covered = np.random.default_rng(7), []
    large = scores_of(*answers(generator, 200_000, 1, size)[1:], None)
    truth = [[own.precision.mean, own.recall.mean, own.f1.mean] for own in large]
    for _ in range(250):
        clusters, label, predictions = answers(generator, rows, runs, size)
        found = scores_of(label, predictions, clusters if size > 1 else None)
        covered.append(
            [
                [own is None or own.low <= true <= own.high for own, true in zip(scores, values, strict=True)]
                for scores, values in zip([(o.precision, o.recall, o.f1) for o in found], truth, strict=True)
            ]
        )
    share = np.mean(covered, axis=0)
    assert share.min() > 0.9 and 0.94 < share.mean() < (0.98 if size == 1 else 0.99)
