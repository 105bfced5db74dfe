"""Images and captions: columns, rows, pixels, references, and a run whose model can be loaded."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as Pillow
from transformers import AutoImageProcessor, AutoTokenizer
from transformers.utils import ModelOutput

from tl_toolkit.config.arguments import DataArguments, ModelArguments
from tl_toolkit.errors import UserError
from tl_toolkit.tasks import make_task
from tl_toolkit.tasks.caption_processing import in_channels

WORDS = ["one", "two", "three", "four", "five"]
MODEL = "encoder_channels=[5,7],encoder_stride=4,embedding_size=11,hidden_size=13"


def grey(number: int, mode: str = "L") -> bytes:
    """An image of 13 x 11 pixels with its number as grey level."""
    buffer = io.BytesIO()
    Pillow.new("L", (13, 11), 7 * number).convert(mode).save(buffer, format="png")
    return buffer.getvalue()


def folder(path: Path, several: bool = False, **rows: int) -> Path:
    """A saved dataset with splits of these sizes; with `several`, row i has 1 + i % 3 captions."""
    caption = List(Value("string")) if several else Value("string")
    features = Features({"id": Value("int64"), "picture": Image(), "note": Value("string"), "caption": caption})
    splits = {}
    for split, number in rows.items():
        texts = [[f"{split} {WORDS[(i + j) % 5]}" for j in range(1 + i % 3)] for i in range(number)]
        columns = {
            "id": list(range(number)),
            "picture": [{"bytes": grey(i), "path": None} for i in range(number)],
            "note": ["x"] * number,
            "caption": texts if several else [own[0] for own in texts],
        }
        splits[split] = Dataset.from_dict(columns, features=features)
    DatasetDict(splits).save_to_disk(path)
    return path


def task_of(path: Any, **arguments: Any):
    return make_task(DataArguments(task="captioning", dataset_name=str(path), **arguments))


def prepared(task, **arguments: Any):
    splits = task.prepare(1)
    model = ModelArguments(model_type="rnn_image_captioner", **{"config_overrides": MODEL, **arguments})
    return splits, task.make_processing(model, splits)


class Shifting:
    """Replaces a model in a collator."""

    @staticmethod
    def prepare_decoder_input_ids_from_labels(labels: torch.Tensor) -> torch.Tensor:
        return labels.roll(1, dims=1)


def test_rows_pixels_and_labels(tmp_path):
    task = task_of(folder(tmp_path / "data", train=37, validation=11, test=5))
    splits, processing = prepared(task)
    record = task.record()
    assert record["dataset"]["columns"] == {"image": "picture", "caption": "caption"}
    assert record["dataset"]["rows"] == {"train": 37, "validation": 11, "test": 5}
    assert splits["test"][3]["captions"] == ["test four"]
    assert task.config_arguments(processing) == {"image_size": [11, 13], "num_channels": 1, "decoder_start_token_id": 2}

    encoded = task.encode(splits, processing, None)
    rows = [encoded["test"][place] for place in (4, 2)]
    batch = task.collator(processing, Shifting)(rows)
    expected = torch.tensor([28.0, 14.0]) / 255 * 2 - 1
    torch.testing.assert_close(batch["pixel_values"], expected[:, None, None, None].expand(2, 1, 11, 13))
    assert [ids[-1] for ids in encoded["test"]["labels"]] == [processing.tokenizer.eos_token_id] * 5
    assert processing.decode(batch["labels"].numpy()) == ["test five", "test three"]
    assert torch.equal(batch["decoder_attention_mask"].bool(), batch["labels"] != -100)
    assert rows[0]["reference"] == ["test five"] and rows[0]["length"] == len(rows[0]["labels"])
    cut = task.encode(splits, processing, 2)["train"]["labels"]
    assert all(len(ids) == 2 and ids[1] == 3 for ids in cut)


def test_several_captions(tmp_path):
    task = task_of(folder(tmp_path / "data", several=True, train=37, validation=11, test=5))
    splits, processing = prepared(task)
    encoded = task.encode(splits, processing, None)
    # Every caption of a training image is an example, and every image is scored once.
    assert len(encoded["train"]) == sum(1 + i % 3 for i in range(37)) and len(encoded["test"]) == 5
    texts = processing.decode(_padded(encoded["train"]["labels"]))
    assert texts[:6] == ["train one", "train two", "train three", "train three", "train four", "train five"]
    assert encoded["train"]["image"][:6] == [0, 1, 1, 2, 2, 2]
    assert encoded["test"]["reference"][2] == ["test three", "test four", "test five"]

    written = ["test one", "test three", "nothing", "test four", "test five"]  # row 1 matches its second reference
    generated = _padded(processing.tokenizer(written)["input_ids"])
    labels = _padded(encoded["test"]["labels"])
    losses = np.arange(5.0)
    found = task.metrics((losses, generated), labels, encoded["test"])
    assert found["exact_match"] == 0.8 and 50 < found["chrf"] < 100 and task.main_metric == "chrf"
    assert found["loss"] == pytest.approx(10 / (labels != -100).sum())
    frame = task.predictions((losses, generated), splits["test"])
    assert list(frame.columns) == ["row", "reference", "prediction"]
    assert frame["prediction"].tolist() == written and list(frame["reference"][1]) == ["test two", "test three"]


def _padded(ids: list[list[int]]) -> np.ndarray:
    width = max(map(len, ids))
    return np.array([[*row, *[-100] * (width - len(row))] for row in ids])


def test_colour_and_transparency(tmp_path):
    clear = Pillow.new("RGBA", (13, 11), (0, 0, 0, 0))
    buffer = io.BytesIO()
    clear.save(buffer, format="png")
    pictures = [buffer.getvalue(), grey(3), grey(3, "RGB")] * 7
    pd.DataFrame({"image": pictures, "text": ["a text"] * 21}).to_parquet(tmp_path / "data.parquet")
    task = task_of(tmp_path / "data.parquet", test_budget=3, validation_budget=2)
    splits, processing = prepared(task, config_overrides=f"{MODEL},num_channels=3,image_size=[5,3]")
    values = processing.pixel_values([task.read_image(place) for place in (0, 1, 2)])
    assert values.shape == (3, 3, 5, 3)
    torch.testing.assert_close(values[0], torch.ones(3, 5, 3))  # transparent pixels are white
    torch.testing.assert_close(values[1], values[2])


def test_sixteen_bits_are_scaled_to_eight():
    picture = Pillow.fromarray(np.array([[0, 255, 256, 40_000, 65_535]], np.uint16))
    assert picture.mode == "I;16"
    np.testing.assert_array_equal(in_channels(picture, 1), [[0, 0, 1, 156, 255]])
    np.testing.assert_array_equal(np.asarray(in_channels(picture, 3))[0, :, 1], [0, 0, 1, 156, 255])


def test_budgets_count_images(tmp_path):
    task = task_of(folder(tmp_path / "data", several=True, train=37), label_budget=5)
    splits = task.prepare(1)
    assert {role: len(rows) for role, rows in splits.items()} == {"train": 5, "validation": 3, "test": 7}
    used = [row for rows in splits.values() for row in rows["row"]]
    assert len(set(used)) == len(used)
    for row in splits["test"]:
        assert np.asarray(task.read_image(row["image"]))[0, 0] == 7 * row["row"]


def test_uneven_attention_is_added_to_the_loss():
    task = task_of("x")
    logits, labels = torch.randn(3, 4, 7), torch.tensor([[1, 2, 3, -100], [4, 5, -100, -100], [-100] * 4])
    plain = task.loss(0.0)(ModelOutput(logits=logits), labels, 11)
    outputs = ModelOutput(logits=logits, attention_penalty=torch.tensor([2.0, 3.0, 100.0]))
    torch.testing.assert_close(task.loss(0.0)(outputs, labels, 11), plain + 5 / 11)  # ignores a row without labels
    torch.testing.assert_close(task.loss(0.0)(outputs, labels), (plain * 11 + 5) / 5)


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({"text": ["a"] * 9}, {}, "picture column cannot be determined: no column has the right type"),
        ({"image": [grey(1)] * 9, "a": ["x"] * 9, "b": ["y"] * 9}, {}, "caption column .* candidates are 'a', 'b'"),
        ({"image": [grey(1)] * 9, "n": [1] * 9}, {"text_column": "n"}, r"'n' \(--text_column\) is int64, not a text"),
        ({"image": [grey(1)] * 9, "text": ["x"] * 9}, {"image_column": "imag"}, "Did you mean 'image'"),
        ({"image": [grey(1)] * 9, "text": ["x"] * 8 + [""]}, {}, "Row 8 of split 'train' has no caption"),
        ({"image": [grey(1)] * 8 + [None], "text": ["x"] * 9}, {}, "Row 8 of split 'train' has no .*column 'image'"),
    ],
)
def test_errors_for_unusable_columns(tmp_path, columns, arguments, message):
    pd.DataFrame(columns).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(UserError, match=message):
        task_of(tmp_path / "data.parquet", **arguments).prepare(1)


def test_an_unreadable_image_is_reported(tmp_path):
    pd.DataFrame({"image": [b"no picture"] * 20, "text": ["x"] * 20}).to_parquet(tmp_path / "data.parquet")
    task = task_of(tmp_path / "data.parquet")
    splits = task.prepare(1)
    with pytest.raises(UserError, match="An image in column 'image' cannot be read"):
        task.read_image(splits["train"][0]["image"])


def test_a_missing_image_is_reported(tmp_path):
    pd.DataFrame({"image": [grey(1), None, grey(2)]}).to_parquet(tmp_path / "data.parquet")
    task = task_of(tmp_path / "data.parquet")
    rows = task.prepare_for_prediction()
    with pytest.raises(UserError, match="Row 1 of column 'image' has no image"):
        task.read_image(rows["image"][1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A run of two epochs on a few of the built-in images."""
    from tl_toolkit.config.parsing import arguments_from
    from tl_toolkit.workflows.finetune import finetune

    path = tmp_path_factory.mktemp("captioner") / "out"
    settings = {
        "task": "captioning", "dataset_name": "builtin:digits", "model_type": "rnn_image_captioner",
        "config_overrides": f"{MODEL},doubly_stochastic_weight=0.1", "tokenizer_name": "word", "label_budget": 40,
        "validation_budget": 11, "test_budget": 13, "num_train_epochs": 2, "per_device_train_batch_size": 16,
        "generation_num_beams": 2, "learning_rate": 0.01, "output_dir": str(path), "use_cpu": True,
        "disable_tqdm": True,
    }  # fmt: skip
    return path, finetune(arguments_from(settings, "the test"))


