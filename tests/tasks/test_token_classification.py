"""Token classification: columns, words with several tokens or none, and scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers.modeling_outputs import TokenClassifierOutput

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.config.parsing import arguments_from
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.tasks import TokenClassification, make_task
from tl_toolkit.tasks.words import encode_words
from tl_toolkit.workflows.finetune import finetune
from tl_toolkit.workflows.predict import parse_predict_arguments, predict

PLACES, PEOPLE = ["Bern", "Rome", "Oslo", "New York"], ["Ada", "Bob", "Eve"]


def task_of(path: Path, **arguments: object) -> TokenClassification:
    task = make_task(DataArguments(dataset_name=str(path), task="token-classification", **arguments))
    assert isinstance(task, TokenClassification)
    return task


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def sentences(rows: int, seed: int = 0) -> list[dict]:
    """Sentences about somebody's destination, with IOB2 tags."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(rows):
        words = [rng.choice(PEOPLE), "went", *["very"] * rng.integers(0, 4), "to", rng.choice(PLACES), "."]
        names = {**dict.fromkeys(PEOPLE, "B-person"), **dict.fromkeys(PLACES, "B-place")}
        made.append({"tokens": [str(word) for word in words], "ner_tags": [names.get(str(w), "O") for w in words]})
    return made


@pytest.fixture
def names_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "names"
    folder.mkdir()
    for seed, (split, rows) in enumerate({"train": 67, "validation": 23, "test": 31}.items()):
        pd.DataFrame(sentences(rows, seed)).to_parquet(folder / f"{split}.parquet")
    return folder


def test_from_columns_to_labels(names_folder: Path) -> None:
    task = task_of(names_folder, label_budget=41)
    data = task.prepare(1)
    assert {name: len(split) for name, split in data.items()} == {"train": 41, "validation": 23, "test": 31}
    source = sentences(67)
    for row in data["train"]:
        assert row["words"] == source[row["row"]]["tokens"]
        assert [task.labels[tag] for tag in row["tags"]] == source[row["row"]]["ner_tags"]
    record = task.record()
    assert record["task"]["tag_scheme"] == "IOB2" and record["task"]["main_metric"] == "f1"
    assert record["dataset"]["columns"] == {"text": "tokens", "text_pair": None, "label": "ner_tags"}
    assert record["budget"]["constant_answer"] == task.labels.index("O")
    assert task.config_arguments(None)["label2id"] == {"B-person": 0, "B-place": 1, "O": 2}


def test_declared_classes_and_other_names(tmp_path: Path) -> None:
    features = Features(
        {"id": Value("int64"), "words": List(Value("string")), "lemmas": List(Value("string")),
         "pos_tags": List(ClassLabel(names=["X", "NOUN", "VERB"]))}
    )  # fmt: skip
    rows = {"id": [1, 2] * 11, "words": [["a", "b"], ["c"]] * 11, "lemmas": [["a", "b"], ["c"]] * 11}
    split = Dataset.from_dict({**rows, "pos_tags": [[1, 2], [2]] * 11}, features=features)
    DatasetDict({"train": split}).save_to_disk(tmp_path / "d")
    task = task_of(tmp_path / "d")
    data = task.prepare(1)
    assert task.labels == ["X", "NOUN", "VERB"] and task.main_metric == "accuracy"
    assert task.columns.text == "words" and task.columns.label == "pos_tags"
    assert {len(data[name]) > 0 for name in ("train", "validation", "test")} == {True}


@pytest.mark.parametrize(
    ("row", "arguments", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["X"]}, {}, "Row 5 .* 2 words in column 'tokens' and 1 tags in column 'tags'"),
        ({"tokens": ["a", None], "tags": ["X", "X"]}, {}, "Row 5 of column 'tokens' .* missing word"),
        ({"tokens": ["a"], "tags": [None]}, {}, "Row 5 of column 'tags' .* missing tag"),
        ({"tokens": None, "tags": None}, {}, "Row 5 of column 'tokens' .* no words"),
        ({"tokens": ["a"], "tags": ["X"]}, {"text_column": "tokns"}, "no column 'tokns'.*Did you mean 'tokens'"),
        ({"tokens": ["a"], "tags": ["X"]}, {"label_column": "note"}, "'note' .*--label_column.* is string"),
        ({"tokens": ["a"], "tags": ["X"]}, {"text_column": "tags", "label_column": "tags"}, "both name 'tags'"),
    ],
)
def test_errors_describe_the_problem(tmp_path: Path, row: dict, arguments: dict, message: str) -> None:
    good = {"tokens": ["a", "b", "c"], "tags": ["X", "Y", "X"], "note": "n"}
    path = jsonl(tmp_path / "d.jsonl", [good] * 5 + [{**row, "note": "n"}] + [good] * 5)
    with pytest.raises(UserError, match=f"(?s){message}"):
        task_of(path, **arguments).prepare(1)


