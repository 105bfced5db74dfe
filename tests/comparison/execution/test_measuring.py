from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.execution.dry_run import plan
from tl_toolkit.comparison.execution.measuring import INFERENCE, Measured, measure_entries
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.comparison.planning.planned_run import PlannedRun

ROWS = {"train": 1000, "validation": 7, "test": 13}


def test_the_seconds_of_a_run_by_hand() -> None:
    trained = Measured(2.0, encode=0.01, evaluate=0.1, update=0.5, save=3.0, batch=11, epochs=3.0, updates=40)
    whole = 2 + 0.01 * (100 + 7 + 13) + 3 + 0.1 * 20 + INFERENCE  # beside training
    assert trained.seconds(ROWS, 100) == pytest.approx(whole + 0.5 * 40 + 10 * (0.7 + 3))  # 3 × 10 updates are too few
    assert trained.seconds(ROWS, 1000) == pytest.approx(whole + 9 + 0.5 * 273 + 10 * (0.7 + 3))
    final = trained.seconds(ROWS, 1000, final=True)  # neither evaluated on test rows nor timed
    assert final == pytest.approx(trained.seconds(ROWS, 1000) - 1.3 - INFERENCE)
    solved = Measured(2.0, features=0.05, fit=0.02, evaluate=0.01)
    predicting = 0.01 * 20 + 8 * 0.01 * 13
    assert solved.seconds(ROWS, 100) == pytest.approx(2 + predicting + 0.05 * 120 + 0.02 * 100)
    assert solved.seconds(ROWS, 100, known=True) == pytest.approx(2 + predicting + 0.02 * 100)


def test_cheap_entries_are_measured_first_and_failures_are_left_to_the_run(tmp_path: Path) -> None:
    counted, network = {"model_type": "bag_of_ngrams"}, {"model_type": "rnn"}
    settings = {"tuned": {"model_name_or_path": "x"}, "linear": counted, "lstm": network}
    runs = [PlannedRun(entry, 10, 1, {**own, "dataset_name": "x"}) for entry, own in settings.items()]
    seen: list[Any] = []

    def measure(arguments: Any, rows: Any, seconds: float) -> Measured:
        seen.append(arguments.run.name)
        assert arguments.data.label_budget is None and rows == ROWS
        if seen[-1] == "lstm":
            raise ValueError
        return Measured(1.0)

    found = measure_entries(runs, {"None": ROWS}, tmp_path, measure)
    assert seen == ["linear", "lstm", "tuned"] and not found.waiting
    assert found.seconds(runs[0]) == 1 and found.seconds(runs[2]) is None
    late = measure_entries(runs, {"None": ROWS}, tmp_path, measure, seconds=-1.0)
    assert len(late.waiting) == 3 and late.seconds(runs[0]) is None


def test_a_dry_run_measures_entries_without_records(dataset_folder: Path, tmp_path: Path) -> None:
    entries = [{"name": "a", "model_type": "rnn"}]
    content = {"dataset_name": str(dataset_folder), "label_budgets": [10], "seeds": [1, 2], "entries": entries}

    def measure(arguments: Any, rows: Any, seconds: float) -> Measured:
        assert rows == {"train": 66, "validation": 31, "test": 47}
        return Measured(7.0, update=0.5, batch=5, epochs=3.0, evaluations=0)

    said = plan(make_grid(content, {}, "the grid"), tmp_path / "new", measure=measure).replace("\u00a0", " ")
    assert said.count("about 10.0 s") == 2 or said.count("about 10 s") == 2
    assert "2 based on a few steps of the entry on this machine" in said and not (tmp_path / "new").exists()
