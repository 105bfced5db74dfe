"""Plain loops in PyTorch, as careful users write them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rounds
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Classifier(nn.Module):
    """Embedding, `nn.LSTM` over padded or packed batches, maximum over the real tokens, linear layer."""

    def __init__(self, hidden: int, bidirectional: bool, packs: bool = False, embedding: int = 100) -> None:
        super().__init__()
        self.packs = packs
        self.embedding = nn.Embedding(rounds.WORDS, embedding, padding_idx=rounds.PAD)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=bidirectional)
        self.classifier = nn.Linear(hidden * (2 if bidirectional else 1), rounds.LABELS)

    def forward(self, ids: Tensor) -> Tensor:
        is_token = ids != rounds.PAD
        hidden = self.embedding(ids)
        if self.packs:
            packed = pack_padded_sequence(hidden, is_token.sum(1).cpu(), batch_first=True, enforce_sorted=False)
            hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        else:
            hidden, _ = self.lstm(hidden)
        return self.classifier(hidden.masked_fill(~is_token[..., None], -torch.inf).amax(1))


def classifier(
    rows: int, batch: int, hidden: int, bidirectional: bool, packs: bool, device: str = "cpu"
) -> Callable[[], rounds.Round]:
    return trained(Classifier(hidden, bidirectional, packs), rows, batch, device)


def trained(model: nn.Module, rows: int, batch: int, device: str) -> Callable[[], rounds.Round]:
    """Epochs of a model that maps ids to logits."""
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    # Rows as a dataset has them; batches are padded in the round, as in the trainers.
    texts = [
        ([torch.from_numpy(row[row != rounds.PAD]) for row in ids], torch.from_numpy(labels))
        for ids, labels in rounds.buckets(rows, batch)
    ]

    def epoch() -> int:
        for own, labels in texts:
            ids = nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=rounds.PAD).to(device)
            nn.functional.cross_entropy(model(ids), labels.to(device)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        return rows

    return lambda: epoch


def _loaded(model: str) -> tuple[nn.Module, nn.Module, nn.Module, dict[str, object]]:
    """Embedding, LSTM and head of a saved classifier with max pooling."""
    from safetensors.torch import load_file

    config = json.loads((Path(model) / "config.json").read_text())
    assert config["pooling"] == "max" and config["num_hidden_layers"] == 1 and not config["bidirectional"]
    weights = load_file(Path(model) / "model.safetensors")
    embedding = nn.Embedding.from_pretrained(weights["rnn.embedding.weight"])
    lstm = nn.LSTM(config["embedding_size"], config["hidden_size"], batch_first=True)
    lstm.load_state_dict(
        {name.rsplit(".", 1)[1]: value for name, value in weights.items() if name.endswith("_l0") and "rnn." in name}
    )
    labels, size = weights["classifier.weight"].shape
    head = nn.Linear(size, labels)
    head.load_state_dict({name: weights[f"classifier.{name}"] for name in ("weight", "bias")})
    return embedding, lstm, head, config


def predict(model: str, file: str, rows: int) -> Callable[[], rounds.Round]:
    """Reads the file, predicts batches of 64 texts of similar lengths, and writes the file with the predictions."""
    from tokenizers import Tokenizer

    embedding, lstm, head, config = _loaded(model)
    names = list(config["id2label"].values())  # type: ignore[attr-defined]
    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    tokenizer.no_padding()

    @torch.inference_mode()
    def read_and_write() -> int:
        with open(file, newline="", encoding="utf-8") as given:
            lines = list(csv.DictReader(given))
        encoded = [found.ids for found in tokenizer.encode_batch_fast([line["text"] for line in lines])]
        order = np.argsort([len(ids) for ids in encoded])
        for start in range(0, len(order), 64):
            places = order[start : start + 64]
            texts = [torch.tensor(encoded[place]) for place in places]
            ids = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-1)
            hidden, _ = lstm(embedding(ids.clamp(min=0)))
            scores = head(hidden.masked_fill((ids < 0)[..., None], -torch.inf).amax(1)).softmax(-1)
            best = scores.max(-1)
            for place, label, score in zip(places, best.indices.tolist(), best.values.tolist(), strict=True):
                lines[place] |= {"prediction": names[label], "score": f"{score:.6f}"}
        with open(f"{file}.plain.csv", "w", newline="", encoding="utf-8") as returned:
            writer = csv.DictWriter(returned, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
        return len(lines)

    return lambda: read_and_write


def latency(model: str, file: str, rows: int) -> Callable[[], rounds.Round]:
    """One row of token ids at a time, from a list to logits."""
    embedding, lstm, head, _ = _loaded(model)
    texts = json.loads(Path(f"{file}.ids.json").read_text())[:rows]

    @torch.inference_mode()
    def one_by_one() -> int:
        for text in texts:
            head(lstm(embedding(torch.tensor([text])))[0].amax(1))
        return len(texts)

    return lambda: one_by_one


if __name__ == "__main__":
    rounds.run(classifier=classifier, predict=predict, latency=latency)
