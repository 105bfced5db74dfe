"""fastai's `Learner`, with PyTorch's fused optimiser, which is faster than fastai's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import rounds
import torch
from fastai.text import all as fastai
from torch import nn


class _Batches:
    """Batches, padded before the rounds, in place of a `DataLoader`."""

    def __init__(self, texts: rounds.Texts, shift: int, device: str) -> None:
        self.batches = [
            (torch.from_numpy(ids + shift).to(device), torch.from_numpy(labels).to(device)) for ids, labels in texts
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return iter(self.batches)

    def to(self, device: Any) -> None:
        pass


def _rounds(learner: Any, work: int, max_grad_norm: float = 1.0) -> Callable[[], rounds.Round]:
    learner.remove_cb(fastai.ProgressCallback)
    learner.add_cb(fastai.GradientClip(max_grad_norm))
    learner.logger = fastai.noop

    def epoch() -> int:
        learner.fit(1, lr=1e-3, wd=0.0)
        return work

    return lambda: epoch


_FUSED = partial(fastai.OptimWrapper, opt=torch.optim.AdamW, fused=True)


def _loaders(train: Any, device: str, vocabulary: int | None = None) -> Any:
    loaders = fastai.DataLoaders(train, _Batches([], 0, device), device=torch.device(device))  # without validation
    if vocabulary:
        loaders.vocab = [str(word) for word in range(vocabulary)]
    return loaders


def classifier(
    rows: int, batch: int, hidden: int, bidirectional: bool, packs: bool, device: str = "cpu"
) -> Callable[[], rounds.Round]:
    from plain import Classifier

    loaders = _loaders(_Batches(rounds.buckets(rows, batch), 0, device), device)
    model = Classifier(hidden, bidirectional, packs).to(device)
    return _rounds(fastai.Learner(loaders, model, loss_func=nn.CrossEntropyLoss(), opt_func=_FUSED), rows)


def _sizes(config: dict[str, Any], sizes: list[int]) -> dict[str, Any]:
    """Sizes and dropouts as in tl_toolkit, whose defaults are those of fastai's language model."""
    dropouts = {"input_p": 0.25, "hidden_p": 0.15, "output_p": 0.1, "embed_p": 0.02, "weight_p": 0.2}
    return {**config, **dropouts, **dict(zip(("emb_sz", "n_hid", "n_layers"), sizes, strict=True))}


def awd_classifier(rows: int, batch: int, sizes: list[int], device: str = "cpu") -> Callable[[], rounds.Round]:
    texts = rounds.buckets(rows, batch, longest=70)
    loaders = _loaders(_Batches(texts, 1, device), device, rounds.WORDS + 1)  # fastai pads with 1
    learner = fastai.text_classifier_learner(
        loaders, fastai.AWD_LSTM, config=_sizes(fastai.awd_lstm_clas_config, sizes), pretrained=False, drop_mult=1.0,
        n_out=rounds.LABELS, loss_func=fastai.CrossEntropyLossFlat(), alpha=0.0, beta=0.0, opt_func=_FUSED,
    )  # fmt: skip
    return _rounds(learner, rows)


def language_model(
    windows: int, batch: int, window: int, sizes: list[int], words: int = rounds.WORDS, device: str = "cpu"
) -> Callable[[], rounds.Round]:
    tokens = windows * window * batch
    text = torch.from_numpy(rounds.stream(tokens + 1, words))
    train = fastai.LMDataLoader([text], lens=[len(text)], bs=batch, seq_len=window, shuffle=False)
    loaders = _loaders(train, device, words)
    learner = fastai.language_model_learner(
        loaders, fastai.AWD_LSTM, config=_sizes(fastai.awd_lstm_lm_config, sizes), pretrained=False, opt_func=_FUSED
    )
    return _rounds(learner, tokens, max_grad_norm=0.25)


if __name__ == "__main__":
    rounds.run(classifier=classifier, awd_classifier=awd_classifier, language_model=language_model)
