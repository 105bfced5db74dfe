"""An exported model, called as the model that it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from ..errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class OnnxModel(nn.Module):
    """Runs an ONNX graph on the CPU, with as many threads as torch uses.

    Args:
        path: the file.
        config: the configuration of the model that was exported.
    """

    def __init__(self, path: Path, config: PreTrainedConfig) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("An exported model needs onnxruntime: pip install 'tl-toolkit[export]'.") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base class
            raise UserError(f"The file {str(path)!r} cannot be loaded: {' '.join(str(error).split())}") from error
        self.config = config
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = [node.name for node in self.session.get_outputs()]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        character_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        """The outputs of the graph by name, on the device of `input_ids` (batch, time)."""
        given = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids) if attention_mask is None else attention_mask,
            "token_type_ids": torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids,
            "character_ids": character_ids,
            **kwargs,
        }
        fed = {name: given[name].cpu().numpy() for name in self.inputs}
        results = self.session.run(None, fed)
        found = {name: torch.from_numpy(own) for name, own in zip(self.outputs, results, strict=True)}
        return ModelOutput({name: own.to(input_ids.device) for name, own in found.items()})
