from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from tl_toolkit.comparison.report.decision_tables import describe_decision
from tl_toolkit.comparison.verdict.decision import decision_in, of_dataset
from tl_toolkit.evaluation.decision import Settings, decide
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import panels, read_results
from tl_toolkit.evaluation.scored_panels import bounds_of, default_margin, scored_panel
from tl_toolkit.evaluation.statistics.repetitions import repetitions

LABEL = np.repeat([0, 1, 2], [5, 3, 3])


@pytest.fixture
def panel(tmp_path, make_record, write_lines, write_parquet):
    """Writes runs (entry, budget, seed, predictions, changes), and returns the panel that is made from them."""

    def build(runs, label=LABEL, columns=None):
        records = []
        for entry, budget, seed, prediction, changes in runs:
            reached = float(np.mean(np.asarray(prediction) == label))
            records.append(make_record(entry, budget, seed, reached) | changes)
            own = {"row": np.arange(len(label)), "label": label, "prediction": np.asarray(prediction)}
            write_parquet(tmp_path / records[-1]["folder"], own | (columns or {}))
        write_lines(tmp_path, records)
        return scored_panel("data", read_results(tmp_path / "results.jsonl"), PredictionReader(tmp_path))

    return build


def test_scores_are_right_and_wrong_rows(panel):
    one, two = np.where(LABEL == 2, 0, LABEL), LABEL
    own = panel([("lstm", 100, 1, one, {}), ("lstm", 100, 2, two, {}), ("minilm", 100, 1, two, {})])
    lstm, minilm = own.panel.entries
    assert (lstm.kind, minilm.kind) == ("scratch", "transformer")
    np.testing.assert_array_equal(lstm.cells[100].scores, [one == LABEL, two == LABEL])
    assert lstm.cells[100].validation.tolist() == [pytest.approx(8 / 11), 1.0] and minilm.cells[100].failed == 0
    assert own.panel.constant.tolist() == (LABEL == 0).tolist()  # the most frequent class of the test rows
    assert own.constant == "the most frequent class" and own.rows == 11 and own.notes == []
    assert lstm.cost[100] == (pytest.approx(math.nan, nan_ok=True), pytest.approx(3.4 / 20 + 0.6))


def test_rows_are_matched_by_their_number(panel, tmp_path):
    own = panel([("lstm", 100, 1, LABEL, {}), ("minilm", 100, 1, np.where(LABEL == 1, 0, LABEL), {})])
    path = next((tmp_path / "runs").glob("minilm*")) / "predictions_test.parquet"
    pd.read_parquet(path).sample(frac=1, random_state=3).to_parquet(path)
    again = scored_panel("data", read_results(tmp_path / "results.jsonl"), PredictionReader(tmp_path))
    for before, after in zip(own.panel.entries, again.panel.entries, strict=True):
        np.testing.assert_array_equal(before.cells[100].scores, after.cells[100].scores)


def test_groups_are_clusters(panel):
    groups = list("ababacaabca")
    own = panel([("lstm", 100, 1, LABEL, {})], columns={"group": groups})
    assert own.panel.clusters.tolist() == ["abc".index(name) for name in groups]


def test_errors_are_negated_and_have_a_margin_of_two_per_cent(panel, make_record):
    task = {"name": "regression", "problem_type": "regression", "labels": None, "main_metric": "mse"}
    task["greater_is_better"] = False
    label = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    metrics = {"test": {"mse": 4.0}, "validation": {"mse": 3.0}}
    own = panel([("lstm", 100, 1, label + 2, {"task": task, "metrics": metrics})], label)
    (entry,) = own.panel.entries
    assert entry.cells[100].scores.tolist() == [[-4.0] * 5] and entry.cells[100].validation.tolist() == [-3.0]
    assert default_margin([own]) == pytest.approx(0.02 * 4) and bounds_of("mse") is None
    mean = label.mean()
    np.testing.assert_allclose(own.panel.constant, -((label - mean) ** 2))


@pytest.mark.parametrize(("metric", "bounds"), [("f1", (0, 1)), ("pearson", (-1, 1)), ("bleu", (0, 100))])
def test_bounds(metric, bounds):
    assert bounds_of(metric) == bounds


