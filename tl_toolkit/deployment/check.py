"""Checks that a graph computes what the model computes, at other sizes than that of the export."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .session import OnnxModel

TOLERANCE = 1e-4
EXAMPLE, OTHER = (3, 7), (2, 29)
SIZES = ((1, 1, "right"), (2, 29, "left"), (5, 13, "right"), (4, 61, "left"), (1, 23, "right"))
"""Batch, time, and the side of the padding."""
_CHARACTERS = 5


def inputs_for(model: Any, names: list[str], batch: int, time: int, side: str = "right") -> dict[str, Tensor]:
    """Those of `names` for random tokens, the first row without padding and the others with padding on a side."""
    if hasattr(model, "example"):
        return model.example(batch, time, side)
    draw = torch.Generator().manual_seed(batch * time)
    lengths = torch.randint(1, time + 1, (batch,), generator=draw)
    lengths[0] = time
    mask = (torch.arange(time) < lengths[:, None]).long()
    mask = mask.flip(1) if side == "left" else mask
    config = model.config
    size = getattr(config, "encoder_config", config).vocab_size
    ids = torch.randint(size, (batch, time), generator=draw)
    inputs = {"input_ids": ids.where(mask == 1, config.pad_token_id or 0), "attention_mask": mask}
    if "token_type_ids" in names:
        inputs["token_type_ids"] = torch.zeros_like(mask)
    if "character_ids" in names:
        known = len(config.character_vocabulary) + 2
        ids = torch.randint(1, known, (batch, time, _CHARACTERS + time % 3), generator=draw)
        inputs["character_ids"] = ids * (torch.arange(ids.shape[2]) < 1 + torch.arange(time)[:, None] % ids.shape[2])
    return inputs


def check_sizes(
    model: nn.Module, exported: OnnxModel, longest: int | None, tolerance: float | None = TOLERANCE
) -> float:
    """The largest difference from the model at five other batch sizes and lengths, padded on either side.

    Args:
        longest: the most tokens that the model reads.
        tolerance: relative to values above 1; None to check only that results are finite, for a quantised graph.

    Raises:
        UserError: a difference above the tolerance, or results that are not finite or have another shape.
    """
    largest = 0.0
    for batch, time, side in SIZES:
        time = min(time, longest or time)
        inputs = inputs_for(model, exported.inputs, batch, time, side)
        where = f"with {batch} rows of {time} tokens, padded on the {side}"
        with torch.no_grad():
            expected = model(**inputs)
        try:
            found = exported(**inputs)
        except Exception as error:  # onnxruntime's errors have no common base class
            raise _wrong(f"it fails {where}: {' '.join(str(error).split())[:300]}") from error
        for name in exported.outputs:
            right, own = expected[name].double(), found[name].double()
            if own.shape != right.shape:
                raise _wrong(f"{name} has the shape {tuple(own.shape)} instead of {tuple(right.shape)} {where}")
            mask = inputs.get("attention_mask")
            if mask is not None and right.shape[:2] == mask.shape and (right.dim() == 3 or name == "predicted_tags"):
                own, right = own[mask == 1], right[mask == 1]
            difference = float(((own - right).abs() / right.abs().clamp(min=1)).max())
            if not difference < (torch.inf if tolerance is None else tolerance):
                raise _wrong(f"{name} differs by {difference:.2g} {where}")
            largest = max(largest, difference)
    return largest


def _wrong(problem: str) -> UserError:
    return UserError(
        f"The exported graph does not compute what the model computes: {problem}. Nothing was written. Report this "
        "model, and use it with PyTorch."
    )
