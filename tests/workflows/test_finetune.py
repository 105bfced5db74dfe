from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTimeSeriesPrediction,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.loading.names import loading
from tl_toolkit.training.trainer import NonFiniteLoss

Finetune = Callable[..., dict]
SCRATCH = {
    "rnn": "embedding_size=7,hidden_size=13,num_hidden_layers=1",
    "self_attention": "embedding_size=8,hidden_size=8,num_hidden_layers=1,num_attention_heads=2",
    "bert": "hidden_size=8,num_hidden_layers=1,num_attention_heads=2,intermediate_size=11",
    "gpt2": "n_embd=8,n_layer=1,n_head=2",
}


@pytest.fixture
def bert_checkpoint(tmp_path: Path, dataset_folder: Path) -> Path:
    """A tiny BERT without a trained head, in half precision like many Hub checkpoints, with its tokenizer."""
    texts = pd.read_parquet(dataset_folder / "train.parquet")["text"]
    tokenizer: PreTrainedTokenizerFast = build_tokenizer("word", texts, max_length=64)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=17,
        num_labels=7,
        pad_token_id=tokenizer.pad_token_id,
    )
    folder = tmp_path / "checkpoint"
    BertForSequenceClassification(config).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("model_type", SCRATCH)
def test_a_run_writes_a_model_predictions_and_a_record(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, model_type: str
) -> None:
    record = finetune(model_type=model_type, config_overrides=SCRATCH[model_type], label_budget=30, learning_rate=0.01)
    assert record == json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["status"] == "completed"
    assert record["budget"]["train_labels"] == 30
    assert record["dataset"]["rows"] == {"train": 30, "validation": 31, "test": 47}
    assert record["hardware"]["world_size"] == 1
    assert record["cost"]["parameters"]["total"] == record["cost"]["parameters"]["trained"] > 0
    assert record["cost"]["train_seconds"] > 0

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "fruit", 1: "metal", 2: "river"}
    predictions = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    texts = pd.read_parquet(dataset_folder / "test.parquet")
    assert predictions["text"].tolist() == texts["text"].tolist()
    with torch.no_grad():  # one text at a time: padding and row order did not change a prediction
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts["text"]]
    np.testing.assert_allclose(np.stack(predictions["scores"]), torch.stack(logits).softmax(-1), atol=1e-5)
    accuracy = (predictions["prediction"] == predictions["label"]).mean()
    assert record["metrics"]["test"]["accuracy"] == pytest.approx(accuracy)
    loss = torch.nn.functional.cross_entropy(torch.stack(logits), torch.tensor(predictions["label"])).item()
    assert record["metrics"]["test"]["loss"] == pytest.approx(loss, abs=1e-5)


def test_a_model_learns_an_easy_task(finetune: Finetune, tiny_rnn: dict) -> None:
    record = finetune(**tiny_rnn, num_train_epochs=15, learning_rate=0.02)
    assert record["metrics"]["test"]["accuracy"] > 0.9


def test_the_best_model_is_kept(finetune: Finetune, tiny_rnn: dict) -> None:
    record = finetune(**tiny_rnn, num_train_epochs=6, learning_rate=0.02)
    evaluations = [entry["eval_accuracy"] for entry in record["history"] if "eval_accuracy" in entry]
    assert len(evaluations) == 6
    assert record["metrics"]["validation"]["accuracy"] == max(evaluations)


def test_batches_of_similar_lengths(finetune: Finetune, tiny_rnn: dict) -> None:
    settings = {**tiny_rnn, "num_train_epochs": 15, "learning_rate": 0.02, "per_device_train_batch_size": 6}
    record = finetune(**settings, train_sampling_strategy="group_by_length")
    assert record["metrics"]["test"]["accuracy"] > 0.9