def test_ambiguous_columns_raise_an_error(tmp_path: Path) -> None:
    plain = jsonl(tmp_path / "plain.jsonl", [{"text": "a b", "label": "X"}] * 11)
    with pytest.raises(UserError, match="word column cannot be determined: no column holds a list of strings"):
        task_of(plain).prepare(1)
    whole = jsonl(tmp_path / "whole.jsonl", [{"text": "a b", "tags": ["X", "Y"]}] * 11)
    with pytest.raises(UserError, match="word column cannot be .* no column except 'tags' holds a list of strings"):
        task_of(whole).prepare(1)
    several = jsonl(tmp_path / "several.jsonl", [{"tokens": ["a"], "one": [1], "two": [2]}] * 11)
    with pytest.raises(UserError, match="tag column cannot be .* several candidates \\('one', 'two'\\)"):
        task_of(several).prepare(1)
    assert task_of(several, label_column="two").prepare(1)["train"]["tags"][0] == [0]


def pieces_tokenizer():
    """A subword tokenizer with special tokens around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "went", "to", "New", "York", "Os", "##lo", "Be", "##r", "##n"]
    ids = {token: index for index, token in enumerate(vocabulary)}
    own = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def test_words_with_several_tokens_or_none() -> None:
    tokenizer = pieces_tokenizer()
    given = [["Bern", "to", "New York", " ", "Oslo"], [], ["Bern", "Bern"]]
    one, none, short = encode_words(given, tokenizer, None)
    names = tokenizer.convert_ids_to_tokens(one.inputs["input_ids"])
    assert names == ["[CLS]", "Be", "##r", "##n", "to", "New", "York", "[UNK]", "Os", "##lo", "[SEP]"]
    assert one.places == [1, 4, 5, 7, 8]
    assert none.places == [] and none.inputs["input_ids"] == [2, 1, 3]
    cut, _, partly = encode_words(given, tokenizer, 5)
    assert cut.places == [1] and len(cut.inputs["input_ids"]) == 5 and cut.inputs["input_ids"][-1] == 3
    assert partly.places == [1] and short.places == [1, 4]


def test_combining_characters_are_composed() -> None:
    tokenizer = build_tokenizer("whitespace", ["caf\u00e9 caf\u00e9"])
    (one,) = encode_words([["cafe\u0301"]], tokenizer, None)
    assert one.inputs["input_ids"] == [tokenizer.convert_tokens_to_ids("caf\u00e9")]


class NoCharacters:
    config = None


def test_labels_are_at_first_pieces_and_truncated_words_count_as_wrong(tmp_path: Path) -> None:
    rows = [
        {"tokens": ["Bern", "to", "Oslo"], "tags": ["B-x", "O", "B-y"]},
        {"tokens": ["to", "New", "York", "to"], "tags": ["O", "B-x", "I-x", "O"]},
    ]
    for split, times in {"train": 2, "validation": 1, "test": 1}.items():
        jsonl(tmp_path / f"{split}.jsonl", rows * times)
    task = task_of(tmp_path)
    test = task.prepare(1)["test"]
    encoded = task.encode(DatasetDict({"test": test}), pieces_tokenizer(), 6)["test"]
    with pytest.raises(UserError, match="must be 3 or more, but is 2: the tokenizer adds 2 special tokens"):
        task.encode(DatasetDict({"test": test}), pieces_tokenizer(), 2)
    assert encoded["is_cut"] == [True, False]
    bern, york = encoded
    names = {name: index for index, name in enumerate(task.labels)}
    assert bern["labels"] == [-100, names["B-x"], -100, -100, names["O"], -100] and bern["places"] == [1, 4]
    assert york["labels"] == [-100, names["O"], names["B-x"], names["I-x"], names["O"], -100]
    batch = task.collator(pieces_tokenizer(), NoCharacters)([encoded[0], encoded[1]])
    assert batch["labels"].shape == batch["input_ids"].shape == batch["attention_mask"].shape == (2, 6)
    # All remaining words are correct: 6 of 7 words, and 2 of 3 entities.
    logits = torch.nn.functional.one_hot(batch["labels"].clamp(min=0), len(names)).float() * 9
    answers = task.answers(TokenClassifierOutput(logits=logits), batch["labels"])
    metrics = task.metrics(tuple(part.numpy() for part in answers), batch["labels"].numpy(), encoded)
    assert metrics["accuracy"] == pytest.approx(6 / 7)
    assert metrics["precision"] == 1.0 and metrics["recall"] == pytest.approx(2 / 3)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
    assert metrics["loss"] == pytest.approx(expected.item())
    frame = task.predictions(tuple(part.numpy() for part in answers), test)
    assert frame["prediction"].tolist() == [["B-x", "O", None], rows[1]["tags"]]
    assert frame["label"].tolist() == [row["tags"] for row in rows]


def settings(folder: Path, output: Path, **more: object) -> dict:
    return {
        "task": "token-classification", "dataset_name": str(folder), "output_dir": str(output), "use_cpu": True,
        "disable_tqdm": True, "per_device_train_batch_size": 11, "num_train_epochs": 12, "learning_rate": 0.03,
        "tokenizer_min_frequency": 1, **more,
    }  # fmt: skip


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_a_run_and_its_predictions(names_folder: Path, tmp_path: Path, head: str) -> None:
    overrides = "embedding_size=11,hidden_size=13,bidirectional=true,character_encoder=rnn,character_feature_size=6"
    requested = {"model_type": "rnn", "config_overrides": f"{overrides},crf={head == 'crf'}"}
    result = finetune(arguments_from(settings(names_folder, tmp_path / "out", **requested), "the test"))
    assert result["metrics"]["test"]["f1"] > 0.9 and result["metrics"]["test"]["accuracy"] > 0.95
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert set(saved["character_vocabulary"]) >= set("Bernwty.") and saved["architectures"] == [
        "RnnForTokenClassification"
    ]
    # From the folder alone, with and without tags, and with words that are not in the training data.
    flags = ["--model_name_or_path", str(tmp_path / "out"), "--use_cpu", "true", "--disable_tqdm", "true"]
    again = ["--dataset_name", str(names_folder), "--output_dir", str(tmp_path / "again")]
    assert predict(parse_predict_arguments([*flags, *again])).metrics == pytest.approx(
        result["metrics"]["test"], rel=1e-4
    )
    before = pd.read_parquet(tmp_path / "out" / result["predictions"]["test"])
    after = pd.read_parquet(tmp_path / "again" / "predictions.parquet")
    assert [list(row) for row in before["prediction"]] == [list(row) for row in after["prediction"]]
    bare = jsonl(tmp_path / "bare.jsonl", [{"tokens": ["Zoe", "went", "to", "Rome"]}, {"tokens": []}])
    untagged = ["--dataset_name", str(bare), "--output_dir", str(tmp_path / "bare")]
    assert predict(parse_predict_arguments([*flags, *untagged])).metrics == {}
    frame = pd.read_parquet(tmp_path / "bare" / "predictions.parquet")
    assert list(frame.columns) == ["row", "words", "prediction"]
    assert [len(row) for row in frame["prediction"]] == [4, 0]


def test_another_model_predicts_a_tag_for_each_word(names_folder: Path, tmp_path: Path) -> None:
    requested = {
        "model_type": "bert", "tokenizer_name": "bpe", "tokenizer_vocab_size": 280, "learning_rate": 0.003,
        "config_overrides": "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32",
    }  # fmt: skip
    result = finetune(arguments_from(settings(names_folder, tmp_path / "out", **requested), "the test"))
    assert result["metrics"]["test"]["accuracy"] > 0.9
    frame = pd.read_parquet(tmp_path / "out" / result["predictions"]["test"])
    assert [len(row) for row in frame["prediction"]] == [len(row) for row in frame["words"]]


def test_accumulation_changes_nothing(names_folder: Path, tmp_path: Path) -> None:
    """The CRF's own loss is divided by the number of labels of the whole batch, however it is split."""
    sizes = "embedding_size=7,hidden_size=11,crf=true,embedding_dropout=0,classifier_dropout=0"
    requested = {"model_type": "rnn", "config_overrides": sizes}
    losses = []
    for size, steps in ((12, 1), (4, 3)):
        split = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "num_train_epochs": 1}
        output = tmp_path / f"out{steps}"
        losses.append(
            finetune(arguments_from(settings(names_folder, output, **requested, **split), "the test"))["metrics"]
        )
    assert losses[0]["test"]["loss"] == pytest.approx(losses[1]["test"]["loss"], rel=1e-4)
    assert losses[0]["validation"]["loss"] == pytest.approx(losses[1]["validation"]["loss"], rel=1e-4)


