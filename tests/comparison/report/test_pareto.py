from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from tl_toolkit.comparison.report.panel import Panel
from tl_toolkit.comparison.report.pareto import _draw, describe_fronts, front, fronts, in_words, widest_budget
from tl_toolkit.evaluation.intervals import Spread
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.cells import Goal, make_cells


def test_a_front_by_hand():
    """Cost 1 to 6; scores rise, fall below, tie with more cost, and rise again."""
    assert front([3, 7, 5, 7, 8, 2], [1, 2, 3, 4, 5, 6]) == [0, 1, 4]
    assert front([3, 7, 5, 7, 8, 2], [1, 2, 3, 4, 5, 6], sign=-1) == [0, 5]


def test_equal_points_are_all_kept():
    assert sorted(front([5, 5, 4], [2, 2, 2])) == [0, 1]


@pytest.mark.parametrize("sign", [1, -1])
def test_exactly_the_non_dominated_points_are_kept(sign):
    generator = np.random.default_rng(13)
    scores, costs = generator.integers(11, size=83) * sign, generator.integers(1, 17, size=83)
    kept = front(scores.tolist(), costs.tolist(), sign)

    def dominated(index):
        no_worse = (sign * scores >= sign * scores[index]) & (costs <= costs[index])
        return bool((no_worse & ((scores != scores[index]) | (costs != costs[index]))).any())

    assert {index for index in range(83) if not dominated(index)} == set(kept)
    assert [costs[index] for index in kept] == sorted(costs[index] for index in kept)


@pytest.fixture
def cells(tmp_path, rich_comparison):
    skills = {"lstm": (0.31, 0.4), "elman": (0.23, 0.3), "minilm": (0.52, 0.6)}
    rich_comparison(skills=skills, budgets=(100, 500), seeds=(2, 1), rows=53, predictions=False)
    return make_cells(read_results(tmp_path / "results.jsonl"))


def test_the_fronts_of_a_comparison_in_words(cells):
    goal, here = Goal("accuracy"), widest_budget(cells)
    assert {cell.budget for cell in here} == {500}
    found = fronts(here, goal)
    assert [each.price.name for each in found] == ["train_seconds", "parameters", "latency_seconds"]
    said = in_words(found[1], goal).replace("\u00a0", " ")
    # The two models from scratch have the same size, so the worse one is not on the front.
    assert re.fullmatch(
        r"Pareto front by number of parameters, from the cheapest to the best: "
        r"lstm \(39\.\d %, 1\.04M parameters\) and minilm \(60\.\d %, 22\.7M parameters\)\.",
        said,
    )


def test_costs_that_are_known_for_fewer_than_two_entries_are_left_out(cells):
    here = widest_budget(cells)
    blind = [replace(cell, costs=cell.costs | {"latency_seconds": None}) for cell in here]
    assert [each.price.name for each in fronts(blind, Goal("accuracy"))] == ["train_seconds", "parameters"]
    assert [len(each.cells) for each in fronts([blind[0], *here[1:]], Goal("accuracy"))] == [3, 3, 2]
    assert fronts(here[:1], Goal("accuracy")) == []


def test_the_figure_its_files_and_its_table(cells, tmp_path):
    told = describe_fronts(Panel([result for cell in cells for result in cell.results], tmp_path, "p-"))
    assert told["budget"] == "500" and [cell.entry for cell in told["cells"]] == ["minilm", "lstm", "elman"]
    assert told["cells"][2] not in told["fronts"][1].best
    texts = [element.text for element in ET.fromstring(told["wide"]).iter() if element.tag.endswith("text")]
    assert {"Test accuracy, %", "parameters (logarithmic)", "minilm"} <= set(texts)
    assert (tmp_path / "figures" / "p-pareto.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figures" / "p-pareto.svg").exists()
    ids = [re.findall(r'\bid="([^"]+)"', told[kind]) for kind in ("wide", "narrow")]
    assert ids[0] and not set(ids[0]) & set(ids[1])


def test_long_tick_labels_are_not_cut_off(cells):
    here = [
        replace(cell, test={"bits_per_byte": Spread(5.925 + 0.005 * place, None, 1)})
        for place, cell in enumerate(widest_budget(cells))
    ]
    goal = Goal("bits_per_byte", greater_is_better=False)
    for columns in (1, 3):
        figure = _draw(fronts(here, goal), ["lstm", "elman", "minilm"], goal, columns)
        labels = [label for axes in figure.axes for label in axes.get_yticklabels() if label.get_text()]
        assert labels and all(label.get_window_extent().x0 >= 0 for label in labels)
