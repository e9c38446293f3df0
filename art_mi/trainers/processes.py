"""What several processes share: weights, gradients, means and decisions. With one process nothing happens.

Gradients are averaged here and not by torch's `DistributedDataParallel`, which expects one forward pass a step through
the whole model: trainers run several, freeze parts, and read layers. Every process must reach the same parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed
from torch.optim import Optimizer


def gather(fabric: Fabric, values: Tensor) -> Tensor:
    """Rows of all processes in the order of their ranks, with gradients; as many from each.

    Where every process forms the same function of these rows, the mean over processes of its gradients is right.

    :param fabric: The processes.
    :param values: This process's rows `(b, ...)`.
    :return: Rows `(world_size * b, ...)`.
    """
    if fabric.world_size == 1:
        return values
    rows = fabric.all_gather(values, sync_grads=True)
    assert isinstance(rows, Tensor)
    return rows.flatten(0, 1)


def gathered(fabric: Fabric, value: Any) -> list[Any]:
    """A plain value of each process, in the order of their ranks.

    :param fabric: The processes.
    :param value: This process's.
    """
    values = [value] * fabric.world_size
    if fabric.world_size > 1:
        distributed.all_gather_object(values, value)
    return values


def share(fabric: Fabric, states: Iterable[Mapping[str, Any]]) -> None:
    """Give all processes the weights of the first, in place.

    :param fabric: The processes.
    :param states: Names and tensors, the same ones in each process.
    """
    if fabric.world_size > 1:
        for state in states:
            for value in state.values():
                if isinstance(value, Tensor):
                    distributed.broadcast(value, 0)


def mean(fabric: Fabric, values: Tensor) -> Tensor:
    """Means over processes.

    :param fabric: The processes.
    :param values: Of the same shape in each process.
    """
    if fabric.world_size == 1:
        return values
    total = values.clone()
    distributed.all_reduce(total)  # Fabric's own waits for the device
    return total / fabric.world_size


@torch.no_grad()
def average_gradients(fabric: Fabric, optimizers: Iterable[Optimizer]) -> None:
    """Replace gradients by their means over processes.

    :param fabric: The processes.
    :param optimizers: Whose parameters have gradients, the same ones in each process.
    """
    if fabric.world_size == 1:
        return
    groups = [group["params"] for optimizer in optimizers for group in optimizer.param_groups]
    grads = [parameter.grad for group in groups for parameter in group if parameter.grad is not None]
    means = mean(fabric, torch.cat([grad.flatten() for grad in grads]))
    for grad, part in zip(grads, means.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))
