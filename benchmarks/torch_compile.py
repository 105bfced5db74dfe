"""What `torch.compile` with dynamic lengths saves in training, and what compiling costs.

    python benchmarks/torch_compile.py [--device cuda]

Each family trains on the same 30 batches of 32 rows with 8 to 63 tokens, twice without and twice with
`torch.compile(dynamic=True)`, on one CPU thread. The second pass is timed. The outputs must agree.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from tl_toolkit import (
    RnnConfig,
    RnnForSequenceClassification,
    SelfAttentionConfig,
    SelfAttentionForSequenceClassification,
)

SIZES: dict[str, Any] = {"vocab_size": 5000, "hidden_size": 128}
BERT = {"num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
MODELS = {
    "rnn (BiLSTM)": (RnnForSequenceClassification, RnnConfig, {"embedding_size": 100, "bidirectional": True}),
    "self_attention": (SelfAttentionForSequenceClassification, SelfAttentionConfig, {"embedding_size": 128}),
    "BERT, 4 layers": (BertForSequenceClassification, BertConfig, BERT),
}


def seconds(call: Any, model: torch.nn.Module, batches: list[dict[str, torch.Tensor]]) -> float:
    """Seconds of a pass of training over the batches."""
    optimizer, began = torch.optim.AdamW(model.parameters()), time.perf_counter()
    for batch in batches:
        loss = call(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began + 0 * float(loss)  # waits for the device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = 32
    chance = torch.Generator().manual_seed(1)
    batches = []
    for length in torch.randint(8, 64, (30,), generator=chance).tolist():
        ids = torch.randint(5, 5000, (32, length), generator=chance)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}
        batches.append({name: own.to(device) for name, own in batch.items()})
    for name, (kind, config, more) in MODELS.items():
        torch.manual_seed(0)
        model = kind(config(**SIZES, **more)).to(device)
        _, eager = seconds(model, model, batches), seconds(model, model, batches)
        compiled = torch.compile(model, dynamic=True)
        first, second = seconds(compiled, model, batches), seconds(compiled, model, batches)
        model.eval()
        with torch.no_grad():
            gap = (model(**batches[0]).logits - compiled(**batches[0]).logits).abs().max().item()
        print(
            f"{name:<16} a step {1000 * eager / 30:6.1f} ms, compiled {1000 * second / 30:6.1f} ms; compiling "
            f"{first - second:5.1f} s; largest difference {gap:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
