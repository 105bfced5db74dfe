from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, Translation
from torch.nn import functional
from transformers.modeling_outputs import Seq2SeqLMOutput

from tl_toolkit.config.arguments import DataArguments, ModelArguments
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.tasks import make_task
from tl_toolkit.tasks.pair_processing import PairProcessing, load_pair_processing, with_end

PAIRS = [("ein Hund", "a dog"), ("zwei Hunde", "two dogs"), ("ein Mann schläft", "a man sleeps")]
HINDI = [("पहला जनवरी", "1 January"), ("कितने बजे हैं?", "What time is it?")]


def folder(path, pairs=PAIRS, names=("de", "en"), rows=23):
    path.mkdir()
    for split, more in (("train", 0), ("validation", 5), ("test", 7)):
        chosen = [pairs[(row + more) % len(pairs)] for row in range(rows - more)]
        pd.DataFrame(chosen, columns=list(names)).to_parquet(path / f"{split}.parquet")
    return path


def task_of(path, **arguments):
    return make_task(DataArguments(task="translation", dataset_name=str(path), **arguments))


def test_pairs_are_read_split_and_recorded(tmp_path):
    task = task_of(folder(tmp_path / "data"), source_lang="de", target_lang="en", label_budget=11, test_budget=5)
    splits = task.prepare(3)
    assert {name: len(split) for name, split in splits.items()} == {"train": 11, "validation": 18, "test": 5}
    for row in splits["train"]:
        assert (row["source"], row["target"]) == PAIRS[row["row"] % 3]
    record = task.record()
    assert record["dataset"]["columns"] == {"source": "de", "target": "en"}
    assert record["budget"]["train_labels"] == 11 and record["task"]["main_metric"] == "bleu"
    again = task_of(tmp_path / "data", source_lang="de", target_lang="en", label_budget=17).prepare(3)
    assert set(splits["train"]["row"]) < set(again["train"]["row"])  # budgets are nested


def test_languages_within_one_column(tmp_path):
    features = Features({"translation": Translation(languages=("de", "en"))})
    rows = [{"translation": {"de": german, "en": english}} for german, english in PAIRS * 4]
    DatasetDict({"train": Dataset.from_list(rows, features=features)}).save_to_disk(tmp_path / "data")
    splits = task_of(tmp_path / "data", source_lang="en", target_lang="de").prepare(0)
    row = splits["test"][0]
    assert (row["target"], row["source"]) == PAIRS[row["row"] % 3]
    rows = task_of(tmp_path / "data", source_lang="en", target_lang="de").prepare_for_prediction("train")
    assert rows["target"][:3] == [german for german, _ in PAIRS]


@pytest.mark.parametrize("nothing", [None, {"de": "ein Hund", "en": None}])
def test_a_row_without_a_translation_is_reported(tmp_path, nothing):
    rows = [{"translation": {"de": german, "en": english}} for german, english in PAIRS]
    DatasetDict({"train": Dataset.from_list([*rows, {"translation": nothing}])}).save_to_disk(tmp_path / "data")
    with pytest.raises(UserError, match="Row 3 of split 'train' has no text in column '(de|en)'"):
        task_of(tmp_path / "data", source_lang="de", target_lang="en").prepare(0)


@pytest.mark.parametrize("other", [3, ["a dog"]])
def test_a_column_called_translation_can_have_any_type(tmp_path, other):
    rows = [{"de": german, "en": english, "translation": other} for german, english in PAIRS * 4]
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(tmp_path / "data")
    assert len(task_of(tmp_path / "data", source_lang="de", target_lang="en").prepare(0)["train"]) > 0
    with pytest.raises(UserError, match="no column of texts named 'hi'"):
        task_of(tmp_path / "data", source_lang="de", target_lang="hi").prepare(0)


def test_common_column_names_need_no_flag(tmp_path):
    splits = task_of(folder(tmp_path / "data", names=("target", "source"))).prepare(0)
    assert splits["train"][0]["target"] == "ein Hund"


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        ({}, ["source and target columns cannot be determined", "--source_lang", "'de' (string)"]),
        ({"source_lang": "de"}, ["cannot be determined"]),
        ({"source_lang": "de", "target_lang": "fr"}, ["no column of texts named 'fr' (--target_lang)"]),
        ({"source_column": "de", "target_column": "de"}, ["'de' is named as both source and target"]),
        ({"source_column": "number", "target_column": "en"}, ["'number' (--source_column) is int64, not a string"]),
    ],
)
def test_errors_describe_problems_with_columns(tmp_path, arguments, messages):
    frame = pd.DataFrame(PAIRS * 3, columns=["de", "en"]).assign(number=range(9))
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(UserError) as raised:
        task_of(tmp_path / "rows.parquet", **arguments).prepare(0)
    assert all(part in str(raised.value) for part in messages), raised.value


def test_a_missing_text_is_reported(tmp_path):
    frame = pd.DataFrame([*PAIRS, ("noch ein Hund", None)], columns=["de", "en"])
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="Row 3 of split 'train' has no text in column 'en'"):
        task_of(tmp_path / "rows.parquet", source_lang="de", target_lang="en").prepare(0)


def processing_of(task, splits, **arguments):
    given = {"model_type": "rnn_encoder_decoder", "tokenizer_min_frequency": 1, **arguments}
    return task.make_processing(ModelArguments(**given), splits)


