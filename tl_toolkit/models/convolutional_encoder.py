"""A small convolutional network that turns an image into a grid of feature vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvolutionalEncoder(nn.Module):
    """3x3 convolutions, each followed by group normalisation and ReLU; the first ones halve the grid by max pooling.

    Group normalisation (Wu and He 2018) makes the features of an image independent of the other images in the batch
    and of how a batch is split over processes. Two additional input channels contain the coordinates of each pixel (Liu
    et al. 2018, "CoordConv"), because convolutions alone do not know positions.

    Args:
        num_channels: channels of the image, 1 for greyscale.
        channels: number of features of each layer.
        stride: height and width in pixels of one grid position: a power of two.
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
    """A convolution, optional max pooling, group normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)  # the norm has a bias
        self.norm = nn.GroupNorm(number_of_groups(outputs), outputs)
        # With ceil_mode, leftover pixels at the right and lower edges also become a position.
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