def test_early_stopping_and_min_train_steps(finetune: Finetune, tiny_rnn: dict) -> None:
    record = finetune(**tiny_rnn, num_train_epochs=50, early_stopping_patience=2, learning_rate=0.0001)
    assert record["cost"]["epochs"] < 50
    record = finetune("more", **tiny_rnn, num_train_epochs=1, min_train_steps=20)
    assert record["cost"]["steps"] == 24  # whole epochs of six updates


def test_a_loss_that_is_not_finite_stops_the_run(finetune: Finetune, tmp_path: Path, tiny_rnn: dict) -> None:
    with pytest.raises(NonFiniteLoss, match="learning_rate"):
        finetune(**tiny_rnn, optim="sgd", learning_rate=1e38, max_grad_norm=0, num_train_epochs=6)
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["status"] == "failed"
    assert "loss was" in record["error"]
    assert not list((tmp_path / "out").glob("model*.safetensors"))
    assert not list((tmp_path / "out").glob("checkpoint-*"))  # the first step diverged, and no state of it was saved


@pytest.mark.parametrize("task", ["text-classification", "multi-label", "regression"])
def test_gradient_accumulation_trains_the_same_model(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, tiny_rnn: dict, task: str
) -> None:
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        if task == "regression":
            frame["label"] = frame["text"].str.len() / 10.0
        elif task == "multi-label":
            frame["label"] = [
                [label, "long"] if len(text) > 30 else [label] for label, text in frame.to_numpy()[:, ::-1]
            ]
        frame.to_parquet(path)
    name = {"multi-label": "text-classification"}.get(task, task)
    # 66 rows in batches of 16: the last batch has two rows, split unevenly over the accumulation steps
    common = {**tiny_rnn, "task": name, "optim": "sgd", "learning_rate": 0.5, "load_best_model_at_end": False}
    finetune("whole", **common, per_device_train_batch_size=16)
    finetune("parts", **common, per_device_train_batch_size=4, gradient_accumulation_steps=4)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    for weight in whole:
        torch.testing.assert_close(parts[weight], whole[weight], atol=1e-5, rtol=1e-4)


def test_frozen_changes_the_head_only(finetune: Finetune, tmp_path: Path, bert_checkpoint: Path) -> None:
    record = finetune(model_name_or_path=str(bert_checkpoint), strategy="frozen", load_best_model_at_end=False)
    assert 0 < record["cost"]["parameters"]["trained"] < record["cost"]["parameters"]["total"]
    before, after = (load_file(f / "model.safetensors") for f in (bert_checkpoint, tmp_path / "out"))
    for name, weight in after.items():
        if name.startswith(("bert.embeddings", "bert.encoder")):
            assert torch.equal(weight, before[name].float())
    assert not torch.equal(after["bert.pooler.dense.weight"], before["bert.pooler.dense.weight"].float())


def test_full_trains_every_weight_in_float32(finetune: Finetune, tmp_path: Path, bert_checkpoint: Path) -> None:
    finetune(model_name_or_path=str(bert_checkpoint), load_best_model_at_end=False, learning_rate=0.01)
    before, after = (load_file(f / "model.safetensors") for f in (bert_checkpoint, tmp_path / "out"))
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    assert after["classifier.weight"].shape == (3, 12)  # a new head for the labels of this dataset
    unchanged = [name for name in after if name in before and torch.equal(after[name], before[name].float())]
    assert unchanged == []


