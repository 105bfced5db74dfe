from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tl_toolkit.evaluation.predictions import PredictionReader, Predictions
from tl_toolkit.evaluation.results import Result, read_results
from tl_toolkit.evaluation.statistics import significance
from tl_toolkit.evaluation.statistics.cells import Goal, make_cells
from tl_toolkit.evaluation.statistics.pairwise import RANDOMISATION, contests, pairwise
from tl_toolkit.evaluation.statistics.significance import holm
from tl_toolkit.evaluation.statistics.uncertainty import row_intervals, row_noise

GOAL = Goal("accuracy")


class Memory(PredictionReader):
    """Predictions from memory instead of files."""

    def __init__(self, runs):
        super().__init__(Path())
        self.runs = runs

    def labels(self, result):
        return self.runs[result.folder]


def paired(folder, goal=GOAL):
    cells = make_cells(read_results(folder / "results.jsonl"))
    return pairwise(cells, goal, PredictionReader(folder))


def test_all_pairs_of_entries_are_compared_at_each_budget(tmp_path, comparison):
    comparison(skills={"lstm": (0.4, 0.5), "gru": (0.4, 0.5), "minilm": (0.6, 0.7)}, budgets=(100, 500), seeds=(3, 3))
    pairs = paired(tmp_path)
    names = [(pair.budget, pair.first.entry, pair.second.entry) for pair in pairs]
    every = [("lstm", "gru"), ("lstm", "minilm"), ("gru", "minilm")]
    assert names == [(budget, *two) for budget in (100.0, 500.0) for two in every]
    assert [pair.better for pair in pairs] == ["none", "second", "second"] * 2
    for start in (0, 3):
        family = pairs[start : start + 3]
        assert [pair.adjusted for pair in family] == pytest.approx(holm([pair.p for pair in family]))
        assert {pair.family for pair in family} == {3}


def test_single_runs_are_compared_by_mcnemar(tmp_path, comparison):
    comparison(skills={"lstm": (0.5,), "minilm": (0.56,)}, budgets=(100,), seeds=(1,))
    (pair,) = paired(tmp_path)
    reader = PredictionReader(tmp_path)
    a, b = (reader.labels(cell.results[0]) for cell in (pair.first, pair.second))
    lost = int(((a.prediction == a.label) & (b.prediction != b.label)).sum())
    won = int(((a.prediction != a.label) & (b.prediction == b.label)).sum())
    assert pair.test == "McNemar, χ²" and lost + won >= 25
    assert pair.p == pair.p_rows == pytest.approx(stats.chi2.sf((abs(lost - won) - 1) ** 2 / (lost + won), 1))
    assert (pair.p_seeds, pair.p_both, pair.over_seeds, pair.over_both) == (None,) * 4 and pair.single
    effects = {effect.name: effect.value for effect in pair.effects}
    assert effects["odds ratio"] == pytest.approx(won / lost) and "Hedges' g" not in effects
    assert effects["Cohen's h"] > 0