def test_a_run_without_a_finite_score_is_a_failure_of_its_entry(panel):
    lost = {"metrics": {"test": {"accuracy": None, "loss": 2.0}, "validation": {}}}
    failed = {"status": "failed", "metrics": {}, "failure": "killed"}
    own = panel(
        [("lstm", 100, 1, LABEL, {}), ("lstm", 100, 2, LABEL, lost), ("gru", 100, 1, LABEL, failed)],
    )
    lstm, gru = own.panel.entries
    assert (len(lstm.cells[100].scores), lstm.cells[100].failed) == (1, 1)
    assert gru.cells[100].scores.shape == (0, 11) and gru.cells[100].failed == 1


def test_a_budget_above_the_dataset_is_all_of_it(panel):
    """10,000 labels were asked for, and 6,920 exist: the same runs as without a limit, which count once."""
    limited = {"budget": {"label_budget": 10_000, "train_labels": 6920}}
    own = panel([("lstm", None, 1, LABEL, {}), ("lstm", 10_000, 1, LABEL, limited), ("lstm", None, 2, LABEL, {})])
    (entry,) = own.panel.entries
    assert list(entry.cells) == [6920.0] and len(entry.cells[6920].scores) == 2


def test_the_number_of_labels_is_the_same_for_all_entries(panel):
    """Tokenizers count other tokens of the same text."""
    used = [{"budget": {"token_budget": None, "train_tokens": tokens}} for tokens in (700, 900)]
    own = panel([("lstm", None, 1, LABEL, used[0]), ("minilm", None, 1, LABEL, used[1])])
    assert [list(entry.cells) for entry in own.panel.entries] == [[800.0], [800.0]] and own.unit == "tokens"


@pytest.fixture
def divided(tmp_path, make_record, write_lines, write_parquet):
    """Writes runs (entry, seed, fold, changes) of three folds of 11 rows. A row's fold is its place + seed, mod 3."""

    def build(runs):
        records = []
        for entry, seed, fold, changes in runs:
            row = np.flatnonzero((np.arange(len(LABEL)) + seed) % 3 == fold - 1)
            prediction = np.where(row % (2 + fold) == 0, 2, LABEL[row])
            record = make_record(entry, 100, seed, float((prediction == LABEL[row]).mean())) | changes
            record["arguments"] = record["arguments"] | {"folds": 3, "fold": fold}
            which = {"folds": {"folds": 3, "fold": fold, "rows": 11}, "rows": {"train": 7, "test": len(row)}}
            record |= {"dataset": record["dataset"] | which, "folder": f"{record['folder']}-{fold}"}
            record["budget"] = {"label_budget": 100, "train_labels": 6 + fold, "constant_answer": 0}
            records.append(record)
            if record["status"] == "completed":
                own = {
                    "row": row,
                    "label": LABEL[row],
                    "prediction": prediction,
                    "scores": np.eye(3)[prediction].tolist(),
                }
                write_parquet(tmp_path / record["folder"], own)
        write_lines(tmp_path, records)
        return list(panels(read_results(tmp_path / "results.jsonl")).values()), PredictionReader(tmp_path)

    return build


FOLDS = (1, 2, 3)
FAILED = {"status": "failed", "metrics": {}, "failure": "killed", "error": "killed"}


def test_folds_are_joined_to_repetitions_of_all_rows(divided):
    (runs,), reader = divided([(name, seed, fold, {}) for name in ("lstm", "gru") for seed in (2, 1) for fold in FOLDS])
    own = scored_panel("data", runs, reader)
    tested = np.stack([(np.arange(11) + seed) % 3 + 1 for seed in (1, 2)])
    assert own.panel.folds.tolist() == tested.tolist() and (own.folds, own.repeats, own.rows) == (3, 2, 11)
    right = [[place % (2 + fold) != 0 or LABEL[place] == 2 for place, fold in enumerate(of)] for of in tested]
    for entry in own.panel.entries:
        (cell,) = entry.cells.values()
        assert cell.scores.tolist() == right and cell.failed == 0
    assert own.panel.constant.tolist() == (LABEL == 0).tolist() and own.notes == []
    joined = repetitions(runs, reader).runs[0]
    assert joined.metrics("test")["accuracy"] == pytest.approx(np.mean(right[1])) and joined.seed == 2
    expected = np.where(np.array(right[1]), LABEL, 2)
    pooled = f1_score(LABEL, expected, average="macro", labels=range(11), zero_division=0)
    assert joined.metrics("test")["macro_f1"] == pytest.approx(pooled)  # of all rows together, not a mean of folds
    assert joined.section("budget")["train_labels"] == 8 and joined.section("dataset")["rows"]["test"] == 11
    assert joined.section("cost")["train_seconds"] == pytest.approx(runs[0].section("cost")["train_seconds"])
    assert reader.labels(joined).prediction.tolist() == expected.tolist()  # out of fold, in the order of the rows
    assert reader.scores(joined).argmax(axis=1).tolist() == expected.tolist()
    assert repetitions(runs[:2], reader) == ([], [runs[0]])


