"""Where the batches of an epoch come from: arrays, a torch loader, or an ART generator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from art.data_generators import DataGenerator
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.utils.data import DataLoader

from art_mi.bridge import input_tensor, label_tensor

Batch = tuple[Tensor, Tensor | None]


class Batches(Protocol):
    """Batches of inputs `(b, ...)` and index labels `(b,)` on the classifier's device, a known number an epoch."""

    def __len__(self) -> int: ...

    def epoch(self, seed: int) -> Iterator[Batch]:
        """The batches of one epoch; what is drawn follows `seed` where the source allows it."""
        ...


@dataclass(frozen=True)
class ArrayBatches:
    """Batches of nearly equal size, so that none is left with a single sample; each process takes its share of each.

    :param x: Inputs `(n, ...)` on the device.
    :param y: Index labels `(n,)` on the device, or None.
    :param batch_size: Most samples in a batch, all processes together.
    :param rank: Number of this process.
    :param world_size: Number of processes.
    """

    x: Tensor
    y: Tensor | None
    batch_size: int
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batch_size)

    def epoch(self, seed: int) -> Iterator[Batch]:
        """See :class:`Batches`."""
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(seed)).to(self.x.device)
        for batch in order.tensor_split(len(self)):
            # Equal shares, so that the mean over processes of their means is the mean over the batch
            index = batch[: len(batch) - len(batch) % self.world_size][self.rank :: self.world_size]
            yield self.x[index], None if self.y is None else self.y[index]


@dataclass(frozen=True)
class LoaderBatches:
    """Batches of a `DataLoader`: tensors, or sequences of inputs and labels.

    :param loader: Any loader of known length.
    :param classifier: Gives device, input shape and number of classes.
    """

    loader: DataLoader[Any]
    classifier: PyTorchClassifier

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, seed: int) -> Iterator[Batch]:
        """See :class:`Batches`."""
        for batch in self.loader:
            x, y = batch[:2] if isinstance(batch, list | tuple) and len(batch) > 1 else (_first(batch), None)
            yield _checked(self.classifier, x, y)


@dataclass(frozen=True)
class GeneratorBatches:
    """Batches of an ART `DataGenerator`, as many as make up its size.

    :param generator: Any ART generator.
    :param classifier: Gives device, input shape and number of classes.
    """

    generator: DataGenerator
    classifier: PyTorchClassifier

    def __len__(self) -> int:
        return -(-int(self.generator.size) // int(self.generator.batch_size))

    def epoch(self, seed: int) -> Iterator[Batch]:
        """See :class:`Batches`."""
        for _ in range(len(self)):
            x, y = self.generator.get_batch()
            yield _checked(self.classifier, x, y)


def _first(batch: Any) -> Any:
    return batch[0] if isinstance(batch, list | tuple) else batch


def _checked(classifier: PyTorchClassifier, x: Any, y: Any) -> Batch:
    inputs = input_tensor(classifier, x)
    return inputs, None if y is None else label_tensor(classifier, y, len(inputs))