@pytest.mark.parametrize("kind", ["bert", "rnn"])
def test_lora_saves_an_adapter_and_the_merged_model(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert_checkpoint: Path, tiny_rnn: dict, kind: str
) -> None:
    from peft import PeftModel

    base = bert_checkpoint
    if kind == "rnn":
        finetune("base", **tiny_rnn)
        base = tmp_path / "base"
    record = finetune(model_name_or_path=str(base), strategy="lora", lora_r=2, learning_rate=0.05)
    assert 0 < record["cost"]["parameters"]["trained"] < record["cost"]["parameters"]["total"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert not any("lora" in name for name, _ in merged.named_parameters())
    fresh = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=3, ignore_mismatched_sizes=True, dtype=torch.float32
    )
    untouched = {name: weight.clone() for name, weight in fresh.state_dict().items()}
    adapted = PeftModel.from_pretrained(fresh, tmp_path / "out" / "adapter").eval()
    batch = tokenizer(
        pd.read_parquet(dataset_folder / "test.parquet")["text"].tolist()[:5], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        torch.testing.assert_close(adapted(**batch).logits, merged(**batch).logits, atol=1e-5, rtol=1e-4)
    adapted_weight = "rnn" if kind == "rnn" else "attention.self.query.weight"
    changed = [n for n, w in merged.state_dict().items() if adapted_weight in n and not torch.equal(w, untouched[n])]
    assert changed


def test_the_metrics_of_regression(finetune: Finetune, dataset_folder: Path, tiny_rnn: dict) -> None:
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        frame["label"] = frame["text"].str.count("old") + 0.5
        frame.to_parquet(path)
    record = finetune(**tiny_rnn, task="regression")
    assert set(record["metrics"]["test"]) == {"loss", "pearson", "spearman", "mse", "mae"}
    assert record["metrics"]["test"]["loss"] == pytest.approx(record["metrics"]["test"]["mse"], rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["--model_name_or_path", "--model_type"]),
        ({"model_type": "rnn", "model_name_or_path": "x/y"}, ["both"]),
        ({"model_type": "rnn", "strategy": "full"}, ["full", "rnn"]),
        ({"model_name_or_path": "./nowhere"}, ["./nowhere"]),
        ({"model_type": "rnm"}, ["rnm", "rnn", "rnn_encoder_decoder", "rnn_image_captioner"]),
        ({"model_type": "rnn", "config_overrides": "hidden_size=0"}, ["hidden_size"]),
        ({"model_type": "rnn", "tokenizer_name": "./nowhere"}, ["./nowhere"]),
        ({"model_type": "rnn", "vectors": "nowhere.txt"}, ["nowhere.txt"]),
        ({"model_type": "t5"}, ["t5", "encoder-decoder"]),
        ({"model_type": "rnn", "config_overrides": "problem_type=regression"}, ["problem_type"]),
        ({"model_type": "rnn", "config_overrides": "cell_type=@lstm"}, ["@lstm", "lstm"]),
        ({"model_type": "rnn", "per_device_train_batch_size": 0}, ["per_device_train_batch_size"]),
        ({"model_type": "rnn", "num_train_epochs": -1}, ["num_train_epochs"]),
        ({"model_type": "rnn", "max_length": -3}, ["max_length"]),
        ({"model_type": "rnn", "lr_scheduler_type": "cosine_with_min_lr"}, ["min_lr"]),
        ({"model_type": "rnn", "label_budget": 1000}, ["1000", "66"]),
        ({"model_type": "rnn", "label_column": "lable"}, ["lable", "label"]),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    finetune: Finetune, tmp_path: Path, settings: dict, names: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        finetune(**settings)
    message = str(caught.value).replace(",", "")
    assert all(name in message for name in names), message
    assert "\n" not in message
    assert not list(tmp_path.glob("out/*"))


def test_the_error_for_an_architecture_without_the_head_is_short(finetune: Finetune) -> None:
    with pytest.raises(UserError, match="ViTConfig.*no head for AutoModelForSequenceClassification") as caught:
        finetune(model_type="vit", config_overrides="hidden_size=12,num_hidden_layers=1,num_attention_heads=2")
    assert len(str(caught.value)) < 300
    with pytest.raises(UserError, match="AutoModelForTimeSeriesPrediction; rnn has one"):
        loading(lambda: AutoModelForTimeSeriesPrediction.from_config(BertConfig()), "a model")


def test_a_checkpoint_of_another_architecture_is_refused(
    finetune: Finetune, tmp_path: Path, tiny_rnn: dict, bert_checkpoint: Path
) -> None:
    config = json.loads((bert_checkpoint / "config.json").read_text())
    (bert_checkpoint / "config.json").write_text(json.dumps({**config, "intermediate_size": 19}))
    with pytest.raises(UserError, match="do not match its configuration .BertForSequenceClassification."):
        finetune(model_name_or_path=str(bert_checkpoint))
    finetune("first", **tiny_rnn)
    checkpoint = next((tmp_path / "first").glob("checkpoint-*"))
    other = {"model_type": "rnn", "config_overrides": "embedding_size=7,hidden_size=11,num_hidden_layers=1"}
    with pytest.raises(UserError, match="hidden_size of the model .*: was 13, is now 11"):
        finetune("second", **other, resume_from_checkpoint=str(checkpoint))
    (checkpoint / "identity.json").unlink()  # as in the first version
    with pytest.raises(UserError, match="does not match this run's RnnForSequenceClassification"):
        finetune("second", **other, resume_from_checkpoint=str(checkpoint))


def test_an_unfinished_run_is_not_overwritten_by_default(finetune: Finetune, tmp_path: Path, tiny_rnn: dict) -> None:
    finetune(**tiny_rnn)
    (tmp_path / "out" / "result.json").unlink()  # as after a kill
    with pytest.raises(UserError, match="--resume_from_checkpoint.*--overwrite_output_dir"):
        finetune(**tiny_rnn)
    assert finetune(**tiny_rnn, overwrite_output_dir=True)["status"] == "completed"
    assert finetune(**tiny_rnn)["status"] == "completed"  # a finished run may be rerun


def test_weights_from_elsewhere_are_kept(finetune: Finetune, bert_checkpoint: Path) -> None:
    weights = (bert_checkpoint / "model.safetensors").read_bytes()
    for place in (bert_checkpoint, bert_checkpoint.parent):
        with pytest.raises(UserError, match="is in its own --output_dir"):
            finetune(model_name_or_path=str(bert_checkpoint), output_dir=str(place))
    with pytest.raises(UserError, match="contains a model"):
        finetune(model_type="rnn", output_dir=str(bert_checkpoint))
    assert (bert_checkpoint / "model.safetensors").read_bytes() == weights


def test_an_error_does_not_delete_a_finished_run(finetune: Finetune, tmp_path: Path, tiny_rnn: dict) -> None:
    finetune(**tiny_rnn)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    before = {path.name for path in (tmp_path / "out").iterdir()}
    with pytest.raises(UserError, match="txet"):
        finetune(**tiny_rnn, text_column="txet")
    with pytest.raises(UserError, match="learning_rate"):
        finetune(**tiny_rnn, learning_rate=-1)
    assert {path.name for path in (tmp_path / "out").iterdir()} == before
    finetune(**tiny_rnn)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_saved_files_contain_no_token_and_no_pickle(finetune: Finetune, tmp_path: Path, tiny_rnn: dict) -> None:
    finetune(**tiny_rnn, hub_token="hf_secret_secret")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any(path.name == "optimizer.pt" for path in files)
    assert not any(b"hf_secret_secret" in path.read_bytes() for path in files)
    assert not any(path.name == "training_args.bin" for path in files)


def test_a_tokenizer_of_another_model_is_refused(finetune: Finetune, tmp_path: Path, bert_checkpoint: Path) -> None:
    build_tokenizer("bpe", ["some text"], vocab_size=300).save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="belongs to another model"):
        finetune(model_name_or_path=str(bert_checkpoint), tokenizer_name=str(tmp_path / "other"))


