"""The verbs as functions: what they return, what they take in place of names, and the examples in their docstrings."""

from __future__ import annotations

import contextlib
import doctest
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict

import tl_toolkit
from tl_toolkit import Comparison, UserError, compare, finetune, generate, predict, pretrain
from tl_toolkit.cli import VERBS
from tl_toolkit.loading.objects import dataset_from, dataset_name

TINY = {
    "model_type": "rnn", "config_overrides": {"embedding_size": 7, "hidden_size": 13}, "use_cpu": True,
    "disable_tqdm": True, "num_train_epochs": 2,
}  # fmt: skip
ROWS = [("a fine film", "good"), ("a dull film", "bad"), ("so fine", "good"), ("so dull", "bad")] * 12


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_TOOLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def _without_output(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_in_the_docstring_of_each_verb(verb: str) -> None:
    quiet = {name: _without_output(getattr(tl_toolkit, name)) for name in VERBS}
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(tl_toolkit, verb), verb, globs=quiet)
    assert any(f"{verb}(" in line.source for line in example.examples)
    said: list[str] = []
    failed, _ = doctest.DocTestRunner().run(example, out=said.append)
    assert not failed, "".join(said)


def test_a_table_is_trained_on_as_its_file_is() -> None:
    frame = pd.DataFrame(ROWS, columns=["review", "verdict"])
    frame.to_parquet("rows.parquet")
    by_object = finetune(frame, output_dir="by_object", **TINY)
    by_name = finetune("rows.parquet", output_dir="by_name", **TINY)
    assert by_object.metrics == by_name.metrics
    assert by_object.record["dataset"]["fingerprint"] == by_name.record["dataset"]["fingerprint"]
    assert by_object.record["dataset"]["columns"] == {"text": "review", "text_pair": None, "label": "verdict"}


def test_what_finetune_returns(tmp_path: Path) -> None:
    trained = finetune(dataset_name=ROWS, output_dir=tmp_path / "out", **TINY)
    assert type(trained.model) is tl_toolkit.RnnForSequenceClassification
    assert trained.tokenizer is not None and trained.tokenizer("fine")["input_ids"]
    assert trained.metrics["test"]["accuracy"] == trained.record["metrics"]["test"]["accuracy"]
    assert "accuracy" in repr(trained) and str(tmp_path / "out") in repr(trained)
    texts = [text for text, _ in ROWS]
    predicted = trained.predict(texts)
    assert set(predicted) <= {"good", "bad"} and len(predicted) == len(texts)
    assert predicted == predict(trained, ROWS, use_cpu=True).predictions["prediction_name"].tolist()
    assert trained.predict(pd.DataFrame({"text": texts})) == predicted
    assert not list(tmp_path.glob("trainer_output"))


def test_a_learning_rate_is_found_from_python() -> None:
    found = finetune(ROWS, find_lr=True, find_lr_steps=10, output_dir="lr", **TINY)
    assert found.record["suggestion"] is None or found.record["suggestion"] > 0
    assert found.metrics == {} and "lr" in repr(found)


def test_a_model_and_a_tokenizer_stand_where_their_names_go(tmp_path: Path) -> None:
    first = finetune(ROWS, output_dir="first", **TINY)
    rest = {name: value for name, value in TINY.items() if name not in ("model_type", "config_overrides")}
    by_name = finetune(ROWS, model_name_or_path="first", output_dir="by_name", **rest)
    by_object = finetune(
        ROWS, model_name_or_path=first.model, tokenizer_name=first.tokenizer, output_dir="by_object", **rest
    )
    assert by_object.metrics == by_name.metrics != first.metrics
    again = finetune(ROWS, model_name_or_path=first, output_dir="again", **rest)  # the result stands for its folder
    assert again.metrics == by_name.metrics


def test_predictions_of_other_tasks(tmp_path: Path) -> None:
    pairs = [{"premise": "a man runs", "hypothesis": "he moves", "label": "yes"},
             {"premise": "a man runs", "hypothesis": "he sleeps", "label": "no"}] * 12  # fmt: skip
    columns = {"text_column": "premise", "text_pair_column": "hypothesis"}
    of_pairs = finetune(pairs, output_dir="pairs", **columns, **TINY)
    assert set(of_pairs.predict([("a man runs", "he moves")])) <= {"yes", "no"}
    number = finetune([(text, len(text) / 3) for text, _ in ROWS], task="regression", output_dir="number", **TINY)
    assert all(isinstance(value, float) for value in number.predict(["so fine", "so"]))
    words = [{"tokens": ["the", "cat", "ran"], "tags": ["D", "N", "V"]}] * 24
    tagger = finetune(words, task="token-classification", output_dir="tags", **TINY)
    (tags,) = tagger.predict([["the", "cat"]])
    assert len(tags) == 2 and set(tags) <= {"D", "N", "V"}


