"""Any vision model of transformers as an encoder from images to a grid of feature vectors."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoModel, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING


class VisionBackbone(nn.Module):
    """A backbone of transformers (ResNet, ConvNeXt, Swin, DINOv2, timm's) or the body of a vision model (ViT, CLIP).

    Args:
        config: the backbone's own configuration; the model is built with random weights.
        frozen: do not update its weights or the running statistics of its norms.

    Raises:
        ValueError: the configuration is not of a vision model, or a package that it needs is not installed.
    """

    def __init__(self, config: PreTrainedConfig, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.is_backbone = type(config) in MODEL_FOR_BACKBONE_MAPPING
        auto_class = AutoBackbone if self.is_backbone else AutoModel
        try:
            self.model = auto_class.from_config(config)
        except ImportError as error:
            raise ValueError(
                f"The backbone {getattr(config, 'backbone', None) or config.model_type!r} needs a package that is not "
                f"installed: pip install timm. ({' '.join(str(error).split())[:200]})"
            ) from error
        self.output_size = self.model.channels[-1] if self.is_backbone else features_of(config)

    def load_pretrained(self, name: str) -> None:
        """Replace the random weights by those of a checkpoint: a Hub id or a folder; "timm/NAME" is a timm model."""
        if type(self.model).__name__ == "TimmBackbone":
            source = type(self.model).from_pretrained(name.removeprefix("timm/"), config=self.model.config)
        else:
            source = type(self.model).from_pretrained(
                name, config=self.model.config, dtype=torch.float32, use_safetensors=True
            )
        self.model.load_state_dict(source.state_dict())

    def train(self, mode: bool = True) -> VisionBackbone:
        """As in torch; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(batch, num_channels, height, width) -> (batch, positions, features), row by row of the grid."""
        with torch.no_grad() if self.frozen else nullcontext():
            outputs: Any = self.model(pixel_values)
        features = outputs.feature_maps[-1] if self.is_backbone else outputs.last_hidden_state
        if features.dim() == 4:
            return features.flatten(2).transpose(1, 2)
        # The class token and any other tokens before the patches are not part of the grid.
        patch = getattr(self.model.config, "patch_size", 1)
        down, across = (patch, patch) if isinstance(patch, int) else patch
        patches = (pixel_values.shape[-2] // down) * (pixel_values.shape[-1] // across)
        return features[:, -patches:]


def features_of(config: PreTrainedConfig) -> int:
    """Features per position of a vision model that is not a transformers backbone.

    Raises:
        ValueError: its configuration does not contain this number.
    """
    sizes = getattr(config, "hidden_sizes", None)
    size = sizes[-1] if sizes else getattr(config, "hidden_size", None)
    if size is None or not hasattr(config, "num_channels"):
        raise ValueError(
            f"{type(config).__name__} is not the configuration of a vision model with a feature grid: use one such as "
            "resnet, convnext, swin, dinov2 or vit."
        )
    return size
