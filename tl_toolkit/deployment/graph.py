"""The ONNX graph of a model, for any batch size and length.

torch's exporter would unroll a recurrent layer to the length of its example. So the copy of the model that is exported
has other modules with the same results: recurrent cells become ONNX's operators LSTM, GRU and RNN, the loops of a CRF
become Scan, and the windows of an AWD-LSTM become one pass. Real tokens come first in recurrent layers, so padding
after them has no influence, and these operators need no lengths.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..models.awd_lstm_layers import AwdLstmBody
from ..models.crf import LinearChainCrf
from ..models.modeling_awd_lstm import AwdLstmForSequenceClassification
from ..models.modeling_bag_of_ngrams import BagOfNgramsForSequenceClassification

OPSET = 20
# For each gate of ONNX, its place in torch: i, o, f, c of i, f, g, o; z, r, h of r, z, n.
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


@torch.library.custom_op("tl_toolkit::recurrent", mutates_args=())
def recurrent(
    inputs: Tensor,
    input_weight: Tensor,
    recurrent_weight: Tensor,
    bias: Tensor,
    h: Tensor | None,
    c: Tensor | None,
    lengths: Tensor | None,
    operator: str,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """A recurrent operator of ONNX over inputs (batch, time, features), up to `lengths` (batch,), if passed.

    Weights are in ONNX's layout. Returns the outputs (batch, time, size), and the last states h and c (1, batch, size),
    c only of an LSTM.
    """
    raise NotImplementedError("The operator stands for ONNX's own in an exported graph; PyTorch never runs it.")


@recurrent.register_fake
def _(inputs: Tensor, input_weight: Tensor, recurrent_weight: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    size = recurrent_weight.shape[-1]
    state = inputs.new_empty(1, inputs.shape[0], size)
    return inputs.new_empty(*inputs.shape[:2], size), state, torch.empty_like(state)


def _recurrent_in_onnx(
    inputs: Any,
    input_weight: Any,
    recurrent_weight: Any,
    bias: Any,
    h: Any,
    c: Any,
    lengths: Any,
    operator: str,
    activation: str,
) -> tuple[Any, Any, Any]:
    from onnxscript.onnx_opset import opset20 as op

    lengths = None if lengths is None else op.Cast(lengths, to=6)  # int32
    given = op.Transpose(inputs, perm=[1, 0, 2]), input_weight, recurrent_weight, bias, lengths
    size = recurrent_weight.shape[-1]
    if operator == "LSTM":
        outputs, last_h, last_c = op.LSTM(*given, h, c, hidden_size=size)
    elif operator == "GRU":
        outputs, last_h = op.GRU(*given, h, hidden_size=size, linear_before_reset=1)
        last_c = op.Identity(last_h)
    else:
        outputs, last_h = op.RNN(*given, h, hidden_size=size, activations=[activation])
        last_c = op.Identity(last_h)
    axis: Any = op.Constant(value_ints=[1])
    return op.Transpose(op.Squeeze(outputs, axis), perm=[1, 0, 2]), last_h, last_c


def _searchsorted_in_onnx(sorted_sequence: Any, self: Any, **options: Any) -> Any:
    """Binary search: the number of entries of a vector that are smaller than each value."""
    from onnxscript.onnx_opset import opset20

    op: Any = opset20
    found = op.Mul(self, op.Constant(value_int=0))
    bits = math.ceil(math.log2(sorted_sequence.shape[0] + 1))
    padding = op.Constant(value_ints=[2**63 - 1] * (2**bits - sorted_sequence.shape[0]))
    table = op.Concat(sorted_sequence, padding, axis=0)
    for bit in reversed(range(bits)):
        step = op.Constant(value_int=2**bit)
        reached = op.Gather(table, op.Add(found, op.Constant(value_int=2**bit - 1)))
        found = op.Add(found, op.Mul(op.Cast(op.Less(reached, self), to=7), step))
    return found


class OnnxCell(nn.Module):
    """A recurrent module of one layer, called as torch's, with its weights in ONNX's layout.

    Decoders call it with a function, as `OpenCell`: their loops are written out for the one step of the graph.
    """

    reads_lengths = True

    def __init__(self, cell: nn.RNNBase) -> None:
        super().__init__()
        self.cell = cell
        self.operator = next(name for name in _GATES if isinstance(cell, getattr(nn, name)))
        self.activation = "Relu" if getattr(cell, "nonlinearity", "") == "relu" else "Tanh"
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        parts = [self._in_onnx_order(getattr(cell, name).detach()) for name in names]
        self.input_weight, self.recurrent_weight = (nn.Parameter(part[None]) for part in parts[:2])
        self.bias = nn.Parameter(torch.cat(parts[2:])[None])

    def _in_onnx_order(self, weight: Tensor) -> Tensor:
        gates = weight.chunk(len(_GATES[self.operator]))
        return torch.cat([gates[place] for place in _GATES[self.operator]])

    def forward(self, inputs: Any, state: Any = None, lengths: Tensor | None = None) -> Any:
        if callable(inputs):
            return inputs(self.cell)
        h, c = state if isinstance(state, tuple) else (state, None)
        weights = self.input_weight, self.recurrent_weight, self.bias
        outputs, h, c = recurrent(inputs, *weights, h, c, lengths, self.operator, self.activation)
        return outputs, (h, c) if self.operator == "LSTM" else h


class WeightedRows(nn.Module):
    """The sum of the rows at `indices` of a matrix, weighted: what `nn.EmbeddingBag` computes."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, indices: Tensor, per_sample_weights: Tensor) -> Tensor:
        return (nn.functional.embedding(indices, self.weight) * per_sample_weights[..., None]).sum(dim=1)


