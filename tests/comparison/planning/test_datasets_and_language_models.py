from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tl_toolkit.comparison.execution.scheduler import InProcess, check_data, execute
from tl_toolkit.comparison.planning.grid import Grid, make_grid
from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.errors import UserError
from tl_toolkit.evaluation.results import ALL_LABELS, read_results
from tl_toolkit.workflows.compare import train

RNN = {"model_type": "rnn", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=1"}


@pytest.fixture
def content() -> dict[str, Any]:
    return {
        "max_length": 17, "label_budgets": [10, "all"], "seeds": [1],
        "datasets": [
            {"name": "reviews", "dataset_name": "r.csv", "max_length": 31, "label_column": "stars"},
            {"name": "a / b", "dataset_name": "x/y", "dataset_config_name": "c", "label_budgets": [5], "seeds": [2, 3]},
        ],
        "entries": [{"name": "one", **RNN}, {"name": "two", **RNN, "max_length": 7, "seeds": {"all": [1, 4]}}],
    }  # fmt: skip


def planned(content: dict[str, Any], **flags: Any) -> Grid:
    return make_grid(content, flags, "grid.yaml")


def test_each_dataset_has_its_own_settings_budgets_seeds_and_folders(content: dict[str, Any], tmp_path: Path) -> None:
    runs = planned(content).runs
    assert [run.folder for run in runs] == [
        "runs/reviews/one-10-seed1", "runs/reviews/two-10-seed1", "runs/reviews/one-all-seed1",
        "runs/reviews/two-all-seed1", "runs/reviews/two-all-seed4", "runs/a_b/one-5-seed2", "runs/a_b/two-5-seed2",
        "runs/a_b/one-5-seed3", "runs/a_b/two-5-seed3",
    ]  # fmt: skip
    data = [run.arguments(tmp_path).data for run in runs]
    assert [(d.dataset_name, d.max_length, d.label_column) for d in (data[0], data[1], data[5], data[6])] == [
        ("r.csv", 31, "stars"), ("r.csv", 7, "stars"), ("x/y", 17, None), ("x/y", 7, None),
    ]  # fmt: skip
    assert (data[0].label_budget, data[2].label_budget, data[5].label_budget) == (10, None, 5)
    assert {run.dataset for run in runs} == {"reviews", "a / b"}


def test_flags_replace_budgets_seeds_and_datasets(content: dict[str, Any], tmp_path: Path) -> None:
    runs = planned(content, label_budgets=["100", "all"], seeds=[7], grid_datasets=["a / b=here/z"]).runs
    assert [(run.label_budget, run.seed) for run in runs] == [(100, 7), (100, 7), (None, 7), (None, 7)] * 2
    data = runs[-1].arguments(tmp_path).data
    assert (data.dataset_name, data.dataset_config_name) == ("here/z", None)
    assert runs[0].arguments(tmp_path).data.dataset_name == "r.csv"


def test_another_dataset_does_not_change_the_keys_of_the_others(content: dict[str, Any]) -> None:
    first = {run.folder: run.key("rows") for run in planned(content).runs}
    more = {**content, "datasets": [*content["datasets"], {"name": "new", "dataset_name": "n"}]}
    after = {run.folder: run.key("rows") for run in planned(more).runs}
    assert after.items() > first.items()


def test_an_entry_may_use_the_stage_of_its_dataset(content: dict[str, Any]) -> None:
    content["datasets"][1]["name"] = "ab"
    content["stages"] = {f"lm-{name}": {"dataset_name": name, "model_type": "rnn"} for name in ("reviews", "ab")}
    content["entries"] = [{"name": "x", "model_name_or_path": "stage:lm-{dataset}"}]
    assert {run.dataset: run.stages for run in planned(content).runs} == {"reviews": ("lm-reviews",), "ab": ("lm-ab",)}


@pytest.mark.parametrize(
    ("change", "flags", "names"),
    [
        ({"datasets": {}}, {}, ["'datasets'", "list"]),
        ({"datasets": [{"dataset_name": "x"}]}, {}, ["dataset 1", "'name'"]),
        ({"datasets": [{"name": "a b"}, {"name": "a+b"}]}, {}, ["'a b'", "'a+b'", "folder"]),
        ({"datasets": [{"name": "a", "learning_rate": 1}]}, {}, ["'learning_rate'", "'a'"]),
        ({"datasets": [{"name": "a", "label_budget": 3}]}, {}, ["'label_budget'", "label_budgets"]),
        ({"datasets": [{"name": "a", "label_budgets": [0]}]}, {}, ["label_budgets", "'a'"]),
        ({"seeds": {10: [1], "all": [1], 99: [1]}}, {}, ["99"]),
        ({"token_budgets": [5]}, {}, ["'token_budgets'", "'label_budgets'"]),
        ({}, {"dataset_name": "x"}, ["--dataset_name", "--grid_datasets", "'reviews'"]),
        ({}, {"grid_datasets": ["review=x"]}, ["review=x", "'reviews'"]),
        ({"datasets": None}, {"grid_datasets": ["a=x"]}, ["--grid_datasets", "no 'datasets'"]),
        ({"task": "causal-lm", "label_budgets": [5]}, {}, ["'label_budgets'", "'token_budgets'"]),
    ],
)
def test_wrong_datasets_are_refused(
    content: dict[str, Any], change: dict[str, Any], flags: dict[str, Any], names: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        planned({**content, **change}, **flags)
    assert all(name in str(caught.value) for name in names), str(caught.value)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder of texts with a test split, and a sibling folder without one."""
    lines = ["red green blue black white and grey", "one two three four five six seven"]
    for name, splits in (("texts", ("train", "validation", "test")), ("without", ("train", "validation"))):
        (tmp_path / name).mkdir()
        for split in splits:
            copies = 31 if split == "train" else 11
            pd.DataFrame({"text": lines * copies}).to_parquet(tmp_path / name / f"{split}.parquet")
    return tmp_path / "texts"


@pytest.fixture
def language(texts: Path) -> dict[str, Any]:
    return {
        "task": "causal-lm", "dataset_name": str(texts), "use_cpu": True, "num_train_epochs": 1, "seeds": [1],
        "per_device_train_batch_size": 3, "per_device_eval_batch_size": 2, "window_length": 11,
        "tokenizer_min_frequency": 1, "keep_models": False, "token_budgets": [101, "all"],
        "entries": [
            {"name": "words", **RNN, "tokenizer_name": "word"},
            {"name": "characters", **RNN, "tokenizer_name": "char"},
        ],
    }  # fmt: skip


def test_language_models_are_compared_over_token_budgets(language: dict[str, Any], tmp_path: Path) -> None:
    grid = planned(language)
    output = tmp_path / "out"
    check_data(grid, output)
    assert execute(grid, output, retry_failed=False, executor=InProcess(train), say=lambda line: None) == 0
    results = read_results(output / "results.jsonl")
    assert [(r.entry, r.budget) for r in results] == [
        ("words", 101), ("characters", 101), ("words", ALL_LABELS), ("characters", ALL_LABELS),
    ]  # fmt: skip
    for result in results:
        assert result.completed and result.folder == f"runs/{result.entry}-{_name(result.budget)}-seed1"
        assert result.section("task")["main_metric"] == "bits_per_byte"
        assert result.metrics("test")["bits_per_byte"] > 0 and result.metrics("validation")["bits_per_byte"] > 0
        rows = pd.read_parquet(output / result.folder / "predictions_test.parquet")
        assert len(rows) == 22 and rows["loss_sum"].sum() / rows["tokens"].sum() == pytest.approx(
            result.metrics("test")["loss"], abs=1e-4
        )
    assert results[0].section("budget")["token_budget"] == results[0].section("budget")["train_tokens"] == 101
    assert len({result.record["key"] for result in results}) == 4
    assert "bits per byte" in write_report(output, "x").read_text()
    lines: list[str] = []
    execute(grid, output, retry_failed=False, executor=InProcess(train), say=lines.append)
    assert sum("cached" in line for line in lines) == 4


def _name(budget: float) -> str:
    return "all" if budget == ALL_LABELS else f"{budget:.0f}"


def test_a_language_model_is_tuned_without_the_test_texts(language: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="searches need the extra 'tuning'")
    entry = {**language["entries"][0], "search": {"learning_rate": ["1e-5", "1e-1"]}}
    content = {**language, "entries": [entry], "token_budgets": [101], "tuning": {"trials": 2, "token_budget": 97}}
    execute(planned(content), tmp_path / "out", retry_failed=False, executor=InProcess(train), say=lambda line: None)
    told = read_results(tmp_path / "out" / "results.jsonl")[0].section("tuning")
    assert told["chosen"] == {"learning_rate": 0.1} and told["metric"] == "bits_per_byte"  # it learns nothing with 1e-5
    trials = [json.loads(p.read_text()) for p in (tmp_path / "out" / "searches/words-97").glob("trial-*/result.json")]
    assert len(trials) == 2 and all(trial["metrics"].keys() == {"validation"} for trial in trials)
    assert {trial["budget"]["train_tokens"] for trial in trials} == {97}


def test_language_models_need_test_texts(language: dict[str, Any], texts: Path, tmp_path: Path) -> None:
    content = {**language, "dataset_name": str(texts.with_name("without"))}
    with pytest.raises(UserError, match="no test split"):
        check_data(planned(content), tmp_path / "out")
    for key, value in (("evaluate_only", True), ("max_train_tokens", 5)):
        with pytest.raises(UserError, match=key):
            planned({**language, key: value})
