"""JoeyNMT's recurrent models, with PyTorch's fused Adam."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import rounds
import torch
from joeynmt.model import build_model
from joeynmt.search import beam_search
from joeynmt.vocabulary import Vocabulary
from torch import nn

PAD, BOS, EOS = 1, 2, 3


def _translator(attention: dict[str, Any], hidden: int, words: int, device: str) -> Any:
    special = {"unk": 0, "pad": PAD, "bos": BOS, "eos": EOS}
    settings: dict[str, Any] = {f"{name}_token": f"<{name}>" for name in special}
    settings |= {f"{name}_id": number for name, number in special.items()} | {"sep_token": None, "lang_tags": []}
    vocabulary = Vocabulary([], SimpleNamespace(**settings))
    vocabulary._itos += [str(number) for number in range(rounds.SPECIAL, words)]
    part = {"type": "recurrent", "rnn_type": "lstm", "hidden_size": hidden, "num_layers": 1}
    part |= {"embeddings": {"embedding_dim": hidden}}
    # Attends from the state after the step, and fed back its outputs, as Luong et al. do; Bahdanau's cannot do without.
    own = {"attention": attention["attention"], "init_hidden": "bridge"}
    own["input_feeding"] = attention.get("input_feeding", attention["attention"] == "bahdanau")
    cfg = {"encoder": {**part, "bidirectional": True}, "decoder": {**part, **own}}
    model = build_model(cfg, src_vocab=vocabulary, trg_vocab=vocabulary).to(device)
    model.loss_function = ("crossentropy", 0.0)
    return model


def _pairs(batches: int, batch: int, words: int, device: str) -> list[Any]:
    return [
        [torch.from_numpy(side).masked_fill(torch.from_numpy(side) == rounds.PAD, PAD).to(device) for side in pair]
        for pair in rounds.pairs(batches, batch, words)
    ]


def translation(
    attention: dict[str, Any], batch: int, hidden: int, words: int = 8000, device: str = "cpu"
) -> Callable[[], rounds.Round]:
    model = _translator(attention, hidden, words, device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step(pair: Any) -> int:
        sources, targets = pair
        is_real = targets != PAD
        inputs = torch.cat([torch.full_like(targets[:, :1], BOS), targets[:, :-1]], dim=1)
        mask = sources != PAD
        loss, *_ = model(
            return_type="loss", src=sources, src_mask=mask[:, None], src_length=mask.sum(dim=1), trg_input=inputs,
            trg=targets, trg_mask=is_real[:, None],
        )  # fmt: skip
        (loss / is_real.sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return int(is_real.sum())

    return rounds.train_in_turn(step, _pairs(12, batch, words, device), 4)


def beam(
    attention: dict[str, Any], batch: int, hidden: int, words: int = 8000, beams: int = 5, device: str = "cpu"
) -> Callable[[], rounds.Round]:
    """Texts of 15 tokens: none may end before."""
    model = _translator(attention, hidden, words, device).eval()

    @torch.no_grad()
    def search(pair: Any) -> int:
        sources, _ = pair
        mask = sources != PAD
        output, state, _, _ = model(
            return_type="encode", src=sources, src_mask=mask[:, None], src_length=mask.sum(dim=1)
        )
        best, _, _ = beam_search(
            model, beam_size=beams, encoder_output=output, encoder_hidden=state, src_mask=mask[:, None],
            max_output_length=15, alpha=1.0, min_output_length=15,
        )  # fmt: skip
        assert len(best) == batch
        return batch

    return rounds.train_in_turn(search, _pairs(6, batch, words, device), max(2, 32 // batch))


if __name__ == "__main__":
    rounds.run(translation=translation, beam=beam)
