"""The models that are explained, their inputs, and the states of their recurrent layers step by step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.arguments import ModelArguments
from ..errors import UserError
from ..figures.alignment import answer_length
from ..figures.token_spans import Piece, pieces_of_text
from ..loading.model import load_config, load_trained, longest_input, make_model, shortest
from ..loading.tokenizer import load_tokenizer
from ..records.identity import identity_of_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONGEST = 256
"""Most tokens of a text that are read."""
NEW_TOKENS = 100
"""Most tokens that an encoder-decoder writes."""
UNTRAINED = " (untrained)"
_AUTO_CLASSES = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "MTModel": "AutoModelForSeq2SeqLM",
}


@dataclass(frozen=True)
class Subject:
    """A model to explain, in evaluation mode on the CPU.

    Attributes:
        name: how pages and tables call it.
        path: the folder or id that it was loaded from.
        architecture: the end of its class's name, a key of `_AUTO_CLASSES`.
        max_grad_norm: to which its training clipped gradients.
    """

    name: str
    path: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    architecture: str
    max_grad_norm: float = 1.0

    @property
    def longest(self) -> int | None:
        """The most tokens of a text that the model reads."""
        return shortest(LONGEST, longest_input(self.model), self.tokenizer.model_max_length)

    @property
    def writes(self) -> bool:
        """Whether the model is an encoder-decoder that writes texts."""
        return bool(self.model.config.is_encoder_decoder) and self.architecture != "ForSequenceClassification"

    def written(self, inputs: dict[str, Tensor]) -> Tensor:
        """What an encoder-decoder writes (time,), from its start token to the end of the text."""
        import torch

        limit = {} if self.model.generation_config.max_length else {"max_new_tokens": NEW_TOKENS}
        with torch.no_grad():
            ids = self.model.generate(**inputs, **limit)[0]
        return ids[: answer_length(ids.tolist(), self.model)]

    def encode(self, text: str) -> dict[str, Tensor]:
        """The inputs for a text, tensors with one row, truncated to what the model reads.

        Raises:
            UserError: the text has no tokens.
        """
        inputs = self.tokenizer(text, return_tensors="pt", truncation=True, max_length=self.longest)
        if not inputs["input_ids"].shape[1]:
            raise UserError(f"The text {text!r} has no tokens for {self.name}. Specify a longer --text.")
        return dict(inputs)

    def pieces(self, text: str, inputs: dict[str, Tensor]) -> list[Piece]:
        """The parts of a text that its inputs stand for, special tokens among them."""
        return pieces_of_text(text, inputs["input_ids"][0].tolist(), self.tokenizer)

    def tokens(self, text: str) -> list[str]:
        """What each input position of a text stands for; tokens that share a character are repeated."""
        pieces = self.pieces(text, self.encode(text))
        return [piece.text.strip() or piece.text for piece in pieces for _ in piece.tokens]


def load_subjects(names: Sequence[str], untrained: bool, trust_remote_code: bool = False) -> list[Subject]:
    """The models, each followed with `untrained` by one of its configuration with new weights.

    Raises:
        UserError: a model that cannot be loaded or read.
    """
    short = [name if not Path(name).is_dir() else Path(name).resolve().name for name in names]
    repeated = {name for name in short if short.count(name) > 1}
    subjects = []
    for name, shown in zip(names, short, strict=True):
        subject = _load(name, name if shown in repeated else shown, trust_remote_code)
        subjects += [subject, *([_untrained(subject)] if untrained else [])]
    return subjects


def _load(name: str, shown: str, trust_remote_code: bool) -> Subject:
    import torch

    arguments = ModelArguments(model_name_or_path=name, trust_remote_code=trust_remote_code)
    saved = next(iter(load_config(arguments).architectures or ()), "")
    architecture = next((end for end in _AUTO_CLASSES if saved.endswith(end)), "")
    if saved.endswith(("ImageCaptioner", "ForImageTextToText", "ForTimeSeriesPrediction")) or "Captioner" in saved:
        raise UserError(f"The model {name!r} is a {saved}, which reads no texts: explain needs a model of texts.")
    tokenizer = load_tokenizer(arguments)
    torch.manual_seed(0)
    if architecture:
        model = load_trained(arguments, _AUTO_CLASSES[architecture], tokenizer)
    else:  # a body without a head gets a new one, for a loss
        architecture = "ForSequenceClassification"
        model = make_model(arguments, _AUTO_CLASSES[architecture], {"num_labels": 2}, tokenizer)
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"The model {name!r} is an ONNX graph, which has no gradients: name the folder it came from.")
    clip = float(identity_of_model(name, None).get("settings", {}).get("max_grad_norm", 1.0))
    return Subject(shown, name, model.eval().requires_grad_(True), tokenizer, architecture, clip)


def _untrained(subject: Subject) -> Subject:
    import torch

    torch.manual_seed(0)
    model = type(subject.model)(subject.model.config).eval()
    return replace(subject, name=f"{subject.name}{UNTRAINED}", model=model)


@dataclass
class Trace:
    """What a recurrent layer read and was in each step, in reading order.

    Attributes:
        cell: torch's module, an LSTM, GRU or RNN.
        layer: number of the layer, from 1.
        direction: `forward` or `backward`, as the text is read.
        inputs, before, after: of each step, x_t (1, features), the state before it and after it, tuples of
            (1, hidden_size): h, and c of an LSTM.
    """

    cell: Any
    layer: int
    direction: str
    inputs: list[Tensor] = field(default_factory=list)
    before: list[tuple[Tensor, ...]] = field(default_factory=list)
    after: list[tuple[Tensor, ...]] = field(default_factory=list)


@contextmanager
def unrolled(model: PreTrainedModel) -> Iterator[list[Trace]]:
    """Within this context, recurrent layers read one token after the other and record their steps.

    A fused kernel hides the path from h_t to h_{t+1}: the gradient of what it returns lacks what flows back through
    later steps. Here h_t is one tensor, which the next step and the layer above read. One text at a time.
    """
    import torch

    traces = []
    for name, cell in model.named_modules():
        number = re.search(r"layers\.(\d+)", name)
        if isinstance(cell, torch.nn.RNNBase) and number and "decoder" not in name:
            backward = "backward_" in name or getattr(model.config, "direction", "") == "backward"
            traces.append(Trace(cell, int(number[1]) + 1, "backward" if backward else "forward"))
    try:
        for trace in traces:
            trace.cell.forward = _stepwise(trace)
        yield traces
    finally:
        for trace in traces:
            del trace.cell.forward


def _stepwise(trace: Trace) -> Any:
    import torch

    run = type(trace.cell).forward

    def forward(input: Tensor, hx: Any = None) -> Any:  # noqa: A002 - torch's name
        if len(input) != 1:
            raise ValueError("one text at a time")
        zeros = input.new_zeros(1, 1, trace.cell.hidden_size)
        is_lstm = isinstance(trace.cell, torch.nn.LSTM)
        state = hx if isinstance(hx, tuple) else (hx if hx is not None else zeros, *([zeros] if is_lstm else []))
        state = (zeros, zeros) if is_lstm and hx is None else state
        trace.inputs, trace.before, trace.after, outputs = [], [], [], []  # of the last window
        for step in input.unbind(1):
            trace.inputs.append(step)
            trace.before.append(tuple(part[0] for part in state))
            _, new = run(trace.cell, step[:, None], state if is_lstm else state[0])
            state = new if is_lstm else (new,)
            trace.after.append(tuple(part[0] for part in state))
            state = tuple(part[None] for part in trace.after[-1])
            outputs.append(trace.after[-1][0])
        return torch.stack(outputs, dim=1), state if is_lstm else state[0]

    return forward
