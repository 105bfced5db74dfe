from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.baseline import baselines, beats
from tl_toolkit.evaluation.statistics.cells import Goal, make_cells
from tl_toolkit.evaluation.statistics.row_metrics import classification
from tl_toolkit.evaluation.statistics.scored_rows import ScoredRows

ACCURACY = Goal("accuracy")
# 7 of 19 rows have class 3, the most frequent one; no row has class 5.
LABEL = np.repeat([0, 1, 2, 3, 4], [5, 3, 2, 7, 2])


@pytest.fixture
def leave(tmp_path, make_record, write_lines, write_parquet):
    """Writes runs (entry, seed, predictions, record changes), and returns their cells and a reader."""

    def write(runs, label=LABEL, metric="accuracy", budget=100):
        records = []
        for entry, seed, prediction, changes in runs:
            record = make_record(entry, budget, seed, float(np.mean(prediction == label)), **changes)
            record["budget"]["constant_answer"] = changes.get("constant_answer")
            columns = {"row": np.arange(len(label)), "text": ["a text"] * len(label)}
            values = {"label": label, "prediction": np.broadcast_to(prediction, label.shape)}
            columns |= {name: list(value) if value.ndim > 1 else value for name, value in values.items()}
            write_parquet(tmp_path / record["folder"], columns)
            records.append(record)
        write_lines(tmp_path, records)
        return make_cells(read_results(tmp_path / "results.jsonl")), PredictionReader(tmp_path)

    return write


def test_the_most_frequent_training_class_is_predicted_on_the_test_rows(leave):
    cells, reader = leave([("lstm", seed, LABEL, {"constant_answer": 0}) for seed in (1, 2)])
    (baseline,) = baselines(cells, reader)
    assert baseline.names == ["accelerate"] and not baseline.from_test
    assert baseline.test["accuracy"].mean == pytest.approx(5 / 19) and baseline.test["accuracy"].deviation is None
    # F1 of class 0 is 2·5 / (5 + 19); the F1 of all other classes is 0.
    assert baseline.test["macro_f1"].mean == pytest.approx(10 / 24 / 11)


def test_seeds_with_different_training_labels_have_different_baselines(leave):
    runs = [("lstm", 1, LABEL, {"constant_answer": 0}), ("lstm", 2, LABEL, {"constant_answer": 3})]
    cells, reader = leave([*runs, ("minilm", 2, LABEL, {"constant_answer": 3})])
    (baseline,) = baselines(cells, reader)
    assert baseline.answers == (0, 3) and baseline.names == ["accelerate", "pandas"]
    assert baseline.test["accuracy"].mean == pytest.approx(6 / 19)
    assert baseline.test["accuracy"].deviation == pytest.approx(np.std([5 / 19, 7 / 19], ddof=1))


def test_without_training_labels_the_test_labels_are_used(leave, tmp_path):
    cells, reader = leave([("lstm", 1, LABEL, {})])
    (baseline,) = baselines(cells, reader)
    assert baseline.from_test and baseline.names == ["pandas"]
    assert baseline.test["accuracy"].mean == pytest.approx(7 / 19)
    write_report(tmp_path, "Which?")
    summary = (tmp_path / "report.md").read_text()
    assert "| Always the most frequent class | baseline: pandas | 36.8 |" in summary
    assert "taken from the test labels, because the records of these runs lack" in summary


def test_without_predictions_there_is_no_baseline(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record("lstm", 100, 1, 0.3)])
    cells = make_cells(read_results(tmp_path / "results.jsonl"))
    assert baselines(cells, PredictionReader(tmp_path)) == []


def test_the_regression_baseline_is_the_mean(leave):
    label = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    task = {"problem_type": "regression", "labels": None, "main_metric": "pearson", "greater_is_better": True}
    metrics = {"test": {"pearson": 0.0, "mse": 30.0}, "validation": {"pearson": 0.0}}
    cells, reader = leave([("lstm", 1, label[::-1], {"task": task, "metrics": metrics, "constant_answer": 5.0})], label)
    (baseline,) = baselines(cells, reader)
    assert (baseline.what, baseline.names) == ("the mean", ["5"])
    assert baseline.test["mse"].mean == pytest.approx((16 + 9 + 1 + 9 + 121) / 5)
    assert baseline.test["mae"].mean == pytest.approx((4 + 3 + 1 + 3 + 11) / 5)
    assert baseline.test["pearson"].mean == 0


