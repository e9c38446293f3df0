"""A moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """average <- decay average + (1 - decay) weights, buffers included, without a wait for the device.

    Unlike torch's `AveragedModel`, which copies its counter to the device at every update.

    :param model: Whose weights are averaged; not kept.
    :param decay: Between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state: dict[str, Any] = deepcopy(model.state_dict())

    @torch.no_grad()
    def update(self, model: nn.Module, *, first: bool) -> None:
        """Move the average towards the weights.

        :param model: The model as it is now.
        :param first: Start the average at these weights, as in each stage of training.
        """
        current = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
        moved = [name for name, value in current.items() if value.is_floating_point() and not first]
        for name in current.keys() - moved:
            self.state[name].copy_(current[name])
        if moved:
            average = get_ema_multi_avg_fn(self.decay)
            average([self.state[name] for name in moved], [current[name] for name in moved], 0)

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """The model with the averaged weights while the context lasts.

        :param model: The model.
        """
        kept = deepcopy(model.state_dict())
        model.load_state_dict(self.state)
        try:
            yield
        finally:
            model.load_state_dict(kept)