def test_a_run_saves_a_loadable_model(trained):
    path, record = trained
    assert record["status"] == "completed" and record["task"]["name"] == "captioning"
    assert set(record["metrics"]["test"]) == {"loss", "bleu", "bleu_lowercase", "chrf", "exact_match"}
    assert record["history"][-2]["eval_loss"] < record["history"][0]["loss"]
    frame = pd.read_parquet(path / "predictions_test.parquet")
    assert list(frame.columns) == ["row", "reference", "prediction"] and len(frame) == 13
    assert frame["reference"].str.match("a (small|large) ").all()
    processor = AutoImageProcessor.from_pretrained(path)
    assert processor.size == {"height": 32, "width": 32} and len(processor.image_mean) == 1
    assert AutoTokenizer.from_pretrained(path).eos_token == "<eos>"
    assert json.loads((path / "generation_config.json").read_text())["num_beams"] == 2


def test_predictions_of_the_saved_model_are_the_same(trained, tmp_path):
    from tl_toolkit.workflows.predict import parse_predict_arguments, predict

    path, record = trained
    flags = ["--model_name_or_path", str(path), "--dataset_name", "builtin:digits", "--output_dir", str(tmp_path / "p")]
    flags += ["--use_cpu", "true", "--disable_tqdm", "true"]
    metrics = predict(parse_predict_arguments(flags)).metrics
    own = pd.read_parquet(path / "predictions_test.parquet")
    every = pd.read_parquet(tmp_path / "p" / "predictions.parquet").set_index("row")
    assert len(every) == 1000 and metrics["loss"] == pytest.approx(record["metrics"]["test"]["loss"], rel=0.2)
    assert every.loc[own["row"], "prediction"].tolist() == own["prediction"].tolist()


