from __future__ import annotations

from math import comb
from types import SimpleNamespace

import numpy as np
import pytest

from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.comparison.verdict.notes import in_words, of_headline
from tl_toolkit.comparison.verdict.wording import decide
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.baseline import baselines
from tl_toolkit.evaluation.statistics.cells import Goal, make_cells
from tl_toolkit.evaluation.statistics.pairwise import contests, overtaken

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
    assert [baseline.beaten_by(cell, Goal("pearson"), reader) for cell in cells] == [False, True]


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


def test_the_verdict_names_entries_that_do_not_beat_the_baseline(leave):
    label = np.tile(LABEL, 11)  # 209 rows, 77 of class 3
    lstm, minilm = wrong_in(label, range(130)), wrong_in(label, range(20))
    cells, reader = leave(
        [("lstm", 1, lstm, {"constant_answer": 3}), ("minilm", 1, minilm, {"constant_answer": 3})], label
    )
    rounds, constant = contests(cells, ACCURACY, reader), baselines(cells, reader)
    assert [constant[0].beaten_by(cell, ACCURACY, reader) for cell in cells] == [False, True]
    verdict = decide(cells, rounds, ACCURACY, reader, constant=constant)
    assert verdict.sentences[1].replace("\u00a0", " ") == (
        "With 100 labels, lstm (37.8 %) does not significantly beat always predicting the most frequent class (36.8 %) "
        "on the test rows."
    )
    assert not any("always predicting" in said for said in decide(cells, rounds, ACCURACY, reader).sentences)
    alone = decide(cells[:1], [], ACCURACY, reader, constant=constant)
    assert "lstm (37.8\u00a0%) does not significantly beat" in alone.sentences[-1]


def test_an_entry_better_than_the_picked_one_is_named(leave):
    """`gru` is picked on validation rows; `lstm` is better on 20 of 209 test rows, `rnn` on none."""
    label = np.tile(LABEL, 11)
    runs = []
    for entry, wrong, validation in (("gru", 60, 0.9), ("rnn", 59, 0.2), ("lstm", 40, 0.3), ("minilm", 5, 0.5)):
        prediction = wrong_in(label, range(wrong))
        reached = {"accuracy": float((prediction == label).mean())}
        runs.append((entry, 1, prediction, {"metrics": {"test": reached, "validation": {"accuracy": validation}}}))
    cells, reader = leave(runs, label)
    rounds = contests(cells, ACCURACY, reader)
    assert rounds[0].first.entry == "gru"
    pair = overtaken(rounds[0].first, cells, ACCURACY, reader)
    assert pair is not None and pair.second.entry == "lstm" and pair.test == "McNemar, exact"
    lead = pair.interval
    assert lead.low < 20 / 209 < lead.high
    notes = decide(cells, rounds, ACCURACY, reader).notes
    (said,) = [note for note in notes if "but behind" in note]
    assert f"gru is {100 * lead.low:.1f} to {100 * lead.high:.1f} points behind lstm. " in said and "minilm" not in said

    cells, reader = leave([run for run in runs if run[0] != "lstm"], label)
    rounds = contests(cells, ACCURACY, reader)
    assert overtaken(rounds[0].first, cells, ACCURACY, reader) is None  # one more row is within the noise
    assert not any("but behind" in note for note in decide(cells, rounds, ACCURACY, reader).notes)


@pytest.mark.parametrize(
    ("lstm", "minilm", "added"),
    [
        (40, 5, ""),
        (20, 23, "; but with 100 labels minilm is not ahead of lstm, which was not selected"),
        (7, 40, "; but with 100 labels minilm is behind lstm, which was not selected"),
    ],
)
def test_an_approach_has_not_lost_if_an_unpicked_entry_is_better(leave, lstm, minilm, added):
    """`gru` is picked and wrong on 61 of 209 test rows; `minilm` is better than `gru`; `lstm` is not picked."""
    label = np.tile(LABEL, 11)
    runs = []
    for entry, wrong, validation in (("gru", 61, 0.9), ("lstm", lstm, 0.3), ("minilm", minilm, 0.5)):
        prediction = wrong_in(label, range(wrong))
        reached = {"accuracy": float((prediction == label).mean())}
        runs.append((entry, 1, prediction, {"metrics": {"test": reached, "validation": {"accuracy": validation}}}))
    cells, reader = leave(runs, label)
    rounds = contests(cells, ACCURACY, reader)
    assert rounds[0].outcome == "transfer" and rounds[0].first.entry == "gru"
    assert decide(cells, rounds, ACCURACY, reader).headline.endswith(f"it is ahead with 100 labels{added}")


def test_a_headline_is_qualified_only_if_no_other_transfer_pays():
    scratch, recurrent = SimpleNamespace(kind="scratch"), SimpleNamespace(kind="recurrent")
    ulmfit, minilm, lost = (
        SimpleNamespace(budget=budget, first=scratch, outcome=outcome)
        for budget, outcome in ((100, "transfer"), (100, "transfer"), (300, "scratch"))
    )
    between = SimpleNamespace(budget=100, first=recurrent, outcome="transformer")
    rounds = [ulmfit, minilm, between, lost]
    assert of_headline([(ulmfit, "a"), (between, "b"), (lost, "c")], rounds) == [(lost, "c")]
    assert of_headline([(ulmfit, "a"), (minilm, "d")], rounds) == [(ulmfit, "a"), (minilm, "d")]
    assert in_words([(ulmfit, "a"), (minilm, "d")]) == "; but a and d, which were not selected"


def test_an_interval_without_zero_and_a_p_value_above_five_per_cent_names_the_p_value(leave):
    """minilm wins 16 rows and loses 6: the bootstrap interval excludes 0, and p of the exact test is 0.052."""
    label = np.tile(LABEL, 11)
    runs = [("lstm", 1, wrong_in(label, range(16)), {}), ("minilm", 1, wrong_in(label, range(100, 106)), {})]
    cells, reader = leave(runs, label)
    (contest,) = contests(cells, ACCURACY, reader)
    assert contest.interval.excludes_zero() and contest.family == 1
    assert contest.p == pytest.approx(2 * sum(comb(22, k) for k in range(7)) / 2**22)
    (said,) = [text for text in decide(cells, [contest], ACCURACY, reader).sentences if "reaches" in text]
    assert "points, but p = 0.052 by McNemar, exact)" in said and "comparisons" not in said
