"""Over how many words do recurrent cells and attention remember? Trained on `builtin:recall`, without downloads.

    python benchmarks/recall.py --output outputs/recall/results.csv --models outputs/recall
    tl-toolkit explain --views memory --from_results outputs/recall/results.csv --output_dir outputs/memory

Every network has one layer and about 10,000 weights. For each network and distance, three learning rates are tried for
`--steps` updates, and judged by accuracy on the validation rows, then by the number of updates; three other seeds are
trained at the best rate and scored on the test rows. A run ends when the validation rows are solved. Finished runs are
kept in --output (csv), so the same command resumes. --models saves
the first seed of each network at distance 50, for `explain --views gradients`.
"""

from __future__ import annotations

import argparse
import csv
import re
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tl_toolkit.data.recall import LANGUAGES, splits
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.models import (
    RnnConfig,
    RnnForSequenceClassification,
    SelfAttentionConfig,
    SelfAttentionForSequenceClassification,
)

NETWORKS: dict[str, dict[str, Any]] = {
    "tanh": {"cell_type": "rnn_tanh", "hidden_size": 76},
    "tanh (uniform start)": {"cell_type": "rnn_tanh", "hidden_size": 76, "initialization": "uniform"},
    "ReLU": {"cell_type": "rnn_relu", "hidden_size": 76},
    "GRU": {"cell_type": "gru", "hidden_size": 39},
    "LSTM": {"cell_type": "lstm", "hidden_size": 32},
    "LSTM (uniform start)": {"cell_type": "lstm", "hidden_size": 32, "initialization": "uniform"},
    "tanh with attention": {"cell_type": "rnn_tanh", "hidden_size": 56, "pooling": "attention"},
    "self-attention": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
}
RATES = (3e-4, 1e-3, 3e-3)
SEEDS = (1, 2, 3)
BATCH, EVERY, SOLVED, SAVED = 32, 50, 0.995, 50
COLUMNS = ("dataset", "entry", "seed", "test.accuracy", "validation.accuracy", "learning_rate", "steps", "parameters",
           "seconds")  # fmt: skip


@cache
def encoded(distance: int) -> tuple[PreTrainedTokenizerBase, dict[str, tuple[Tensor, Tensor]]]:
    """The tokenizer, and by split token ids (rows, time) and labels (rows,); all texts have the same length."""
    rows = splits(distance)
    tokenizer = build_tokenizer("word", [row["text"] for row in rows["train"]])
    return tokenizer, {
        split: (
            tokenizer([row["text"] for row in own], return_tensors="pt")["input_ids"],
            torch.tensor([row["label"] for row in own]),
        )
        for split, own in rows.items()
    }


def make(network: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    named = dict(enumerate(LANGUAGES))
    shared: dict[str, Any] = {"vocab_size": len(tokenizer), "embedding_size": 32, "pad_token_id": 0, "id2label": named}
    if network == "self-attention":
        return SelfAttentionForSequenceClassification(SelfAttentionConfig(**shared, **NETWORKS[network]))
    return RnnForSequenceClassification(RnnConfig(**shared, **NETWORKS[network]))


@torch.no_grad()
def accuracy(model: PreTrainedModel, ids: Tensor, labels: Tensor) -> float:
    found = [model.eval()(input_ids=part).logits.argmax(1) for part in ids.split(250)]
    model.train()
    return (torch.cat(found) == labels).float().mean().item()


def train(network: str, distance: int, rate: float, seed: int, steps: int) -> tuple[PreTrainedModel, float, int]:
    """The trained model, its accuracy on validation rows, and its number of updates."""
    tokenizer, tensors = encoded(distance)
    torch.manual_seed(seed)
    model = make(network, tokenizer).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    ids, labels = tensors["train"]
    reached, done = 0.0, 0
    while done < steps and reached < SOLVED:
        for batch in torch.randperm(len(ids)).split(BATCH):
            model(input_ids=ids[batch], labels=labels[batch]).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            done += 1
            if done % EVERY == 0 or done == steps:
                reached = accuracy(model, *tensors["validation"])
                if reached >= SOLVED or done == steps:
                    break
    return model, reached, done


def finished(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--distances", type=int, nargs="+", default=[2, 10, 50, 100, 200])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    known = {(row["dataset"], row["entry"]) for row in finished(arguments.output)}
    for distance in arguments.distances:
        for network in arguments.networks:
            if (f"recall-{distance}", network) in known:
                continue
            start = time.process_time()
            trials = [(*train(network, distance, rate, 0, arguments.steps)[1:], rate) for rate in RATES]
            reached, steps, rate = max(trials, key=lambda trial: (trial[0], -trial[1]))
            lines = []
            for seed in SEEDS:
                model, reached, steps = train(network, distance, rate, seed, arguments.steps)
                tokenizer, tensors = encoded(distance)
                scored = accuracy(model, *tensors["test"])
                size = sum(parameter.numel() for parameter in model.parameters())
                lines.append([f"recall-{distance}", network, seed, scored, reached, rate, steps, size])
                if arguments.models and distance == SAVED and seed == SEEDS[0]:
                    folder = arguments.models / re.sub(r"\W+", "_", network).strip("_")
                    model.save_pretrained(folder)
                    tokenizer.save_pretrained(folder)
            seconds = round(time.process_time() - start, 1)
            new = not arguments.output.exists()
            with arguments.output.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerows([COLUMNS] * new + [[*line, seconds] for line in lines])
            told = ", ".join(f"{line[3]:.3f}" for line in lines)
            print(f"{distance} words, {network} ({size:,} weights), rate {rate:g}: {told} ({seconds} s)", flush=True)


if __name__ == "__main__":
    main()