def test_a_failed_fold_fails_its_repetition_and_a_missing_one_is_said(divided):
    whole = [(name, seed, fold, {}) for name in ("lstm", "gru") for seed in (1, 2, 3) for fold in FOLDS]
    runs = [run for run in whole if run[:3] != ("gru", 3, 2)]
    runs[1] = ("lstm", 1, 2, FAILED)
    (runs,), reader = divided(runs)
    own = scored_panel("data", runs, reader)
    counts = {
        entry.name: [(len(cell.scores), cell.failed) for cell in entry.cells.values()] for entry in own.panel.entries
    }
    assert counts == {"lstm": [(2, 1)], "gru": [(2, 0)]}  # gru lacks a fold of seed 3
    places = [list(cell.repetitions) for entry in own.panel.entries for cell in entry.cells.values()]
    assert places == [[1, 2], [0, 1]]
    assert own.repeats == 3
    assert len(own.notes) == 1 and "not all folds have finished: gru, 100 labels, seed 3" in own.notes[0]


def test_a_test_split_and_folds_are_never_compared(divided, tmp_path, make_record, write_lines):
    (runs,), _ = divided([("lstm", 1, fold, {}) for fold in FOLDS])
    write_lines(tmp_path, [*(dict(run.record) for run in runs), make_record("gru", 100, 1, 0.5)])
    assert len(panels(read_results(tmp_path / "results.jsonl"))) == 2


def test_the_recommendation_names_the_fastest_form_within_the_margin(panel, tmp_path):
    def forms(fast, lost):
        times = {"pytorch": 0.9, "onnx": 0.5, "int8": fast}
        own = {name: {"latency_seconds": time, "bytes": 7_000_000, "score_lost": 0.0} for name, time in times.items()}
        own["int8"]["score_lost"] = lost
        return {"cost": {"inference": {"latency_seconds": 5.0, "forms": own}}}

    label = np.tile(LABEL, 17)
    good, bad = np.where(np.arange(len(label)) % 13 == 0, 2 - label, label), np.zeros_like(label)
    runs = [("lstm", 100, seed, np.roll(good, 11 * seed), forms(0.1, lost)) for seed, lost in enumerate((0.01, 0.02))]
    runs += [("minilm", 100, seed, np.where(np.arange(len(label)) % 2, bad, label), {}) for seed in (0, 1)]
    own = panel(runs, label=label)
    costs = {entry.name: entry.cost[100] for entry in own.panel.entries}
    assert costs["lstm"][0] == 0.5  # int8 predicts otherwise
    for margin, form in ((0.02, "int8"), (0.014, "onnx")):
        (top,) = decide([own.panel], Settings("accuracy", margin=margin))["budgets"]
        assert (top["recommended"], top["form"]) == ("lstm", form)
    entries = {one["entry"]: one for one in top["entries"]}
    int8 = entries["lstm"]["forms"]["int8"]
    assert int8 == pytest.approx({"latency_seconds": 0.1, "bytes": 7_000_000, "score_lost": 0.015})
    assert "forms" not in entries["minilm"]

    made = decision_in(tmp_path, margin=0.02)
    run_it = "Run it as ONNX, int8: 100 ms per prediction, 7 MB on disk, 1.5 points lost (tl-toolkit export)."
    assert made["panels"][0]["card"]["cost"].replace("\u00a0", " ").endswith(run_it)
    shown = next(table for table in describe_decision(of_dataset(made, made["panels"][0]["dataset"]))["folded"]
                 if table["heading"] == "Costs as users run it")  # fmt: skip
    assert [row[1] for row in shown["rows"]] == ["PyTorch", "ONNX", "ONNX, int8"]


def test_a_form_that_a_run_does_not_have_is_noted(panel):
    problem = {"cost": {"inference": {"forms": {"onnx": {"problem": "It has no graph."}}}}}
    own = panel([("lstm", 100, seed, LABEL, problem) for seed in (1, 2)])
    assert own.notes == ["lstm was not measured as ONNX. It has no graph."] and own.panel.entries[0].forms[100] == {}
