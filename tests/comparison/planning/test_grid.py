from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tl_toolkit.comparison.arguments import parse_compare_arguments
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.errors import UserError

ENTRIES = [
    {"name": "lstm", "model_type": "rnn", "config_overrides": {"hidden_size": 13}},
    {"name": "bert", "model_name_or_path": "bert-base-uncased", "learning_rate": "1e-3"},
]
CONTENT = {"dataset_name": "builtin:pydocs", "learning_rate": 5e-4, "label_budgets": [500, 100], "entries": ENTRIES}


def test_the_runs_of_a_grid() -> None:
    grid = make_grid({**CONTENT, "seeds": {100: [3, 1], 500: [2]}}, {}, "grid.yaml")
    assert [(run.entry, run.label_budget, run.seed) for run in grid.runs] == [
        ("lstm", 100, 3), ("bert", 100, 3), ("lstm", 100, 1), ("bert", 100, 1), ("lstm", 500, 2), ("bert", 500, 2),
    ]  # fmt: skip


def test_an_entry_may_have_seeds_of_its_own() -> None:
    dear = {**ENTRIES[1], "seeds": {500: [1]}}
    content = {**CONTENT, "entries": [ENTRIES[0], dear], "seeds": [1, 2]}
    runs = [(run.entry, run.label_budget, run.seed) for run in make_grid(content, {}, "grid.yaml").runs]
    assert runs == [
        ("lstm", 100, 1), ("bert", 100, 1), ("lstm", 100, 2), ("bert", 100, 2),
        ("lstm", 500, 1), ("bert", 500, 1), ("lstm", 500, 2),
    ]  # fmt: skip
    all_seeds = {run.key("a") for run in make_grid({**CONTENT, "seeds": [1, 2]}, {}, "grid.yaml").runs}
    assert {run.key("a") for run in make_grid(content, {}, "grid.yaml").runs} < all_seeds
    flags = make_grid(content, {"seeds": [7]}, "grid.yaml")
    assert {run.seed for run in flags.runs} == {7}


def test_flags_beat_entries_and_entries_beat_the_top(tmp_path: Path) -> None:
    grid = make_grid(CONTENT, {"seeds": [7], "label_budgets": [11]}, "grid.yaml")
    rates = [run.arguments(tmp_path).run.learning_rate for run in grid.runs]
    assert rates == [5e-4, 1e-3]
    grid = make_grid(CONTENT, {"learning_rate": 0.25, "dataset_name": "other.csv"}, "grid.yaml")
    for run in grid.runs:
        arguments = run.arguments(tmp_path)
        assert (arguments.run.learning_rate, arguments.data.dataset_name) == (0.25, "other.csv")
        assert arguments.run.output_dir == str(tmp_path / run.folder)
        assert (arguments.data.label_budget, arguments.run.seed) == (run.label_budget, run.seed)