def test_a_language_model_is_trained_and_continues_a_text() -> None:
    model = pretrain([text for text, _ in ROWS], output_dir="lm", **TINY)
    assert model.metrics["test" if "test" in model.metrics else "validation"]["perplexity"] > 1
    assert type(model.model) is tl_toolkit.RnnForCausalLM and model.tokenizer is not None
    with pytest.raises(UserError, match=r"is a language model: use generate\(\)"):
        model.predict(["a fine"])
    found = generate(model, ["a fine", "so"], max_new_tokens=2, use_cpu=True)
    assert [result.input for result in found] == ["a fine", "so"]


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    entries = [{"name": "first", "model_type": "rnn"}, {"name": "second", "model_type": "self_attention"}]
    how = {"use_cpu": True, "num_train_epochs": 1, "label_budgets": [16], "seeds": [1, 2], "folds": 1}
    found = compare(ROWS, entries=entries, output_dir=tmp_path / "comparison", **how)
    assert found is not None
    return found


def test_what_compare_returns(comparison: Comparison) -> None:
    assert comparison.results["entry"].tolist() == ["first", "second"] * 2
    assert comparison.results["completed"].all()
    scores = comparison.scores()
    assert scores.index.tolist() == ["first", "second"] and scores.columns.tolist() == [16]
    first = comparison.results.query("entry == 'first'")["test.accuracy"]
    assert scores.loc["first", 16] == pytest.approx(first.mean())
    assert str(comparison.report_path) in repr(comparison) and "second" in repr(comparison)
    assert "Dataset: rows-" in repr(comparison)  # and not where it lies
    shown = comparison._repr_html_()
    assert shown.count("<table") == 1 and "data:image/png;base64," in shown and "**" not in shown


def test_a_comparison_shows_what_entries_are_called_and_runs_none_of_it(tmp_path: Path) -> None:
    entries = [{"name": "<script>x()</script>", "model_type": "rnn"}]
    how = {"use_cpu": True, "num_train_epochs": 1, "label_budgets": [16], "seeds": [1], "folds": 1}
    found = compare(ROWS, entries=entries, output_dir=tmp_path / "odd", **how)
    assert found is not None and "<script>" not in found._repr_html_()


def test_a_script_without_a_guard_is_not_run_again_by_the_processes_of_a_comparison(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from tl_toolkit import compare\n"
        "print('The script begins.')\n"
        f"found = compare({ROWS[:24]!r}, entries=[{{'name': 'one', 'model_type': 'rnn'}}], label_budgets=[16],\n"
        "    seeds=[1], folds=1, use_cpu=True, num_train_epochs=1, output_dir='compared')\n"
        "print(found.results['completed'].tolist())\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("The script begins.") == 1 and "[True]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dataset_name": 3}, "must be a name, a DataFrame.* but is of type int"),
        ({"dataset_name": []}, "has no rows"),
        ({"dataset_name": {"test": []}}, "no rows in its split 'test'"),
        ({"dataset_name": [("a", "b"), 3]}, "item 1 is of type int"),
        ({"dataset_name": pd.DataFrame({0: ["a"], 1: ["b"]})}, "a column named 0"),
        ({"dataset_name": pd.DataFrame({"text": ["a", 3], "label": ["x", "y"]})}, "cannot be read as a table"),
        ({"dataset_name": ROWS, "model_name_or_path": Dataset.from_dict({"a": [1]})}, "has no tokenizer"),
        ({"dataset_name": ROWS, "tokenizer_name": 3, "model_type": "rnn"}, "tokenizer_name must be a name, or"),
        ({"dataset_name": ROWS, "model_type": "rnn"}, "output_dir"),
        ({"dataset_name": ROWS, "model_typ": "rnn"}, "Did you mean 'model_type'"),
        ({"dataset_name": "nowhere.csv", "model_type": "rnn", "output_dir": "x"}, "nowhere.csv"),
    ],
)
def test_what_cannot_be_used_is_a_user_error(arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        finetune(**arguments)
    assert not (tmp_path / "x").exists()


def test_errors_of_the_disk_are_user_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "/root/x")

    monkeypatch.setattr("tl_toolkit.workflows.finetune.FineTuning.run", refused)
    with pytest.raises(UserError, match="No permission .'/root/x'"):
        finetune(ROWS, output_dir="out", **TINY)


def test_objects_with_the_same_rows_have_the_same_name() -> None:
    frame = pd.DataFrame(ROWS, columns=["text", "label"])
    name = dataset_name(frame)
    assert dataset_name(ROWS) == dataset_name(Dataset.from_pandas(frame)) == dataset_name({"train": frame}) == name
    assert dataset_name(frame.iloc[1:]) != name
    assert dataset_name(frame.astype({"label": "category"})) == name


def test_splits_and_declared_classes_of_objects_are_kept() -> None:
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).cast_column("label", ClassLabel(names=["x", "y"]))
    made = dataset_from(DatasetDict({"train": rows, "test": rows}))
    assert set(made) == {"train", "test"} and made["train"].features["label"].names == ["x", "y"]
    reopened = DatasetDict.load_from_disk(dataset_name(made))
    assert reopened["test"].features == made["test"].features