def test_a_transformers_captioner_can_be_trained(tmp_path):
    """The task also fine-tunes a `vision-encoder-decoder`, with its own image processor and tokenizer."""
    from transformers import BertConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    from tl_toolkit.config.parsing import arguments_from
    from tl_toolkit.data.tokenizers import build_tokenizer
    from tl_toolkit.workflows.finetune import finetune

    tokenizer = build_tokenizer("word", ["train one two three four five"] * 2)  # adds no end token itself
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 7}
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    decoder = {**sizes, **ids, "vocab_size": len(tokenizer), "is_decoder": True, "add_cross_attention": True}
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**sizes, image_size=16, patch_size=8), BertConfig(**decoder), decoder_start_token_id=2, **ids
    )
    model = VisionEncoderDecoderModel(config)
    model.generation_config.update(decoder_start_token_id=2, **ids)
    normal = [0.5] * 3
    processor = ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=normal, image_std=normal)
    for part in (model, tokenizer, processor):
        part.save_pretrained(tmp_path / "checkpoint")
    settings = {
        "task": "captioning", "dataset_name": str(folder(tmp_path / "data", train=17, validation=3, test=5)),
        "model_name_or_path": str(tmp_path / "checkpoint"), "num_train_epochs": 1, "use_cpu": True,
        "per_device_train_batch_size": 5, "disable_tqdm": True, "output_dir": str(tmp_path / "out"),
    }  # fmt: skip
    record = finetune(arguments_from(settings, "the test"))
    assert record["status"] == "completed" and record["model"]["class"] == "VisionEncoderDecoderModel"
    assert len(pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")) == 5


def test_real_pictures(test_data):
    task = task_of(test_data / "data" / "emoji_captions", label_budget=23, validation_budget=5, test_budget=3)
    splits, processing = prepared(task)
    assert task.record()["dataset"]["columns"] == {"image": "image", "caption": "caption"}
    encoded = task.encode(splits, processing, None)["test"]
    batch = task.collator(processing, Shifting)([encoded[place] for place in range(3)])
    assert batch["pixel_values"].shape == (3, 3, 64, 64) and batch["pixel_values"].std() > 0.1
    known = processing.decode(_padded(task.encode(splits, processing, None)["train"]["labels"]))
    assert known == [own[0] for own in splits["train"]["captions"]]  # byte-level pieces decode unchanged
