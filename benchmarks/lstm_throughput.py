"""Training speed of the LSTM classifier against plain PyTorch loops over `nn.LSTM`, on the same batches.

    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/lstm_throughput.py [--shuffled] [--device cuda]

Batches have texts of similar length, or with `--shuffled`, of any. One plain loop packs its batches, the other leaves
them padded, which is faster on a CPU. In turn with them, in a random order in each round, run our model in the same
loop, and our model under `ToolkitTrainer`, as in `tl-toolkit finetune`, which also makes its batches. Prints the median
of rows per second of processor time (on a GPU, of time), and the ratio to the padded loop with its range over the
rounds; above 1 is faster.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.models import RnnConfig, RnnForSequenceClassification

VOCABULARY, EMBEDDING, HIDDEN, LABELS, BATCH, LONGEST = 10_000, 100, 128, 2, 32, 40


class PlainClassifier(nn.Module):
    """Embedding, `nn.LSTM` over packed or padded batches, maximum over time, linear layer."""

    def __init__(self, hidden_size: int, layers: int, bidirectional: bool, packs: bool) -> None:
        super().__init__()
        self.packs = packs
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING, padding_idx=0)
        self.lstm = nn.LSTM(EMBEDDING, hidden_size, layers, batch_first=True, bidirectional=bidirectional)
        self.classifier = nn.Linear(hidden_size * (2 if bidirectional else 1), LABELS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        inputs: Any = self.embedding(input_ids)
        if self.packs:
            lengths = attention_mask.sum(1).cpu()
            inputs = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        output, _ = self.lstm(inputs)
        if self.packs:
            output, _ = pad_packed_sequence(output, batch_first=True)
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


def clock(device: str) -> float:
    """Seconds of this process's processor time; on a GPU, of time."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def train(model: nn.Module, batches: list[dict[str, Tensor]], device: str) -> float:
    """Seconds for one epoch with AdamW and clipping, as in Trainer."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    model.train()
    start = clock(device)
    for batch in batches:
        output = model(**{name: value.to(device) for name, value in batch.items()})
        loss = output if isinstance(output, Tensor) else output.loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return clock(device) - start


def train_with_trainer(model: nn.Module, rows: Any, tokenizer: Any, device: str, batch_size: int = BATCH) -> float:
    """Seconds that `ToolkitTrainer` takes for one pass over the same batches, which it makes from `rows`."""
    from transformers import PrinterCallback

    from tl_toolkit.config.arguments import DataArguments, RunArguments
    from tl_toolkit.tasks import make_task
    from tl_toolkit.training.trainer import ToolkitTrainer

    with tempfile.TemporaryDirectory() as folder:
        args = RunArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=batch_size, learning_rate=1e-3,
            eval_strategy="no", save_strategy="no", disable_tqdm=True, use_cpu=device == "cpu", log_level="error",
            train_sampling_strategy="sequential",
        )  # fmt: skip
        task = make_task(DataArguments())
        trainer = ToolkitTrainer(
            model, args, task=task, train_dataset=rows, data_collator=task.collator(tokenizer, model)
        )
        trainer.remove_callback(PrinterCallback)
        start = clock(device)
        trainer.train()
        return clock(device) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--hidden_size", type=int, default=HIDDEN)
    parser.add_argument("--batch_size", type=int, default=BATCH)
    parser.add_argument("--shuffled", action="store_true")
    options = parser.parse_args()
    size = options.batch_size
    rows = make_rows(options.batches * size, torch.Generator().manual_seed(1))
    if not options.shuffled:
        rows.sort(key=lambda row: len(row["input_ids"]))
        starts = list(range(0, len(rows), size))
        random.Random(1).shuffle(starts)
        rows = [row for start in starts for row in rows[start : start + size]]
    batches = [collate(rows[start : start + size]) for start in range(0, len(rows), size)]
    encoded, tokenizer = Dataset.from_list(rows), build_tokenizer("word", ["a b"] * 2, max_length=LONGEST)
    print(f"{torch.get_num_threads()} threads on {options.device}; batches of {size}, 5 to {LONGEST} tokens")
    for layers, bidirectional in ((1, False), (1, True), (2, True)):
        config = RnnConfig(
            vocab_size=VOCABULARY, embedding_size=EMBEDDING, hidden_size=options.hidden_size, num_hidden_layers=layers,
            bidirectional=bidirectional, pooling="max", num_labels=LABELS, embedding_dropout=0.0, hidden_dropout=0.0,
            classifier_dropout=0.0,
        )  # fmt: skip
        ours = RnnForSequenceClassification(config).to(options.device)
        padded, packed = (
            PlainClassifier(options.hidden_size, layers, bidirectional, packs).to(options.device)
            for packs in (False, True)
        )
        contestants: dict[str, Callable[[], float]] = {
            "padded loop": partial(train, padded, batches, options.device),
            "packed loop": partial(train, packed, batches, options.device),
            "ours, same loop": partial(train, ours, batches, options.device),
            "ours, ToolkitTrainer": partial(train_with_trainer, ours, encoded, tokenizer, options.device, size),
        }
        rounds = []
        for number in range(options.rounds + 1):
            taken = {name: contestants[name]() for name in random.sample(list(contestants), len(contestants))}
            print(".", end="", file=sys.stderr, flush=True)
            rounds += [taken] if number else []  # the first round warms up
        print(file=sys.stderr)
        title = f"{layers} layer{'s' if layers > 1 else ''}, {'two directions' if bidirectional else 'one direction'}"
        for name in contestants:
            ratios = [taken["padded loop"] / taken[name] for taken in rounds]
            rate = len(rows) / median(taken[name] for taken in rounds)
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"{title:<24} {name:<22} {rate:8.0f} rows/s   {median(ratios):5.2f} x ({spread})")


if __name__ == "__main__":
    main()
