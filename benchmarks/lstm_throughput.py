"""Training speed of the LSTM classifier against a plain PyTorch loop over `nn.LSTM`, on the same batches.

    python benchmarks/lstm_throughput.py [--device cuda]

The plain loop packs its padded batches, as careful users of `nn.LSTM` do. Three runs alternate round by round: the
plain loop, our model in the same loop, and our model under `ToolkitTrainer`, as in `tl-toolkit finetune`. Prints rows
per second and their ratio to the plain loop; above 1 is faster than plain PyTorch.
Takes about three minutes on two CPU cores; each dot is a round.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tl_toolkit.models import RnnConfig, RnnForSequenceClassification

VOCABULARY, EMBEDDING, HIDDEN, LABELS, BATCH, LONGEST = 10_000, 100, 128, 2, 32, 40


class PlainClassifier(nn.Module):
    """Embedding, `nn.LSTM` over packed batches, maximum over time, linear layer."""

    def __init__(self, layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING, padding_idx=0)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, layers, batch_first=True, bidirectional=bidirectional)
        self.classifier = nn.Linear(HIDDEN * (2 if bidirectional else 1), LABELS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        lengths = attention_mask.sum(1).cpu()
        packed = pack_padded_sequence(self.embedding(input_ids), lengths, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        output = output.masked_fill(~attention_mask[:, : output.shape[1], None].bool(), float("-inf"))
        return nn.functional.cross_entropy(self.classifier(output.amax(1)), labels)


def make_rows(count: int, generator: torch.Generator) -> list[dict[str, Any]]:
    lengths = torch.randint(5, LONGEST + 1, (count,), generator=generator).tolist()
    return [
        {
            "input_ids": torch.randint(4, VOCABULARY, (length,), generator=generator).tolist(),
            "attention_mask": [1] * length,
            "labels": row % LABELS,
        }
        for row, length in enumerate(lengths)
    ]


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    padded = {
        name: torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in rows])
        for name in ("input_ids", "attention_mask")
    }
    return {**padded, "labels": torch.tensor([row["labels"] for row in rows])}


def train(model: nn.Module, batches: list[dict[str, Tensor]], device: str) -> float:
    """Seconds for one epoch with AdamW and clipping, as in Trainer."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    model.train()
    start = time.perf_counter()
    for batch in batches:
        output = model(**{name: value.to(device) for name, value in batch.items()})
        loss = output if isinstance(output, Tensor) else output.loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def train_with_trainer(model: nn.Module, rows: list[dict[str, Any]], device: str) -> float:
    """Seconds that `ToolkitTrainer` takes for one pass over the same rows in the same order."""
    from transformers import PrinterCallback

    from tl_toolkit.config.arguments import DataArguments, RunArguments
    from tl_toolkit.tasks import make_task
    from tl_toolkit.training.trainer import ToolkitTrainer

    with tempfile.TemporaryDirectory() as folder:
        args = RunArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-3,
            eval_strategy="no", save_strategy="no", disable_tqdm=True, use_cpu=device == "cpu", log_level="error",
            train_sampling_strategy="sequential",
        )  # fmt: skip
        trainer = ToolkitTrainer(
            model, args, task=make_task(DataArguments()), train_dataset=rows, data_collator=collate,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=60)
    options = parser.parse_args()
    rows = make_rows(options.batches * BATCH, torch.Generator().manual_seed(1))
    batches = [collate(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
    print(f"{torch.get_num_threads()} threads on {options.device}; batches of {BATCH}, 5 to {LONGEST} tokens")
    for layers, bidirectional in ((1, False), (1, True), (2, True)):
        plain = PlainClassifier(layers, bidirectional).to(options.device)
        config = RnnConfig(
            vocab_size=VOCABULARY, embedding_size=EMBEDDING, hidden_size=HIDDEN, num_hidden_layers=layers,
            bidirectional=bidirectional, pooling="max", num_labels=LABELS, embedding_dropout=0.0, hidden_dropout=0.0,
            classifier_dropout=0.0,
        )  # fmt: skip
        ours = RnnForSequenceClassification(config).to(options.device)
        times: dict[str, list[float]] = {"plain nn.LSTM loop": [], "ours, same loop": [], "ours, ToolkitTrainer": []}
        for round_ in range(options.rounds + 1):
            taken = (
                train(plain, batches, options.device),
                train(ours, batches, options.device),
                train_with_trainer(ours, rows, options.device),
            )
            print(".", end="", file=sys.stderr, flush=True)
            if round_:  # the first round warms up
                for name, seconds in zip(times, taken, strict=True):
                    times[name].append(seconds)
        print(file=sys.stderr)
        name = f"{layers} layer{'s' if layers > 1 else ''}, {'two directions' if bidirectional else 'one direction'}"
        base = sorted(times["plain nn.LSTM loop"])[options.rounds // 2]
        for run, seconds_ in times.items():
            median = sorted(seconds_)[options.rounds // 2]
            print(f"{name:<24} {run:<22} {len(rows) / median:8.0f} rows/s   {base / median:5.2f} x")


if __name__ == "__main__":
    main()