def test_a_crf_has_no_smoothed_loss(names_folder: Path, tmp_path: Path) -> None:
    requested = {"model_type": "rnn", "config_overrides": "crf=true", "label_smoothing_factor": 0.1}
    with pytest.raises(UserError, match="label_smoothing_factor is 0.1, but a model with a conditional random field"):
        finetune(arguments_from(settings(names_folder, tmp_path / "out", **requested), "the test"))


def test_tags_without_training_words_and_unknown_tags(names_folder: Path) -> None:
    pd.DataFrame([{"tokens": ["a"], "ner_tags": ["B-thing"]}]).to_parquet(names_folder / "test.parquet")
    task = task_of(names_folder)
    task.prepare(1)
    look = task.record()["dataset"]["data_look"]
    assert look["missing"]["train"] == {"count": 1, "classes": ["B-thing"]}
    assert look["most_frequent"]["of"] == "training words"
    task = task_of(names_folder)
    task.labels = ["O", "B-place", "B-person"]
    with pytest.raises(UserError, match="'B-thing'"):
        task.prepare_for_prediction("test")


def test_real_tags(test_data: Path) -> None:
    task = task_of(test_data / "data" / "wnut17")
    data = task.prepare(1)
    assert {name: len(split) for name, split in data.items()} == {"train": 3394, "validation": 1009, "test": 1287}
    assert task.scheme == "IOB2" and len(task.labels) == 13
    task = task_of(test_data / "data" / "ud_english_ewt")
    task.prepare(1)
    assert task.scheme is None and task.main_metric == "accuracy"