@pytest.mark.parametrize(("kind", "shared"), [("bpe", True), ("word", False), ("char", False), ("word", True)])
def test_targets_have_an_end_token_and_decode_unchanged(tmp_path, kind, shared):
    task = task_of(folder(tmp_path / "data", HINDI, ("hi", "en")), source_lang="en", target_lang="hi")
    splits = task.prepare(0)
    processing = processing_of(
        task,
        splits,
        tokenizer_name=kind,
        shared_vocabulary=shared if kind == "word" else None,
        tokenizer_lowercase=False,
    )
    assert processing.is_shared == shared
    encoded = task.encode(splits, processing, 64)["test"]
    end, pad = processing.target_tokenizer.eos_token_id, processing.target_tokenizer.pad_token_id
    assert all(ids[-1] == end and ids.count(end) == 1 for ids in encoded["labels"])
    assert all(ids[-1] == processing.tokenizer.eos_token_id for ids in encoded["input_ids"])
    longest = max(map(len, encoded["labels"])) + 3
    generated = np.full((len(encoded), longest), -100)
    for row, ids in enumerate(encoded["labels"]):
        generated[row, : len(ids) + 1] = [processing.target_tokenizer.bos_token_id, *ids]
        generated[row, len(ids) + 1 : len(ids) + 2] = pad
    written = task.decode(generated)
    spaced = [text.replace("?", " ?") if kind == "word" else text for text in encoded["reference"]]
    assert written == spaced

    settings = task.config_arguments(processing)
    assert settings["decoder_start_token_id"] == processing.target_tokenizer.bos_token_id
    assert ("decoder_vocab_size" in settings) != shared
    processing.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_text('{"model_type": "rnn_encoder_decoder"}')
    loaded = load_pair_processing(ModelArguments(model_name_or_path=str(tmp_path / "saved")))
    assert loaded.is_shared == shared
    assert task.encode(splits, loaded, 64)["test"]["labels"] == encoded["labels"]


def test_truncation_keeps_the_end_token_and_the_reference(tmp_path):
    task = task_of(folder(tmp_path / "data"), source_lang="de", target_lang="en", source_prefix="nun: ")
    splits = task.prepare(0)
    processing = processing_of(task, splits)
    encoded = task.encode(splits, processing, 3)["test"]
    assert max(map(len, encoded["labels"])) == 3
    assert {ids[-1] for ids in encoded["labels"]} == {processing.target_tokenizer.eos_token_id}
    assert encoded["reference"] == splits["test"]["target"]
    whole = task.encode(splits, processing, None)["test"]
    assert processing.tokenizer.decode(whole["input_ids"][0], skip_special_tokens=True).startswith("nun: ")


def test_labels_are_padded_behind_their_ends(tmp_path):
    task = task_of(folder(tmp_path / "data"), source_lang="de", target_lang="en")
    splits = task.prepare(0)
    left = processing_of(task, splits).tokenizer
    left.padding_side = "left"  # as in tokenizers of language models
    processing = PairProcessing(left, left)
    rows = task.encode(splits, processing, None)["test"].select_columns(["input_ids", "attention_mask", "labels"])
    batch = task.collator(processing, None)([rows[row] for row in range(5)])
    assert (batch["labels"][:, 0] != -100).all() and (batch["labels"][:, -1] == -100).any()


def test_an_architecture_with_one_vocabulary_shares_it(tmp_path):
    task = task_of(folder(tmp_path / "data"), source_lang="de", target_lang="en")
    splits = task.prepare(0)
    assert processing_of(task, splits, model_type="bart", tokenizer_name="word").is_shared
    with pytest.raises(UserError, match="'bart' has one vocabulary"):
        processing_of(task, splits, model_type="bart", tokenizer_name="word", shared_vocabulary=False)
    with pytest.raises(UserError, match="need a begin token and an end token"):
        processing_of(task, splits, tokenizer_name="fastai")


def test_a_requested_tokenizer_must_end_texts(tmp_path):
    """A new model can only learn from the end token where to stop."""
    splits = (task := task_of(folder(tmp_path / "data"), source_lang="de", target_lang="en")).prepare(0)
    endless = build_tokenizer("word", splits["train"]["target"], min_frequency=1)
    endless.save_pretrained(tmp_path / "endless")
    with_end(endless).save_pretrained(tmp_path / "ending")
    with pytest.raises(UserError, match="endless' .* does not end texts"):
        processing_of(task, splits, tokenizer_name=str(tmp_path / "endless"))
    given = processing_of(task, splits, tokenizer_name=str(tmp_path / "ending"))
    assert given.encode_targets(["a dog"], None)[0][-1] == given.target_tokenizer.eos_token_id


def test_with_end_needs_an_end_token():
    class NoEnd:
        eos_token = bos_token = None

    with pytest.raises(UserError, match="a begin token and an end token"):
        with_end(NoEnd())


def test_the_loss_is_a_mean_over_tokens_of_all_rows(tmp_path):
    task = task_of(folder(tmp_path / "data"), source_lang="de", target_lang="en")
    task.processing = processing_of(task, task.prepare(0))
    torch.manual_seed(0)
    logits = torch.randn(5, 7, 11)
    labels = torch.randint(0, 11, (5, 7))
    labels[1, 2:] = labels[3, 5:] = -100
    losses = task.answers(Seq2SeqLMOutput(logits=logits), labels)
    assert losses.shape == (5,)
    rows = Dataset.from_dict({"reference": ["a dog"] * 5})
    metrics = task.metrics((losses.numpy(), np.full((5, 2), -100)), labels.numpy(), rows)
    expected = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-6)
    smoothed = task.loss(0.1)
    halves = [smoothed(Seq2SeqLMOutput(logits=logits[part]), labels[part], (labels != -100).sum()) for part in
              (slice(0, 2), slice(2, 5))]  # fmt: skip
    whole = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1)
    assert sum(halves).item() == pytest.approx(whole.item(), rel=1e-6)
    assert smoothed(Seq2SeqLMOutput(logits=logits), labels).item() == pytest.approx(whole.item(), rel=1e-6)
