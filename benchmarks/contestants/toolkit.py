"""tl_toolkit through its own trainers and verbs."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rounds
import torch
from torch import nn
from transformers import PrinterCallback

from tl_toolkit import models
from tl_toolkit.config.arguments import DataArguments, RunArguments
from tl_toolkit.data.streams import Lanes, StreamWindows, TokenStream
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.tasks import make_task
from tl_toolkit.training.language_model_trainer import StreamTrainer
from tl_toolkit.training.trainer import BaseTrainer, ToolkitTrainer


def _arguments(batch: int, device: str, max_grad_norm: float = 1.0) -> RunArguments:
    return RunArguments(
        output_dir=tempfile.mkdtemp(), num_train_epochs=1, per_device_train_batch_size=batch, learning_rate=1e-3,
        eval_strategy="no", save_strategy="no", disable_tqdm=True, use_cpu=device == "cpu", log_level="error",
        train_sampling_strategy="sequential", max_grad_norm=max_grad_norm,
    )  # fmt: skip


def _epoch(trainer: BaseTrainer, work: int) -> rounds.Round:
    trainer.remove_callback(PrinterCallback)

    def epoch() -> int:
        trainer.train()
        if trainer.args.device.type == "cuda":
            torch.cuda.synchronize()
        return work

    return epoch


def trained(model: nn.Module, rows: int, batch: int, device: str, longest: int = 40) -> Callable[[], rounds.Round]:
    """Epochs of a classifier under our trainer."""
    from datasets import Dataset

    texts = [
        {"input_ids": text, "attention_mask": [1] * len(text), "length": len(text), "labels": int(label)}
        for ids, labels in rounds.buckets(rows, batch, longest)
        for text, label in zip([row[row != rounds.PAD].tolist() for row in ids], labels, strict=True)
    ]
    encoded, tokenizer = Dataset.from_list(texts), build_tokenizer("word", ["a b"] * 2, max_length=longest)
    assert tokenizer.pad_token_id == rounds.PAD
    task = make_task(DataArguments())
    collator = task.collator(tokenizer, model)

    def prepare() -> rounds.Round:
        arguments = _arguments(batch, device)
        trainer = ToolkitTrainer(model, arguments, task=task, train_dataset=encoded, data_collator=collator)
        return _epoch(trainer, rows)

    return prepare


def classifier(
    rows: int, batch: int, hidden: int, bidirectional: bool, device: str = "cpu"
) -> Callable[[], rounds.Round]:
    config = models.RnnConfig(
        vocab_size=rounds.WORDS, embedding_size=100, hidden_size=hidden, bidirectional=bidirectional, pooling="max",
        num_labels=rounds.LABELS,
    )  # fmt: skip
    return trained(models.RnnForSequenceClassification(config), rows, batch, device)


def awd_classifier(rows: int, batch: int, sizes: list[int], device: str = "cpu") -> Callable[[], rounds.Round]:
    config = _awd(sizes, rounds.WORDS, num_labels=rounds.LABELS)
    return trained(models.AwdLstmForSequenceClassification(config), rows, batch, device, longest=70)


def _awd(sizes: list[int], words: int, **others: Any) -> models.AwdLstmConfig:
    embedding, hidden, layers = sizes
    return models.AwdLstmConfig(
        vocab_size=words, embedding_size=embedding, hidden_size=hidden, num_hidden_layers=layers, **others
    )


def language_model(
    windows: int, batch: int, window: int, sizes: list[int], words: int = rounds.WORDS, device: str = "cpu"
) -> Callable[[], rounds.Round]:
    model = models.AwdLstmForCausalLM(_awd(sizes, words))
    tokens = windows * window * batch
    lanes = Lanes(TokenStream(rounds.stream(tokens, words).astype("int32"), 0, 1, tokens, 0), batch)

    def prepare() -> rounds.Round:
        read = StreamWindows(lanes, groups=1, window_length=window, random_lengths=False, seed=1)
        arguments = _arguments(batch, device, max_grad_norm=0.25)
        return _epoch(StreamTrainer(model, arguments, train_dataset=read), tokens)

    return prepare


def _translator(attention: dict[str, Any], hidden: int, words: int, device: str) -> Any:
    config = models.RnnEncoderDecoderConfig(
        vocab_size=words, share_embeddings=False, embedding_size=hidden, hidden_size=hidden,
        bidirectional_encoder=True, pad_token_id=rounds.PAD, decoder_start_token_id=2, **attention,
    )  # fmt: skip
    return models.RnnEncoderDecoderForConditionalGeneration(config).to(device)


def translation(
    attention: dict[str, Any], batch: int, hidden: int, words: int = 8000, device: str = "cpu"
) -> Callable[[], rounds.Round]:
    model = _translator(attention, hidden, words, device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step(pair: Any) -> int:
        sources, targets = (torch.from_numpy(side).to(device) for side in pair)
        labels = targets.masked_fill(targets == rounds.PAD, -100)
        model(sources, attention_mask=(sources != rounds.PAD).long(), labels=labels).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return int((targets != rounds.PAD).sum())

    return rounds.train_in_turn(step, list(rounds.pairs(12, batch, words)), 4)


def beam(
    attention: dict[str, Any], batch: int, hidden: int, words: int = 8000, beams: int = 5, device: str = "cpu"
) -> Callable[[], rounds.Round]:
    """Texts of 15 tokens, because no model is trained to end them."""
    model = _translator(attention, hidden, words, device).eval()

    def search(pair: Any) -> int:
        sources = torch.from_numpy(pair[0]).to(device)
        mask = (sources != rounds.PAD).long()
        found = model.generate(sources, attention_mask=mask, num_beams=beams, max_new_tokens=15, do_sample=False)
        assert found.shape[1] == 16
        return batch

    return rounds.train_in_turn(search, list(rounds.pairs(6, batch, words)), max(2, 32 // batch))


def _predictor(model: str, file: str) -> tuple[Any, Any]:
    from tl_toolkit.workflows import predict as workflow

    given = {"model_name_or_path": model, "dataset_name": file, "output_dir": tempfile.mkdtemp(), "use_cpu": True}
    arguments = workflow.parse_predict_arguments({**given, "disable_tqdm": True, "overwrite_output_dir": True})
    return workflow, arguments


def predict(model: str, file: str, rows: int) -> Callable[[], rounds.Round]:
    """`tl-toolkit predict` without imports and without loading the model."""

    def prepare() -> rounds.Round:
        workflow, arguments = _predictor(model, file)
        loaded = workflow.Predictor(arguments)

        def write() -> int:
            original, workflow.Predictor = workflow.Predictor, lambda _: loaded
            try:
                with contextlib.redirect_stderr(None):
                    workflow.write_predictions(arguments)
            finally:
                workflow.Predictor = original
            return rows

        return write

    return prepare


def latency(model: str, file: str, rows: int) -> Callable[[], rounds.Round]:
    """One row of token ids at a time, from a list to logits."""
    loaded = models.RnnForSequenceClassification.from_pretrained(model).eval()
    texts = json.loads(Path(f"{file}.ids.json").read_text())[:rows]

    @torch.inference_mode()
    def one_by_one() -> int:
        for text in texts:
            loaded(torch.tensor([text])).logits  # noqa: B018
        return len(texts)

    return lambda: one_by_one


if __name__ == "__main__":
    rounds.run(
        classifier=classifier, awd_classifier=awd_classifier, language_model=language_model, translation=translation,
        beam=beam, predict=predict, latency=latency,
    )  # fmt: skip
