"""What a training runs on: Lightning Fabric's devices, strategies and precisions."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.single_device import SingleDeviceStrategy
from torch import Tensor, distributed, nn

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def check_fabric(fabric: Any, device: torch.device) -> None:
    """Refuse what the trainers cannot run on.

    :param fabric: Anything.
    :param device: The classifier's.
    :raises TypeError: If it is not a Lightning `Fabric`.
    :raises ValueError: If its strategy, precision or device does not fit, or it has not been launched.
    """
    if not isinstance(fabric, Fabric):
        raise TypeError(f"`fabric` must be a Lightning Fabric, got {type(fabric).__name__}.")
    strategy, precision = fabric.strategy, getattr(fabric.strategy.precision, "precision", None)
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        raise ValueError(f"`fabric` must run on one device or by 'ddp', got {type(strategy).__name__}.")
    if precision not in PRECISIONS:
        raise ValueError(f"`fabric` must have a precision of {', '.join(map(repr, PRECISIONS))}, got {precision!r}.")
    if isinstance(strategy, DDPStrategy) and not distributed.is_initialized():
        raise ValueError("`fabric` must have been launched: call `fabric.launch()` before the classifier is made.")
    if fabric.device != device:
        raise ValueError(
            f"`fabric` must run on the classifier's device, {device}, got {fabric.device}. Make the classifier after "
            "`fabric.launch()`."
        )


def one_device(device: torch.device, precision: Any) -> Fabric:
    """A Fabric of one process on a device.

    :param device: The classifier's.
    :param precision: One of `PRECISIONS`.
    """
    if device.type == "cuda":
        return Fabric(accelerator="cuda", devices=[device.index or 0], precision=precision)
    return Fabric(accelerator=device.type, devices=1, precision=precision)


class InPrecision(nn.Module):
    """A module that runs in Fabric's precision and gives 32-bit floats.

    :param fabric: Gives the precision.
    :param module: What is run; compiled or not.
    """

    def __init__(self, fabric: Fabric, module: Any) -> None:
        super().__init__()
        self.fabric, self.module = fabric, module

    def forward(self, *inputs: Tensor) -> Any:
        """The module's output.

        :param inputs: What the module takes.
        """
        with self.fabric.autocast():
            out = self.module(*inputs)
        return self.fabric.strategy.precision.convert_output(out)
