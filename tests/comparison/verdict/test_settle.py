from __future__ import annotations

import pytest
from worlds import write_world

from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.comparison.verdict.decision import asked_in, decision_in
from tl_toolkit.comparison.verdict.settle import settling_seeds, with_more_seeds
from tl_toolkit.errors import UserError
from tl_toolkit.evaluation.results import read_results


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Writes a world whose runs lie where the grid puts them, and returns its grid."""

    def build(skills, **how):
        budgets, seeds = how.setdefault("budgets", (100, 400)), how.setdefault("seeds", 2)
        entries = [{"name": name, "model_type": "rnn"} for name in skills]
        content = {
            "dataset_name": "reviews",
            "entries": entries,
            "label_budgets": list(budgets),
            "seeds": list(range(1, seeds + 1)),
        }
        grid = make_grid(content, {}, "the test")
        records = write_world(tmp_path, skills, **how)
        places = {(run.entry, run.label_budget, run.seed): run.folder for run in grid.runs}
        for record in records:
            place = places[record["entry"], record["budget"]["label_budget"], record["seed"]]
            (tmp_path / place).parent.mkdir(exist_ok=True)
            (tmp_path / record["folder"]).rename(tmp_path / place)
            record["folder"] = place
        from synthetic_records import write_lines

        write_lines(tmp_path, records)
        return grid

    return build


def test_the_seeds_of_open_comparisons_are_added(world, tmp_path):
    skills = {"lstm": (0.80, 0.85), "gru": (0.4, 0.45), "minilm": (0.81, 0.878)}
    grid = world(skills, rows=4999, deviation=0.02, seeds=3)
    seeds = settling_seeds(grid, tmp_path, asked_in(tmp_path))
    wanted = {}
    for one in decision_in(tmp_path)["budgets"]:
        for pair in one["comparisons"]:
            if pair["to_settle"] and pair["to_settle"]["seeds"] and pair["to_settle"]["test_rows"] == 4999:
                for name in (pair["a"], pair["b"]):
                    needs = wanted.get((name, one["labels"]), 0)
                    wanted[name, one["labels"]] = max(needs, pair["to_settle"]["seeds"])
    assert max(wanted.values()) > 3 and wanted.get(("gru", 400), 3) == 3
    more = with_more_seeds(grid, seeds)
    count = {}
    for run in more.runs:
        count.setdefault((run.entry, run.label_budget), []).append(run.seed)
    for place, own in count.items():
        assert own == list(range(1, max(3, wanted.get(place, 3)) + 1)), place
    assert more.runs[: len(grid.runs)] == grid.runs


def test_seeds_that_were_added_stay(world, tmp_path):
    grid = world({"lstm": (0.80, 0.85), "minilm": (0.81, 0.878)}, rows=4999, deviation=0.02)
    place = grid.runs[0].folder
    seeds = settling_seeds(grid, tmp_path, asked_in(tmp_path) | {"settle": {place: [7, 8]}})
    assert seeds[place][:2] == [7, 8]
    assert {run.seed for run in with_more_seeds(grid, {place: [7, 8]}).runs} == {1, 2, 7, 8}
    assert with_more_seeds(grid, {"runs/removed-100-seed1": [7]}) == grid


def test_nothing_open_adds_nothing(world, tmp_path):
    grid = world({"lstm": (0.6, 0.65), "minilm": (0.8, 0.85)})
    assert settling_seeds(grid, tmp_path, asked_in(tmp_path)) == {}


def test_more_test_rows_cannot_be_trained(world, tmp_path):
    grid = world({"lstm": (0.8, 0.84), "minilm": (0.81, 0.86)}, rows=53, seeds=5, deviation=0.001)
    said = r"--settle adds seeds, but .* label about [\d,]+ test rows, or choose by cost"
    with pytest.raises(UserError, match=said):
        settling_seeds(grid, tmp_path, asked_in(tmp_path))


def test_single_runs_need_seeds_first(world, tmp_path):
    grid = world({"lstm": (0.6, 0.65), "minilm": (0.8, 0.85)}, seeds=1)
    with pytest.raises(UserError, match="--settle needs the variance between seeds.* --seeds 1 2 3"):
        settling_seeds(grid, tmp_path, asked_in(tmp_path))


def test_a_comparison_without_runs(world, tmp_path):
    grid = world({"lstm": (0.6, 0.65)})
    with pytest.raises(UserError, match="has none yet: leave it out"):
        settling_seeds(grid, tmp_path / "new", asked_in(tmp_path))
    assert len(read_results(tmp_path / "results.jsonl")) == 4
