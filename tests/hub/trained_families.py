"""A tiny run for each model family and task of the toolkit, and its outputs for some inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

CONFIGS = {
    "rnn": "embedding_size=7,hidden_size=13,num_hidden_layers=1",
    "tagger": "embedding_size=11,hidden_size=13,bidirectional=true,crf=true,character_encoder=cnn",
    "awd_lstm": "embedding_size=7,hidden_size=13,num_hidden_layers=2",
    "self_attention": "embedding_size=8,hidden_size=8,num_hidden_layers=1,num_attention_heads=2",
    "rnn_encoder_decoder": "embedding_size=11,hidden_size=13,attention=bahdanau,bidirectional_encoder=true",
    "rnn_image_captioner": "encoder_channels=[7,11],encoder_stride=4,embedding_size=11,hidden_size=13,attention=luong",
}
# The trained head; the others are loaded from the same folder.
HEADS = {
    "classifier": "AutoModelForSequenceClassification",
    "tagger": "AutoModelForTokenClassification",
    "awd-lstm": "AutoModelForCausalLM",
    "attention": "AutoModelForCausalLM",
    "translator": "AutoModelForSeq2SeqLM",
    "captioner": "AutoModelForImageTextToText",
    "forecaster": "AutoModelForTimeSeriesPrediction",
}
TEXTS = ["the old apple and some tin", "a very new river"]


def train_all(folder: Path, texts: Path) -> dict[str, Path]:
    """Train each model for two steps; return the model folders by name.

    Args:
        texts: a folder with texts of three classes.
    """
    from tl_toolkit.config.parsing import arguments_from
    from tl_toolkit.config.pretrain_arguments import pretrain_arguments_from
    from tl_toolkit.workflows.finetune import finetune
    from tl_toolkit.workflows.pretrain import pretrain

    runs: dict[str, tuple[str, dict[str, Any]]] = {
        "classifier": ("rnn", {"dataset_name": texts}),
        "tagger": ("tagger", {"task": "token-classification", "dataset_name": tags(folder / "tags")}),
        "awd-lstm": ("awd_lstm", {"dataset_name": texts, "window_length": 11}),
        "attention": ("self_attention", {"dataset_name": texts, "block_size": 9}),
        "translator": ("rnn_encoder_decoder", {"task": "translation", "dataset_name": pairs(folder / "pairs")}),
        "captioner": ("rnn_image_captioner", {"task": "captioning", "dataset_name": pictures(folder / "pictures")}),
        "forecaster": ("rnn", {"task": "forecasting", "dataset_name": series(folder / "series")}),
    }
    runs["forecaster"][1].update(context_length=11, prediction_length=5, config_overrides="hidden_size=13")
    runs["translator"][1].update(tokenizer_name="char")
    for name, (config, settings) in runs.items():
        common = {
            "model_type": "rnn" if config == "tagger" else config, "config_overrides": CONFIGS[config],
            "output_dir": str(folder / name), "use_cpu": True, "disable_tqdm": True, "max_steps": 2,
            "per_device_train_batch_size": 4, "learning_rate": 0.01,
        } | settings  # fmt: skip
        common["dataset_name"] = str(common["dataset_name"])
        if HEADS[name] == "AutoModelForCausalLM":
            pretrain(pretrain_arguments_from(common, "the test"))
        else:
            finetune(arguments_from(common, "the test"))
    return {name: folder / name for name in runs}


def tags(folder: Path) -> Path:
    """Sentences with names after the title "dr" tagged."""
    sentences = [["dr", "rex", "of", "a", "king"], ["a", "king", "dr", "leo"], ["of", "a", "dr", "leo", "rex"]]
    labels = [["B-P" if before == "dr" else "O" for before in [None, *words[:-1]]] for words in sentences]
    return table(folder, {"tokens": sentences, "ner_tags": labels})


def pairs(folder: Path) -> Path:
    """Numbers in digits and in words."""
    return table(folder, {"source": ["12", "21", "221"], "target": ["one two", "two one", "two two one"]})


def pictures(folder: Path) -> Path:
    """Bright and dark squares with captions."""
    from datasets import Dataset, Image

    shades = [np.full((16, 16), shade, dtype=np.uint8) for shade in (20, 200, 90)]
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = Dataset.from_dict({"image": shades * 4, "text": ["dark", "bright", "grey"] * 4})
        rows.cast_column("image", Image()).to_parquet(folder / f"{split}.parquet")
    return folder


def series(folder: Path) -> Path:
    """A daily series with a season of seven days."""
    folder.mkdir(parents=True)
    days = pd.date_range("2020-01-01", periods=143, freq="D")
    values = np.sin(2 * np.pi * np.arange(143) / 7) * 3 + 5
    pd.DataFrame({"date": days, "x": values, "y": values**2}).to_csv(folder / "series.csv", index=False)
    return folder / "series.csv"


def table(folder: Path, columns: dict[str, list[Any]]) -> Path:
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        pd.DataFrame({name: rows * 4 for name, rows in columns.items()}).to_parquet(folder / f"{split}.parquet")
    return folder


def inputs_of(name: str, folder: Path) -> dict[str, list[Any]]:
    """Inputs of the model as lists, for JSON."""
    from transformers import AutoImageProcessor, AutoTokenizer

    if name == "forecaster":
        return {"past_values": np.linspace(0, 3, 2 * 11 * 2).reshape(2, 11, 2).tolist()}
    if name == "captioner":
        from PIL import Image

        images = [Image.fromarray(np.full((16, 16), shade, dtype=np.uint8)) for shade in (40, 190)]
        return {"pixel_values": AutoImageProcessor.from_pretrained(folder)(images)["pixel_values"]}
    texts = ["12", "2212"] if name == "translator" else TEXTS
    return dict(AutoTokenizer.from_pretrained(folder)(texts, padding=True))


@torch.no_grad()
def answers_of(model: Any, inputs: dict[str, Any]) -> dict[str, list[Any]]:
    """The outputs of a model for inputs: its first output, and generated ids if it can generate."""
    model.eval()
    tensors = {key: torch.as_tensor(np.asarray(value)) for key, value in inputs.items()}
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    shown = dict(tensors)
    if model.config.is_encoder_decoder:
        shown["decoder_input_ids"] = torch.tensor([[1, 3, 2], [4, 1, 3]])
    answers = {"output": model(**shown)[0].tolist()}
    if model.can_generate():
        answers["written"] = model.generate(**tensors, max_new_tokens=5, num_beams=2, do_sample=False).tolist()
    return answers
