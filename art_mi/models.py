"""Small networks for the demo and the examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


def small_cnn(input_shape: Sequence[int], nb_classes: int, *, width: int = 32, random_state: int = 0) -> nn.Sequential:
    """Two convolutions and two linear layers; `features` (64 units) is the layer before the logits.

    :param input_shape: `(channels, height, width)`.
    :param nb_classes: Number of logits.
    :param width: Channels of the first convolution; the second has twice as many.
    :param random_state: Seed of the initial weights.
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
    _initialise(model, random_state)
    return model


def _initialise(model: nn.Module, random_state: int) -> None:
    """PyTorch's own initial weights, drawn from a seed instead of global state."""
    generator = torch.Generator().manual_seed(random_state)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