def test_a_test_split_without_labels_is_not_used(finetune: Finetune, dataset_folder: Path, tiny_rnn: dict) -> None:
    path = dataset_folder / "test.parquet"
    pd.read_parquet(path)[["text"]].to_parquet(path)
    (dataset_folder / "dataset").mkdir()
    from datasets import Dataset, DatasetDict

    splits = {
        name: Dataset.from_parquet(str(dataset_folder / f"{name}.parquet")) for name in ("train", "validation", "test")
    }
    DatasetDict(splits).save_to_disk(str(dataset_folder / "dataset"))
    record = finetune(**tiny_rnn, dataset_name=str(dataset_folder / "dataset"))
    assert (record["dataset"]["test_from"], record["dataset"]["validation_from"]) == ("validation", "train")


def test_a_run_killed_in_its_first_save_restarts(finetune: Finetune, tmp_path: Path, tiny_rnn: dict) -> None:
    torn = tmp_path / "out" / "checkpoint-6"
    torn.mkdir(parents=True)
    (torn / "model.safetensors").write_bytes(b"half of it")
    assert finetune(**tiny_rnn, resume_from_checkpoint="true")["status"] == "completed"


@pytest.mark.parametrize("settings", [{"report_to": "nowhere"}, {"metric_for_best_model": "acuracy"}])
def test_an_error_of_the_trainer_is_one_paragraph(finetune: Finetune, tiny_rnn: dict, settings: dict) -> None:
    with pytest.raises(UserError, match=next(iter(settings.values()))):
        finetune(**tiny_rnn, **settings)


