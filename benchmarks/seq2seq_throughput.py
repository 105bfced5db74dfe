"""Training and beam-search speed of the attention decoders against JoeyNMT's recurrent models.

    python benchmarks/seq2seq_throughput.py [--device cuda] [--hidden_size 512 --batch_size 128]

Both have a bidirectional encoder of one layer, a decoder of one layer, the same sizes and attention, and the same
batches of random tokens with lengths as in Multi30k. A training step is the forward and backward pass, clipping and
Adam. Beam search generates texts of one fixed length, without an end token, so that both run the same number of steps.
The two alternate, and medians are compared. JoeyNMT's decoder always attends from the state after the step; ours with
`bahdanau` from the state before it, as in the paper. In the last rows nothing is fed back, so that our decoder is one
fused call; JoeyNMT's is still a loop.

Without JoeyNMT its columns are left out. To install it:
    pip install --no-deps --target joey joeynmt "importlib_metadata<8" zipp sentencepiece subword-nmt tensorboard \\
        tensorboard-data-server protobuf absl-py grpcio markdown werkzeug; export PYTHONPATH=joey
Takes about two minutes on two free cores at the default sizes; each dot is a batch.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tl_toolkit.models import RnnEncoderDecoderConfig, RnnEncoderDecoderForConditionalGeneration

PAD, BOS, EOS = 1, 2, 3
SPECIAL = 4
KINDS: dict[str, dict[str, Any]] = {
    "bahdanau": {"attention": "bahdanau"},
    "luong, input feeding": {"attention": "luong", "input_feeding": True},
    "luong": {"attention": "luong"},
}
# A model, a training step over (sources, mask, targets), and a beam search over (sources, mask, number of tokens).
Contestant = tuple[nn.Module, Callable[[Tensor, Tensor, Tensor], Tensor], Callable[[Tensor, Tensor, int], Tensor]]


def ours(kind: str, options: argparse.Namespace) -> Contestant:
    config = RnnEncoderDecoderConfig(
        vocab_size=options.vocab_size,
        share_embeddings=False,
        embedding_size=options.embedding_size,
        hidden_size=options.hidden_size,
        cell_type=options.cell_type,
        bidirectional_encoder=True,
        pad_token_id=PAD,
        decoder_start_token_id=BOS,
        **KINDS[kind],
    )
    model = RnnEncoderDecoderForConditionalGeneration(config).to(options.device)

    def step(sources: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
        return model(sources, attention_mask=mask, labels=targets.masked_fill(targets == PAD, -100)).loss

    def search(sources: Tensor, mask: Tensor, length: int) -> Tensor:
        return model.generate(sources, attention_mask=mask, num_beams=options.num_beams, max_new_tokens=length)

    return model, step, search


def joeynmt(kind: str, options: argparse.Namespace) -> Contestant | None:
    try:
        from joeynmt.model import build_model
        from joeynmt.search import beam_search
        from joeynmt.vocabulary import Vocabulary
    except ImportError as error:
        print(f"JoeyNMT is left out: {error}")
        return None
    special = {"unk": 0, "pad": PAD, "bos": BOS, "eos": EOS}
    settings: dict[str, Any] = {f"{name}_token": f"<{name}>" for name in special}
    settings |= {f"{name}_id": number for name, number in special.items()} | {"sep_token": None, "lang_tags": []}
    vocabulary = Vocabulary([], SimpleNamespace(**settings))
    vocabulary._itos += [str(number) for number in range(SPECIAL, options.vocab_size)]
    part = {"type": "recurrent", "rnn_type": options.cell_type, "hidden_size": options.hidden_size, "num_layers": 1}
    part |= {"embeddings": {"embedding_dim": options.embedding_size}}
    attention = {"attention": KINDS[kind]["attention"], "input_feeding": kind != "luong", "init_hidden": "bridge"}
    cfg = {"encoder": {**part, "bidirectional": True}, "decoder": {**part, **attention}}
    model = build_model(cfg, src_vocab=vocabulary, trg_vocab=vocabulary).to(options.device)
    model.loss_function = ("crossentropy", 0.0)

    def step(sources: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
        start = torch.full_like(targets[:, :1], BOS)
        is_real = targets != PAD
        inputs = torch.cat([start, targets[:, :-1]], dim=1)
        loss, *_ = model(
            return_type="loss",
            src=sources,
            src_mask=mask.bool()[:, None],
            src_length=mask.sum(dim=1),
            trg_input=inputs,
            trg=targets,
            trg_mask=is_real[:, None],
        )
        return loss / is_real.sum()

    @torch.no_grad()
    def search(sources: Tensor, mask: Tensor, length: int) -> Tensor:
        wide = mask.bool()[:, None]
        output, hidden, _, _ = model(return_type="encode", src=sources, src_mask=wide, src_length=mask.sum(dim=1))
        best, _, _ = beam_search(
            model,
            beam_size=options.num_beams,
            encoder_output=output,
            encoder_hidden=hidden,
            src_mask=wide,
            max_output_length=length,
            alpha=1.0,
            min_output_length=length,
        )
        return torch.as_tensor(best)

    return model, step, search


def batch(options: argparse.Namespace, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Sources, their mask, and targets: random tokens, the longest source first."""
    lengths = torch.randint(7, 19, (options.batch_size,), generator=generator).sort(descending=True).values
    target_lengths = (lengths + torch.randint(-2, 3, lengths.shape, generator=generator)).clamp(min=2)
    texts = []
    for of_side in (lengths, target_lengths):
        size = (options.batch_size, int(of_side.max()))
        tokens = torch.randint(SPECIAL, options.vocab_size, size, generator=generator)
        is_padding = torch.arange(size[1]) >= of_side[:, None]
        texts.append(tokens.masked_fill(is_padding, PAD).to(options.device))
    return texts[0], (texts[0] != PAD).long(), texts[1]