def test_several_seeds_are_compared_per_row(tmp_path, comparison):
    comparison(skills={"lstm": (0.5,), "minilm": (0.55,)}, budgets=(100,), seeds=(4,))
    (pair,) = paired(tmp_path)
    reader = PredictionReader(tmp_path)

    def right(cell):
        return np.mean([(run := reader.labels(one)).prediction == run.label for one in cell.results], axis=0)

    expected = stats.permutation_test(
        (right(pair.first), right(pair.second)),
        lambda a, b, axis: b.mean(axis=axis) - a.mean(axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=4_999, rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    assert pair.test == RANDOMISATION and pair.p_rows == pytest.approx(expected, abs=0.01)
    seeds = stats.ttest_ind(pair.second.values("accuracy"), pair.first.values("accuracy"), equal_var=False)
    assert pair.p_seeds == pytest.approx(seeds.pvalue)
    assert pair.p == max(pair.p_rows, pair.p_seeds, pair.p_both)
    error = row_noise(reader, "accuracy").difference(pair.first, pair.second).std(ddof=1)
    assert pair.over_both.high - pair.over_both.low > 2 * 1.96 * error
    assert {effect.name for effect in pair.effects} == {"Cohen's h", "odds ratio", "Hedges' g"}


def test_errors_have_an_effect_size_per_row(tmp_path, make_record, write_lines, write_parquet):
    generator = np.random.default_rng(3)
    label = generator.normal(size=101)
    task = {"name": "regression", "problem_type": "regression", "labels": None, "main_metric": "mse"}
    records, errors = [], {}
    for entry, noise in (("lstm", 0.9), ("minilm", 0.5)):
        prediction = label + generator.normal(0, noise, 101)
        errors[entry] = (prediction - label) ** 2
        metrics = {"mse": float(errors[entry].mean())}
        record = make_record(entry, 100, 1, 0.0, task=task, metrics={"validation": metrics, "test": metrics})
        write_parquet(tmp_path / record["folder"], {"row": np.arange(101), "label": label, "prediction": prediction})
        records.append(record)
    write_lines(tmp_path, records)
    (pair,) = paired(tmp_path, Goal("mse", greater_is_better=False))
    (effect,) = pair.effects
    expected = stats.ttest_rel(errors["minilm"], errors["lstm"]).statistic / math.sqrt(101)
    assert effect.name == "Cohen's d_z" and effect.value == pytest.approx(expected)
    assert pair.difference < 0 and pair.better == "second" and pair.test == RANDOMISATION


def test_runs_on_different_rows_are_compared_only_over_seeds(tmp_path, make_record, write_lines, write_parquet):
    records = []
    for entry, first in (("lstm", 0), ("minilm", 7)):
        for seed in (1, 2):
            record = make_record(entry, 100, seed, 0.3 + 0.01 * seed + 0.3 * (entry == "minilm"))
            columns = {"row": np.arange(first, first + 53), "label": np.ones(53, int), "prediction": np.ones(53, int)}
            write_parquet(tmp_path / record["folder"], columns)
            records.append(record)
    write_lines(tmp_path, records)
    (pair,) = paired(tmp_path)
    assert pair.over_rows is None and pair.p_rows is None and pair.test == ""
    assert pair.p == pair.p_seeds and pair.better == "second"


def test_a_cell_has_an_interval_over_its_rows(tmp_path, comparison):
    comparison(skills={"lstm": (0.5,)}, budgets=(100,), seeds=(3,))
    cells = make_cells(read_results(tmp_path / "results.jsonl"))
    reader = PredictionReader(tmp_path)
    found = row_intervals(cells, "accuracy", reader)[("lstm", 100.0)]
    right = np.mean([(run := reader.labels(one)).prediction == run.label for one in cells[0].results], axis=0)
    expected = stats.bootstrap(
        (right,), np.mean, method="percentile", n_resamples=4_999, rng=np.random.default_rng(0)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.004)
    assert found.low < cells[0].test["accuracy"].mean < found.high
    assert row_intervals(cells, "macro_f1", reader).keys() == {("lstm", 100.0)}
    assert row_intervals(cells, "a metric without rows", reader) == {}


def test_rows_of_a_single_cluster_give_no_interval(tmp_path, make_record, write_lines, write_parquet):
    """Five windows of seven steps with consecutive starts are one cluster."""
    task = {"name": "forecasting", "problem_type": "forecasting", "main_metric": "mae", "greater_is_better": False}
    records = []
    for entry, error in (("lstm", 0.5), ("minilm", 0.25)):
        metrics = {"test": {"mae": error}, "validation": {"mae": error}}
        record = make_record(entry, 100, 1, 0.0, task=task, metrics=metrics)
        columns = {"label": [[1.0] * 7] * 5, "prediction": [[1.0 + error] * 7] * 5}
        write_parquet(tmp_path / record["folder"], {"row": np.arange(5), **columns})
        records.append(record)
    write_lines(tmp_path, records)
    goal = Goal("mae", greater_is_better=False)
    (pair,) = paired(tmp_path, goal)
    assert pair.over_rows is None and pair.p_rows == 1 and pair.better == "none"
    cells = [pair.first, pair.second]
    assert row_intervals(cells, "mae", PredictionReader(tmp_path)) == {}


def test_no_winner_among_equal_entries(make_record, monkeypatch):
    """Entries differ only by the noise of seeds or rows: 80 verdicts on three kinds at two budgets.

    At most 5 % of the budgets may have a winner, among the picked entries or among all; a rate of 5 % exceeds 7 of 80
    (and 12 of 160) with a probability of about 5 %.
    """
    monkeypatch.setattr(significance, "PERMUTATIONS", significance.LEAST_PERMUTATIONS)
    generator = np.random.default_rng(11)
    row, label = np.arange(101), np.zeros(101, int)
    verdicts = families = uncorrected = 0
    for trial in range(80):
        seed_noise, row_noise = ((0.2, 0.3), (0.06, 1.0))[trial % 2]
        results, runs = [], {}
        for budget in (100, 500):
            hardness = generator.normal(size=101)
            for entry, model in (("lstm", "rnn"), ("minilm", "bert"), ("minilm-rnn", "awd_lstm")):
                taste = row_noise * generator.normal(size=101)
                for seed in range(3):
                    luck = 3 * seed_noise * generator.normal()
                    wrong = hardness + taste + luck + generator.normal(size=101) / 2 > 0
                    record = make_record(entry, budget, seed, float(1 - wrong.mean()), model={"model_type": model})
                    results.append(Result(entry, record["folder"], record))
                    runs[record["folder"]] = Predictions(row, label, wrong.astype(int))
        cells, reader = make_cells(results), Memory(runs)
        rounds = contests(cells, GOAL, reader)
        assert len(rounds) == 6 and {contest.family for contest in rounds} == {3}
        verdicts += len({contest.budget for contest in rounds if contest.winner is not None})
        uncorrected += any(contest.over_rows.excludes_zero() for contest in rounds)
        families += any(pair.better != "none" for pair in pairwise(cells[:3], GOAL, reader))
    assert verdicts <= 12 and families <= 7
    assert uncorrected > 25  # without corrections there would be many false winners


def test_a_larger_family_has_more_permutations(tmp_path, comparison):
    comparison(budgets=(100,))
    cells = make_cells(read_results(tmp_path / "results.jsonl"))
    noise = row_noise(PredictionReader(tmp_path), "accuracy").prepare_swaps(cells, 1)
    assert len(noise.swapped(cells[0])) == significance.PERMUTATIONS
    noise.prepare_swaps(cells, 300)
    assert len(noise.swapped(cells[0])) == 24_000  # 4 · 300 / 0.05
    noise.prepare_swaps(cells, 3)
    assert len(noise.swapped(cells[0])) == 24_000
