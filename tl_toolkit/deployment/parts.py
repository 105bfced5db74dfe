"""The graphs that a model becomes: one, or for an encoder-decoder two."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import UserError
from ..models.modeling_rnn_encoder_decoder import RnnEncoderDecoderForConditionalGeneration
from .check import EXAMPLE, OTHER, check_sizes, inputs_for
from .encoder_decoder import EncoderPart, StepPart
from .folder import ENCODER, GRAPH
from .graph import write_graph
from .quantise import quantise
from .session import OnnxModel


class Part(NamedTuple):
    """A module that becomes a graph, with the names of its inputs and outputs."""

    module: Any
    inputs: list[str]
    outputs: list[str]

    def example(self, batch: int, time: int) -> dict[str, Tensor]:
        """Random inputs for `time` tokens."""
        return inputs_for(self.module, self.inputs, batch, time)


def parts_of(model: Any, tokenized: Sequence[str]) -> dict[str, Part]:
    """The graphs of a model by file name.

    Args:
        tokenized: what its tokenizer returns.
    """
    if isinstance(model, RnnEncoderDecoderForConditionalGeneration):
        parts: dict[str, Any] = {ENCODER: EncoderPart(model), GRAPH: StepPart(model)}
        return {file: Part(part, ["input_ids", "attention_mask"], part.outputs) for file, part in parts.items()}
    if hasattr(model, "outputs"):
        return {GRAPH: Part(model, [], model.outputs)}
    config: Any = model.config
    read = inspect.signature(model.forward).parameters
    names = [name for name in ("input_ids", "attention_mask", *tokenized) if name in read]
    spelt = getattr(config, "character_encoder", "none") != "none"
    outputs = ["logits", "predicted_tags"] if getattr(config, "crf", False) else ["logits"]
    return {GRAPH: Part(model, [*dict.fromkeys(names), *(["character_ids"] if spelt else [])], outputs)}


def int8_path(path: Path) -> Path:
    """The place of a graph in 8 bits beside the one in floats."""
    return path.with_name(f"int8-{path.name}")


def write_checked(part: Part, path: Path, name: str, limit: int | None, *, int8: bool) -> float:
    """Write a graph, and one with 8-bit weights if asked for; returns the first one's largest difference to the model.

    Args:
        name: what the user calls the model.
        limit: the most tokens that it reads.

    Raises:
        UserError: the exporter cannot carry the model, or the graph is wrong.
    """
    config = part.module.config
    try:
        write_graph(part.module, part.example(*EXAMPLE), part.example(*OTHER), part.outputs, path)
        if int8:
            quantise(path, int8_path(path))
    except Exception as error:  # of the exporter or the quantiser, of any kind
        raise UserError(
            f"The model {name!r} ({type(part.module).__name__}) cannot be exported to ONNX: "
            f"{' '.join(str(error.__cause__ or error).split())[:300]}"
        ) from error
    difference = check_sizes(part.module, OnnxModel(path, config), limit)
    if int8:
        check_sizes(part.module, OnnxModel(int8_path(path), config), limit, tolerance=None)
    return difference