def test_a_model_with_offset_positions_reads_its_longest_text(finetune: Finetune, dataset_folder: Path) -> None:
    sizes = "hidden_size=8,num_hidden_layers=1,num_attention_heads=2,intermediate_size=11,max_position_embeddings=6"
    record = finetune(model_type="roberta", config_overrides=sizes, num_train_epochs=1)
    assert record["status"] == "completed"


def test_a_resumed_run_equals_the_uninterrupted_run(finetune: Finetune, tmp_path: Path, tiny_rnn: dict) -> None:
    """With dropout, from the middle of an epoch, with the last checkpoint incomplete after a kill."""
    settings = {
        "model_type": "rnn",
        "config_overrides": tiny_rnn["config_overrides"] + ",classifier_dropout=0.3",
        "num_train_epochs": 3,
        "eval_strategy": "steps",
        "eval_steps": 4,
        "save_strategy": "steps",
        "save_steps": 4,
        "logging_steps": 1,
        "save_total_limit": 10,
    }
    whole = finetune("whole", **settings)
    finetune("resumed", **settings)
    for name in ("result.json", "model.safetensors"):
        (tmp_path / "resumed" / name).unlink()
    for step in (12, 16):  # as after a kill in the save of checkpoint-12: it is incomplete, later ones are missing
        folder = tmp_path / "resumed" / f"checkpoint-{step}"
        for file in folder.iterdir():
            if step == 16 or file.name in ("trainer_state.json", "scheduler.pt"):
                file.unlink()
    resumed = finetune("resumed", **settings, resume_from_checkpoint="true")
    keys = ("step", "loss", "eval_loss")
    histories = [[{k: e[k] for k in keys if k in e} for e in r["history"]] for r in (whole, resumed)]
    assert histories[0] == histories[1]
    assert sum(math.isfinite(e.get("loss", math.nan)) for e in histories[1]) == 18
    assert resumed["metrics"] == whole["metrics"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_arguments_of_a_record_repeat_the_run(finetune: Finetune, tiny_rnn: dict) -> None:
    """They are the given arguments; the values that the run derived from them are in `resolved`."""
    record = finetune(**tiny_rnn, num_train_epochs=1, min_train_steps=25, label_budget=13, seed=5)
    given = record["arguments"]
    assert (given["num_train_epochs"], given["min_train_steps"]) == (1, 25) and "learning_rate" not in given
    assert record["resolved"]["learning_rate"] == 5e-3
    assert record["resolved"]["num_train_epochs"] == 13  # of two updates
    again = finetune("again", **given)
    assert again["arguments"] == given and again["resolved"] == record["resolved"]
    assert again["metrics"] == record["metrics"]
    assert again["budget"]["constant_answer"] == record["budget"]["constant_answer"] in (0, 1, 2)
