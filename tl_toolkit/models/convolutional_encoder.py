"""A small convolutional network that turns a picture into a grid of feature vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvolutionalEncoder(nn.Module):
    """3x3 convolutions, each followed by group normalisation and ReLU; the first ones halve the grid by max pooling.

    Groups are normalised rather than batches (Wu and He 2018): a picture's features then depend neither on the pictures
    beside it nor on how a batch is split over processes. Two more input channels hold the coordinates of each pixel
    (Liu et al. 2018, "CoordConv"), because a convolution cannot tell left from right by itself.

    Args:
        num_channels: of the picture, 1 for greyscale.
        channels: features of each layer, one number a layer.
        stride: pixels, down and across, that become one position of the grid: a power of two.
    """

    def __init__(self, num_channels: int, channels: list[int], stride: int) -> None:
        super().__init__()
        halvings = stride.bit_length() - 1
        inputs = [num_channels + 2, *channels[:-1]]
        self.layers = nn.ModuleList(
            ConvolutionalLayer(before, after, halve=index < halvings)
            for index, (before, after) in enumerate(zip(inputs, channels, strict=True))
        )
        self.output_size = channels[-1]

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(batch, num_channels, height, width) -> (batch, positions, features), row by row of the grid."""
        features = torch.cat([pixel_values, coordinates(pixel_values)], dim=1)
        for layer in self.layers:
            features = layer(features)
        return features.flatten(2).transpose(1, 2)


class ConvolutionalLayer(nn.Module):
    """One convolution with what follows it."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)  # the norm has a bias
        self.norm = nn.GroupNorm(number_of_groups(outputs), outputs)
        # Whatever is left over at the right and lower edge is a position as well.
        self.pooling = nn.MaxPool2d(2, ceil_mode=True) if halve else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.norm(self.pooling(self.convolution(features))))


def number_of_groups(channels: int) -> int:
    """The largest divisor of `channels` up to 8."""
    return next(groups for groups in range(8, 0, -1) if channels % groups == 0)


def coordinates(pixel_values: Tensor) -> Tensor:
    """Row and column of each pixel, from -1 to 1: (batch, 2, height, width)."""
    batch, _, height, width = pixel_values.shape
    rows = torch.linspace(-1, 1, height, device=pixel_values.device, dtype=pixel_values.dtype)
    columns = torch.linspace(-1, 1, width, device=pixel_values.device, dtype=pixel_values.dtype)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(batch, -1, -1, -1)
