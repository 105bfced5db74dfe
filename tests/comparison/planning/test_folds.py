"""Cross-validation in a grid: its runs, and when it is the default."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tl_toolkit.comparison.arguments import parse_compare_arguments
from tl_toolkit.comparison.planning.folds import with_default_folds
from tl_toolkit.comparison.planning.grid import Grid, make_grid
from tl_toolkit.errors import UserError

LINEAR = {"model_type": "bag_of_ngrams"}
SEARCH = {"config_overrides": ["max_ngrams=10", "max_ngrams=20"]}
WHOLE = [(1, None), (2, None), (3, None)]
CONTENT = {"dataset_name": "rows.csv", "entries": [{"name": "a", **LINEAR}, {"name": "b", **LINEAR}]}


def _csv(path: Path, rows: int) -> str:
    frame = pd.DataFrame({"text": [f"text {row}" for row in range(rows)], "label": ["yes", "no"] * (rows // 2)})
    frame.to_csv(path, index=False)
    return str(path)


def _seeds_and_folds(grid: Grid) -> list[tuple[int, int | None]]:
    return list(dict.fromkeys((run.seed, run.fold) for run in grid.runs))


def test_a_cell_has_a_run_for_each_fold_of_each_repetition(tmp_path: Path) -> None:
    grid = make_grid({**CONTENT, "label_budgets": [11, None], "folds": 3, "repeats": 2}, {}, "the grid")
    order = [(run.label_budget, run.seed, run.fold, run.entry) for run in grid.runs]
    assert order == [(b, s, f, e) for b in (11, None) for s in (1, 2) for f in (1, 2, 3) for e in ("a", "b")]
    first = grid.runs[0]
    assert first.folder == "runs/a-11-seed1-fold1of3" and first.seed_text == "1, fold 1 of 3"
    data = first.arguments(tmp_path).data
    assert (data.folds, data.fold) == (3, 1) and grid.open_folds == {}
    keys = {run.key("rows") for run in grid.runs if run.entry == "a"}
    assert len(keys) == 12 and len({run.folder for run in grid.runs}) == len(grid.runs) == 24


def test_keys_of_runs_without_folds_stay() -> None:
    """The key of a run has fields of folds only if there are any."""
    plain, off = make_grid(CONTENT, {}, "the grid"), make_grid({**CONTENT, "folds": 1}, {}, "the grid")
    assert [run.key("rows") for run in plain.runs] == [run.key("rows") for run in off.runs]
    assert all(run.fold is None and "fold" not in run.folder for run in off.runs)


def test_flags_replace_seeds_and_folds_of_the_file() -> None:
    grid = make_grid({**CONTENT, "seeds": [5, 6, 7], "folds": 3}, {"repeats": 2, "folds": 2}, "the grid")
    assert _seeds_and_folds(grid) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert {run.seed for run in make_grid({**CONTENT, "repeats": 2}, {"seeds": [9]}, "the grid").runs} == {9}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"seeds": [1], "repeats": 2}, "Leave out 'seeds' or 'repeats'"),
        ({"repeats": 0}, "'repeats' in the grid must be a whole number of 1 or more"),
        ({"folds": 2.5}, "'folds' in the grid must be a whole number"),
        ({"fold": 1}, "The key 'fold' in the grid is set by the grid"),
        ({"entries": [{"name": "a", **LINEAR, "folds": 3}]}, "Move 'folds' of the entry 'a'"),
        ({"folds": 3, "task": "causal-lm"}, "language models are compared on a test split"),
    ],
)
def test_refused(content: dict, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        make_grid({**CONTENT, **content}, {}, "the grid")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [(seed, fold) for seed in (1, 2) for fold in (1, 2, 3, 4, 5)]),  # 3 seeds become 2 repetitions
        ({"seeds": [4]}, [(4, fold) for fold in (1, 2, 3, 4, 5)]),  # named seeds stand
        ({"folds": 0}, WHOLE),
        ({"test_budget": 10}, WHOLE),  # not every row would be tested
        ({"tuning": {"trials": 2}, "entries": [{"name": "a", **LINEAR, "search": SEARCH}]}, WHOLE),
    ],
)
def test_the_default_with_few_rows(tmp_path: Path, settings: dict, expected: list) -> None:
    content = {**CONTENT, "dataset_name": _csv(tmp_path / "rows.csv", 998), **settings}
    grid, found = with_default_folds(make_grid(content, {}, "the grid"), tmp_path)
    assert _seeds_and_folds(grid) == expected and found == ({None: 998} if expected[0][1] else {})


def test_no_default_with_1000_rows_or_a_test_split(tmp_path: Path, dataset_folder: Path) -> None:
    for name in (_csv(tmp_path / "rows.csv", 1000), str(dataset_folder)):
        grid = make_grid({**CONTENT, "dataset_name": name}, {}, "the grid")
        assert with_default_folds(grid, tmp_path) == (grid, {})


def test_only_the_small_one_of_two_datasets_is_divided(tmp_path: Path) -> None:
    large, small = (_csv(tmp_path / f"{rows}.csv", rows) for rows in (1002, 20))
    datasets = [{"name": "large", "dataset_name": large}, {"name": "small", "dataset_name": small}]
    content = {"entries": CONTENT["entries"], "datasets": datasets}
    grid, found = with_default_folds(make_grid(content, {}, "the grid"), tmp_path)
    folds = {name: {run.fold for run in grid.runs if run.dataset == name} for name in ("large", "small")}
    assert found == {"small": 20} and folds == {"large": {None}, "small": {1, 2, 3, 4, 5}}


def test_the_flags_of_a_ladder(tmp_path: Path) -> None:
    given = ["--dataset_name", "rows.csv", "--entries", "quick", "--folds", "4", "--repeats", "1"]
    grid = parse_compare_arguments([*given, "--label_budgets", "all"]).grid
    assert _seeds_and_folds(grid) == [(1, 1), (1, 2), (1, 3), (1, 4)]


def test_each_fold_is_tuned_alone() -> None:
    entries = [{"name": "a", **LINEAR, "search": SEARCH}]
    grid = make_grid({**CONTENT, "entries": entries, "tuning": {"trials": 2}, "folds": 2, "repeats": 2}, {}, "the grid")
    assert len({run.search_folder for run in grid.runs}) == 4
    for run in grid.runs:
        assert run.search is not None
        trial = run.tuned_at(run.search)
        assert (trial.seed, trial.fold) == (run.seed, run.fold)
