"""Start values of recurrent layers."""

from __future__ import annotations

from torch import nn
from transformers import initialization as init


def initialize_recurrent(cell: nn.RNNBase) -> None:
    """Start values by role, except for weights that were loaded.

    Input matrices are Xavier-uniform per gate (Glorot and Bengio 2010); recurrent matrices orthogonal per gate (Saxe et
    al. 2014); biases zero, except that an LSTM's forget gate starts at 1 so that the cell remembers (Jozefowicz et al.
    2015, section 2.2). torch adds two biases: the 1 is in `bias_ih` alone.
    """
    for name, parameter in cell.named_parameters(recurse=False):
        # The blocks below are new tensors without the mark that keeps loaded weights as they are.
        if getattr(parameter, "_is_hf_initialized", False):
            continue
        if name.startswith("weight_ih") and cell.has_identity_input:
            init.eye_(parameter)
        elif name.startswith("weight_ih"):
            for gate in parameter.split(cell.hidden_size):
                init.xavier_uniform_(gate)
        elif name.startswith("weight_hh"):
            for gate in parameter.split(cell.hidden_size):
                init.orthogonal_(gate)
        else:
            init.zeros_(parameter)
            if name.startswith("bias_ih") and isinstance(cell, nn.LSTM):
                init.ones_(parameter[cell.hidden_size : 2 * cell.hidden_size])