def test_a_key_changes_with_everything_that_affects_the_result() -> None:
    def keys(content: dict, fingerprint: str = "a") -> list[str]:
        return [run.key(fingerprint) for run in make_grid(content, {"seeds": [1]}, "grid.yaml").runs]

    first = keys(CONTENT)
    assert len(set(first)) == len(first)
    assert keys(CONTENT) == first
    assert set(keys(CONTENT, "b")).isdisjoint(first)
    changed = keys({**CONTENT, "entries": [{**ENTRIES[0], "weight_decay": 0.5}, ENTRIES[1]]})
    assert [a == b for a, b in zip(first, changed, strict=True)] == [False, True, False, True]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({**CONTENT, "entrys": []}, ["entrys", "entries"]),
        ({**CONTENT, "entries": []}, ["entries"]),
        ({**CONTENT, "entries": [{"model_type": "rnn"}]}, ["entry 1", "name"]),
        ({**CONTENT, "entries": [ENTRIES[0], ENTRIES[0]]}, ["lstm", "taken"]),
        ({**CONTENT, "entries": [{"name": "a b", "model_type": "rnn"}, {"name": "a+b", "model_type": "rnn"}]}, ["a+b"]),
        ({**CONTENT, "entries": [{"name": "x", "model_typ": "rnn"}]}, ["model_typ", "model_type", "'x'"]),
        ({**CONTENT, "entries": [{"name": "x"}]}, ["'x' of grid.yaml", "--model_type"]),
        ({**CONTENT, "entries": [ENTRIES[0], {**ENTRIES[0], "name": "y", "learning_rate": -1}]}, ["'y'", "-1"]),
        ({**CONTENT, "entries": [{**ENTRIES[0], "pooling": "max"}]}, ["lstm", "pooling=max"]),
        ({**CONTENT, "title": {"News": "short"}}, ["title", "quotation marks"]),
        ({**CONTENT, "entries": [{**ENTRIES[0], "dataset_name": "y"}]}, ["dataset_name", "lstm"]),
        ({**CONTENT, "seed": 3}, ["seed", "seeds"]),
        ({**CONTENT, "entries": [{**ENTRIES[0], "find_lr": True}]}, ["find_lr", "tl-toolkit finetune"]),
        ({**CONTENT, "push_to_hub": True}, ["push_to_hub", "tl-toolkit publish"]),
        ({**CONTENT, "seeds": {100: [1]}}, ["500"]),
        ({**CONTENT, "seeds": [True]}, ["seeds"]),
        ({**CONTENT, "entries": [{**ENTRIES[0], "seeds": {300: [1]}}]}, ["lstm", "300"]),
        ({**CONTENT, "entries": [{**ENTRIES[0], "seeds": 3}]}, ["lstm", "seeds"]),
        ({**CONTENT, "label_budgets": [0]}, ["label_budgets"]),
        ({**CONTENT, "label_budgets": "100"}, ["label_budgets"]),
    ],
)
def test_a_wrong_grid_is_refused(content: dict, names: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        make_grid(content, {}, "grid.yaml")
    assert all(name in str(caught.value) for name in names), str(caught.value)


def test_flags_that_the_grid_sets_are_refused() -> None:
    with pytest.raises(UserError, match="'seed'.*seeds"):
        make_grid(CONTENT, {"seed": 3}, "grid.yaml")


def test_no_comparison_makes_less_than_one_run_at_once(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(CONTENT))
    with pytest.raises(UserError, match="--parallel_runs must be .* but is 0"):
        parse_compare_arguments(["--config", str(tmp_path / "grid.yaml"), "--parallel_runs", "0", "--dry_run"])


def test_class_weights_are_of_an_entry_and_the_main_metric_is_of_all(tmp_path: Path) -> None:
    weighted = {**ENTRIES[0], "class_weight": {"scipy": 5, "a, b": "1e-1"}}
    grid = make_grid({**CONTENT, "main_metric": "recall:scipy", "entries": [weighted, ENTRIES[1]]}, {}, "grid.yaml")
    data = [run.arguments(tmp_path).data for run in grid.runs[:2]]
    assert [own.class_weight for own in data] == ['{"scipy": 5, "a, b": "1e-1"}', None]
    assert {own.main_metric for own in data} == {"recall:scipy"}
    with pytest.raises(UserError, match="Move 'main_metric' of the entry 'lstm' to the top"):
        make_grid({**CONTENT, "entries": [{**ENTRIES[0], "main_metric": "macro_f1"}]}, {}, "grid.yaml")
    with pytest.raises(UserError, match="entry 'lstm'.*--class_weight does not apply to --task regression"):
        make_grid({**CONTENT, "task": "regression", "entries": [weighted]}, {}, "grid.yaml")
    with pytest.raises(UserError, match="entry 'lstm'.*Did you mean 'balanced'"):
        make_grid({**CONTENT, "entries": [{**ENTRIES[0], "class_weight": "balance"}]}, {}, "grid.yaml")
    language_model = {**CONTENT, "task": "causal-lm", "main_metric": "loss", "entries": [ENTRIES[0]]}
    with pytest.raises(UserError, match="--main_metric does not apply to language models: they are ranked by the loss"):
        make_grid({k: v for k, v in language_model.items() if k != "label_budgets"}, {}, "grid.yaml")
