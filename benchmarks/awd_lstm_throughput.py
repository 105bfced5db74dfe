"""Training speed of the AWD-LSTM language model against fastai's, and against a plain stack of `nn.LSTM`.

    python benchmarks/awd_lstm_throughput.py [--classifier] [--device cuda] [--embedding_size 400 --hidden_size 1152]

All three have the same sizes, read the same windows with a carried state, alternate after each window, and use Adam
and clipping. The plain stack has no regularisation; ours and fastai's have weight drop, locked and embedding dropout,
tied embeddings, AR and TAR. Prints tokens per second and their ratios to the plain stack. Without fastai
(`pip install fastai`; only its text models are imported) its rows are left out.
With `--classifier`, the classifier of ULMFiT instead: texts of half a window to a whole one, without the plain stack
and with ratios to fastai's. On a CPU, seconds are those of this process's processor time.
Takes about a minute on two free CPU cores at the default sizes; each dot is a window.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM, AwdLstmForSequenceClassification

PADDING = 1

# Maps inputs and targets (batch, time) to the loss and keeps the state between calls.
Step = Callable[[Tensor, Tensor], Tensor]


class PlainStack(nn.Module):
    """Embedding, LSTM layers of different sizes, and the embedding again as the output layer."""

    def __init__(self, config: AwdLstmConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.layers = nn.ModuleList(nn.LSTM(*sizes, batch_first=True) for sizes in config.layer_sizes())
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, inputs: Tensor, states: list[Any]) -> tuple[Tensor, list[Any]]:
        hidden, new_states = self.embedding(inputs), []
        for layer, state in zip(self.layers, states, strict=True):
            hidden, state = layer(hidden, state)
            new_states.append(tuple(tensor.detach() for tensor in state))
        return functional.linear(hidden, self.embedding.weight, self.bias), new_states


def plain_step(config: AwdLstmConfig, device: str) -> tuple[nn.Module, Step]:
    model = PlainStack(config).to(device).train()
    states: list[Any] = [None] * config.num_hidden_layers

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal states
        logits, states = model(inputs, states)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return model, step


def our_step(config: AwdLstmConfig, device: str) -> tuple[nn.Module, Step]:
    model = AwdLstmForCausalLM(config).to(device).train()
    cache = None

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal cache
        outputs = model(inputs, past_key_values=cache, use_cache=True, shift_labels=targets)
        cache = outputs.past_key_values.detach()
        return outputs.loss

    return model, step


def settings_of(config: AwdLstmConfig, own: dict[str, Any]) -> dict[str, Any]:
    """fastai's settings for the sizes and dropouts of a configuration."""
    dropouts = {
        "output_p": "output",
        "hidden_p": "hidden",
        "input_p": "input",
        "embed_p": "embedding",
        "weight_p": "weight",
    }
    settings = {**own, **{theirs: config.dropout(ours) for theirs, ours in dropouts.items()}}
    return settings | {
        "emb_sz": config.embedding_size, "n_hid": config.hidden_size, "n_layers": config.num_hidden_layers
    }  # fmt: skip


def fastai_step(config: AwdLstmConfig, device: str) -> tuple[nn.Module, Step] | None:
    try:
        from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_lm_config
        from fastai.text.models.core import get_language_model
    except ImportError as error:
        print(f"fastai is left out: {error}")
        return None
    settings = settings_of(config, awd_lstm_lm_config)
    model = get_language_model(AWD_LSTM, config.vocab_size, config=settings).to(device).train()

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        logits, raw, dropped = model(inputs)
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        # AR and TAR as in fastai's RNNRegularizer.
        loss = loss + config.activation_regularization * dropped.float().pow(2).mean()
        return loss + config.temporal_activation_regularization * (raw[:, 1:] - raw[:, :-1]).float().pow(2).mean()

    return model, step


def classes_of(inputs: Tensor) -> Tensor:
    return inputs[:, 0] % 2


def our_classifier(config: AwdLstmConfig, device: str) -> tuple[nn.Module, Step]:
    model = AwdLstmForSequenceClassification(config).to(device).train()

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        return model(inputs, attention_mask=(inputs != PADDING).long(), labels=classes_of(inputs)).loss

    return model, step


def fastai_classifier(config: AwdLstmConfig, device: str) -> tuple[nn.Module, Step] | None:
    try:
        from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_clas_config
        from fastai.text.models.core import get_text_classifier
    except ImportError as error:
        print(f"fastai is left out: {error}")
        return None
    settings = settings_of(config, awd_lstm_clas_config)
    made = get_text_classifier(
        AWD_LSTM, config.vocab_size, 2, config=settings, max_len=config.max_backprop_tokens, pad_idx=PADDING
    )
    model = made.to(device).train()

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        model.reset()  # as fastai's ModelResetter, before every batch
        return functional.cross_entropy(model(inputs)[0], classes_of(inputs))

    return model, step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--vocab_size", type=int, default=10_000)
    parser.add_argument("--embedding_size", type=int, default=200)
    parser.add_argument("--hidden_size", type=int, default=400)
    parser.add_argument("--num_hidden_layers", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--window_length", type=int, default=70)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--classifier", action="store_true")
    options = parser.parse_args()
    config = AwdLstmConfig(
        vocab_size=options.vocab_size,
        embedding_size=options.embedding_size,
        hidden_size=options.hidden_size,
        num_hidden_layers=options.num_hidden_layers,
    )
    made: dict[str, Any] = {"plain nn.LSTM stack": plain_step, "ours": our_step, "fastai": fastai_step}
    if options.classifier:
        made = {"fastai": fastai_classifier, "ours": our_classifier}
    contestants = {name: pair for name, make in made.items() if (pair := make(config, options.device)) is not None}
    optimizers = {name: torch.optim.Adam(model.parameters(), lr=1e-3) for name, (model, _) in contestants.items()}
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    generator = torch.Generator().manual_seed(1)
    for number in range(options.windows + 2):
        size = (options.batch_size, options.window_length + 1)
        window = torch.randint(2, options.vocab_size, size, generator=generator)
        if options.classifier:  # fastai, too, pads the last window of 72 tokens at its end
            lengths = torch.randint(options.window_length // 2, options.window_length, size[:1], generator=generator)
            lengths[0] = options.window_length
            window[torch.arange(size[1]) >= lengths[:, None]] = PADDING
        window = window.to(options.device)
        names = list(contestants)
        for name in names[number % len(names) :] + names[: number % len(names)]:  # each goes first in turn
            model, step = contestants[name]
            began = clock()
            step(window[:, :-1], window[:, 1:]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizers[name].step()
            optimizers[name].zero_grad()
            if options.device == "cuda":
                torch.cuda.synchronize()
            if number >= 2:  # the first windows warm up
                seconds[name].append(clock() - began)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"{torch.get_num_threads()} threads on {options.device}; {config.layer_sizes()}, {options.vocab_size} words")
    tokens, base = options.batch_size * options.window_length, seconds[next(iter(seconds))]
    for name, taken in seconds.items():
        rates = f"{tokens / median(taken):8.0f} tokens/s {options.batch_size / median(taken):6.0f} rows/s"
        print(f"{name:<22} {rates} {median(base) / median(taken):5.2f} x")


if __name__ == "__main__":
    main()
