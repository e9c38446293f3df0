"""Small networks for the demo and the examples."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def small_cnn(input_shape: Sequence[int], nb_classes: int, width: int = 32) -> nn.Sequential:
    """Two convolutions and two linear layers; `features` (64 units) is the layer before the logits.

    :param input_shape: `(channels, height, width)`.
    :param nb_classes: Number of logits.
    :param width: Channels of the first convolution; the second has twice as many.
    """
    channels, height, across = input_shape
    flat = 2 * width * -(-height // 2) * -(-across // 2)
    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(channels, width, 3, padding=1))
    model.add_module("relu1", nn.ReLU())
    model.add_module("conv2", nn.Conv2d(width, 2 * width, 3, stride=2, padding=1))
    model.add_module("relu2", nn.ReLU())
    model.add_module("flatten", nn.Flatten())
    model.add_module("features", nn.Linear(flat, 64))
    model.add_module("relu3", nn.ReLU())
    model.add_module("logits", nn.Linear(64, nb_classes))
    return model