class OnnxCrf(nn.Module):
    """A CRF whose loops are operators, with one more masked position: ONNX's Scan needs a step."""

    def __init__(self, crf: LinearChainCrf) -> None:
        super().__init__()
        self.crf = crf
        crf.loop = scan_steps

    def forward(self, emissions: Tensor, mask: Tensor, labels: None = None) -> tuple[Tensor, None]:
        return self.crf(*self._longer(emissions, mask))[0][:, :-1], None

    def decode(self, emissions: Tensor, mask: Tensor) -> Tensor:
        return self.crf.decode(*self._longer(emissions, mask))[:, :-1]

    @staticmethod
    def _longer(emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return nn.functional.pad(emissions, (0, 0, 0, 1)), nn.functional.pad(mask, (0, 1))


def scan_steps(step: Callable[..., tuple[Tensor, Tensor]], state: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """As `run_steps` of the CRF, for any number of steps."""
    from torch._higher_order_ops.scan import scan

    def own(state: Tensor, tensors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        state, output = step(state, *tensors)
        return state.clone(), output.clone()

    return scan(own, state, inputs)


def _read_at_once(
    body: AwdLstmBody, inputs: Tensor, attention_mask: Tensor, output_hidden_states: bool, size: int
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """As `AwdLstmForSequenceClassification._read`, in one pass: windows only limit what is pooled."""
    last, hidden_states = body(inputs, attention_mask)
    count = attention_mask.long().cumsum(dim=1)
    read_later = count - 1 if body.direction == "backward" else attention_mask.long().sum(dim=1, keepdim=True) - count
    return last, attention_mask.bool() & (read_later < size), hidden_states


def exportable(model: nn.Module) -> nn.Module:
    """A copy of the model in evaluation mode, with modules that can be exported and have the same results."""
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.RNNBase):
                setattr(module, name, OnnxCell(child))
            elif isinstance(child, LinearChainCrf):
                setattr(module, name, OnnxCrf(child))
    if isinstance(model, AwdLstmForSequenceClassification):
        model._read = partial(_read_at_once, size=model.config.max_backprop_tokens)  # type: ignore[method-assign]
    if isinstance(model, BagOfNgramsForSequenceClassification):
        model.classifier = WeightedRows(model.classifier.weight)  # type: ignore[assignment]
    return model


class _Wrapper(nn.Module):
    """A model whose inputs are named tensors, and whose outputs are those that are predicted from."""

    def __init__(self, model: nn.Module, outputs: list[str]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        result = self.model(**inputs)
        return tuple(result[name] for name in self.outputs)


def write_graph(
    model: nn.Module, example: dict[str, Tensor], other: dict[str, Tensor], outputs: list[str], path: Path
) -> None:
    """Write the graph of a model, with its weights, to one file.

    Args:
        example: inputs (batch, time, …) whose sizes are above 1 and differ.
        other: inputs of another batch size and length: the graph is free in the axes that differ.
        outputs: names of outputs of the model.

    Raises:
        Exception: of torch's exporter, for what it cannot export.
    """
    free = {
        name: {
            axis: torch.export.Dim.DYNAMIC
            for axis, sizes in enumerate(zip(tensor.shape, other[name].shape, strict=True))
            if len(set(sizes)) == 2
        }
        for name, tensor in example.items()
    }
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _Wrapper(exportable(model), outputs),
            (),
            kwargs={"inputs": dict(example)},
            dynamic_shapes={"inputs": free},
            input_names=list(example),
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            custom_translation_table={
                torch.ops.tl_toolkit.recurrent.default: _recurrent_in_onnx,
                torch.ops.aten.searchsorted.Tensor: _searchsorted_in_onnx,
            },
        )
        assert program is not None
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # stack traces, with paths of this machine
            node.doc_string = None
        program.save(str(path), external_data=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress reports of the exporter."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