def timed(action: Callable[[], Any], device: str, processor_time: bool) -> float:
    clock = time.process_time if processor_time else time.perf_counter
    began = clock()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def compare(kind: str, options: argparse.Namespace) -> None:
    made = {"ours": ours(kind, options), "JoeyNMT": joeynmt(kind, options)}
    contestants = {name: contestant for name, contestant in made.items() if contestant is not None}
    training: dict[str, list[float]] = {name: [] for name in contestants}
    searching: dict[str, list[float]] = {name: [] for name in contestants}
    optimizers = {name: torch.optim.Adam(model.parameters(), lr=1e-3) for name, (model, *_) in contestants.items()}
    generator = torch.Generator().manual_seed(1)
    for number in range(options.batches + 2):  # the first two warm up
        sources, mask, targets = batch(options, generator)
        tokens = int((targets != PAD).sum())
        names = list(contestants)
        for name in names[number % len(names) :] + names[: number % len(names)]:  # each goes first in turn
            model, step, search = contestants[name]

            def train(name: str = name, model: nn.Module = model, step: Any = step) -> None:
                step(sources, mask, targets).backward()  # noqa: B023 - called at once
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizers[name].step()
                optimizers[name].zero_grad()

            model.train()
            seconds = timed(train, options.device, options.processor_time)
            training[name] += [seconds / tokens] if number >= 2 else []
            if number % 2:
                continue
            model.eval()
            seconds = timed(lambda: search(sources, mask, options.length), options.device, options.processor_time)  # noqa: B023 - as above
            searching[name] += [seconds / len(sources)] if number >= 2 else []
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for unit, seconds_of in (
        ("training, target tokens/s", training),
        (f"beam {options.num_beams}, sentences/s", searching),
    ):
        speeds = {name: 1 / median(seconds) for name, seconds in seconds_of.items()}
        row = "   ".join(f"{name} {speed:8.1f}" for name, speed in speeds.items())
        ratio = f"   {speeds['ours'] / speeds['JoeyNMT']:5.2f} x" if "JoeyNMT" in speeds else ""
        print(f"{kind:<22} {unit:<26} {row}{ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--cell_type", default="lstm", choices=["lstm", "gru"])
    parser.add_argument("--vocab_size", type=int, default=8000)
    parser.add_argument("--embedding_size", type=int, default=256)
    parser.add_argument("--hidden_size", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--num_beams", type=int, default=5)
    parser.add_argument("--length", type=int, default=15, help="tokens in each text that beam search generates")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument(
        "--processor_time", action="store_true", help="measure processor time, for one thread on a busy machine"
    )
    options = parser.parse_args()
    sizes = f"embeddings {options.embedding_size}, states {options.hidden_size}, {options.vocab_size} tokens"
    where = f"{torch.get_num_threads()} threads on {options.device}"
    print(f"{where}; {options.cell_type}, {sizes}, {options.batch_size} rows")
    for kind in options.kinds:
        compare(kind, options)


if __name__ == "__main__":
    main()