def test_a_correlation_beats_the_mean_if_significantly_above_zero(leave):
    generator = np.random.default_rng(3)
    label = generator.normal(size=211)
    task = {"problem_type": "regression", "labels": None, "main_metric": "pearson", "greater_is_better": True}

    def run(entry, prediction):
        reached = {"pearson": float(np.corrcoef(label, prediction)[0, 1])}
        metrics = {"test": reached, "validation": reached}
        return entry, 1, prediction, {"task": task, "metrics": metrics, "constant_answer": 0.1}

    noise = generator.normal(size=211)
    unrelated = noise - label * (noise @ label) / (label @ label) + 0.02 * label
    cells, reader = leave([run("lstm", unrelated), run("minilm", label + noise)], label)
    (baseline,) = baselines(cells, reader)
    assert [beats(cell.results[0], baseline, Goal("pearson"), reader) for cell in cells] == [False, True]


def test_label_sets(leave):
    label = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0]], dtype=np.int8)
    task = {
        "problem_type": "multi_label_classification", "labels": ["toxic", "spam", "ad"], "main_metric": "micro_f1",
        "greater_is_better": True,
    }  # fmt: skip
    metrics = {"test": {"micro_f1": 1.0}, "validation": {"micro_f1": 1.0}}
    changes = {"task": task, "metrics": metrics, "constant_answer": [1, 0, 1]}
    cells, reader = leave([("lstm", 1, label, changes)], label)
    (baseline,) = baselines(cells, reader)
    assert (baseline.what, baseline.names) == ("the most frequent label set", ["toxic, ad"])
    assert baseline.test["accuracy"].mean == pytest.approx(2 / 5)
    assert baseline.test["micro_f1"].mean == pytest.approx(2 * 6 / (10 + 8))  # 6 hits, 10 predicted, 8 true


def wrong_in(label, rows):
    """Predictions that are wrong in these rows, where they have the next class."""
    prediction = label.copy()
    prediction[list(rows)] = (prediction[list(rows)] + 1) % 5
    return prediction


def test_a_run_must_be_better_than_the_baseline_by_more_than_the_noise(leave):
    label = np.tile(LABEL, 11)  # 209 rows, 77 of class 3
    runs = [(f"{wrong} wrong", 1, wrong_in(label, range(wrong)), {"constant_answer": 3}) for wrong in (130, 20)]
    cells, reader = leave(runs, label)
    (baseline,) = baselines(cells, reader)
    assert [beats(cell.results[0], baseline, ACCURACY, reader) for cell in cells] == [False, True]


def test_the_noise_counts_rows_of_a_group_once(leave, tmp_path):
    """111 of 209 rows right is far above 77; but all of it comes from 3 of 5 groups."""
    label = np.tile(LABEL, 11)
    prediction = np.where(label < 3, label, 0)
    cells, reader = leave([("lstm", 1, prediction, {"constant_answer": 3})], label)
    (baseline,) = baselines(cells, reader)
    assert beats(cells[0].results[0], baseline, ACCURACY, reader)
    path = tmp_path / cells[0].results[0].folder / "predictions_test.parquet"
    pd.read_parquet(path).assign(group=label).to_parquet(path)
    (grouped,) = baselines(cells, PredictionReader(tmp_path))
    assert not beats(cells[0].results[0], grouped, ACCURACY, PredictionReader(tmp_path))


def test_scores_of_rows_have_the_metric_as_their_mean():
    label, prediction = np.tile(LABEL, 3), np.tile(np.where(LABEL == 3, 0, LABEL), 3)
    for metric in classification(5).values():
        rows = ScoredRows(b"", metric.quantities(label, prediction), metric)
        assert rows.scores.mean() == pytest.approx(float(metric.value(rows.quantities.mean(axis=0))))
    right = classification(5)["accuracy"]
    np.testing.assert_array_equal(
        ScoredRows(b"", right.quantities(label, prediction), right).scores, label == prediction
    )


def test_the_scores_of_rows_have_the_variance_of_macro_f1():
    """Their standard error agrees with that of a bootstrap of the rows."""
    generator = np.random.default_rng(5)
    label = generator.integers(5, size=997)
    prediction = np.where(generator.random(997) < 0.7, label, generator.integers(5, size=997))
    metric = classification(5)["macro_f1"]
    quantities = metric.quantities(label, prediction)
    drawn = generator.multinomial(997, np.full(997, 1 / 997), size=1000) / 997
    scores = ScoredRows(b"", quantities, metric).scores
    assert scores.std(ddof=1) / np.sqrt(997) == pytest.approx(metric.value(drawn @ quantities).std(), rel=0.1)
