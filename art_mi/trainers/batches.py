"""Where the batches of an epoch come from: arrays, a torch loader, or an ART generator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from art.data_generators import DataGenerator, NumpyDataGenerator
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from art_mi.bridge import input_tensor, label_tensor
from art_mi.loaders import check_filled, own_generators
from art_mi.randomness import isolated_randomness

Batch = tuple[Tensor, Tensor | None]


class Batches(Protocol):
    """Batches of inputs `(b, ...)` and index labels `(b,)` on the classifier's device, a known number an epoch."""

    def __len__(self) -> int: ...

    @property
    def size(self) -> int:
        """Samples in a batch of this process: the fewest of arrays, those of a loader's first batch."""
        ...

    @property
    def labelled(self) -> bool:
        """Whether labels come with the inputs."""
        ...

    def epoch(self, seed: int) -> Iterator[Batch]:
        """The batches of one epoch; what is drawn follows `seed` where the source allows it.

        :param seed: Seed of what is drawn.
        """
        ...


@dataclass(frozen=True)
class ArrayBatches:
    """Batches of nearly equal size, so that no small one is left; each process takes its share of each.

    Shares are equal: of a batch whose size the number of processes does not divide, the last samples are left out.

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

    @property
    def size(self) -> int:
        """See :class:`Batches`."""
        return len(self.x) // len(self) // self.world_size

    @property
    def labelled(self) -> bool:
        """See :class:`Batches`."""
        return self.y is not None

    def epoch(self, seed: int) -> Iterator[Batch]:
        """See :class:`Batches`."""
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(seed)).to(self.x.device)
        for batch in order.tensor_split(len(self)):
            shared = batch[: len(batch) // self.world_size * self.world_size]
            index = shared[self.rank :: self.world_size]
            yield self.x[index], None if self.y is None else self.y[index]


@dataclass(frozen=True)
class LoaderBatches:
    """Batches of a `DataLoader`: tensors, or sequences of inputs and labels.

    What torch's samplers and the data set draw from global generators, torch's, NumPy's and Python's, from a generator
    given to the loader, or in worker processes, is drawn again alike by a resumed run; not so by persistent workers,
    whose generators run on from epoch to epoch, nor from a generator of the data set's own.

    :param loader: Any loader of known length; for several processes one that Fabric has set up.
    :param classifier: Gives device, input shape and number of classes.
    """

    loader: DataLoader[Any]
    classifier: PyTorchClassifier

    def __len__(self) -> int:
        try:
            return len(self.loader)
        except TypeError as error:
            raise ValueError("`x` must be a DataLoader of known length, got one that has none.") from error

    @cached_property
    def first(self) -> Batch:
        """The first batch, checked before any training.

        :raises ValueError: If there is none, or it breaks a rule.
        """
        with isolated_randomness(0, self.classifier.device):
            for batch in self.epoch(0):
                return batch
        raise ValueError("`x` must hold samples, got an empty DataLoader.")

    @property
    def size(self) -> int:
        """See :class:`Batches`."""
        return len(self.first[0])

    @property
    def labelled(self) -> bool:
        """See :class:`Batches`."""
        return self.first[1] is not None

    def epoch(self, seed: int) -> Iterator[Batch]:
        """See :class:`Batches`."""
        with self._seeded(seed):
            for batch in self.loader:
                parts = batch if isinstance(batch, list | tuple) else (batch,)
                yield _checked(self.classifier, parts[0], parts[1] if len(parts) > 1 else None)

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Generators that the loader was given start from the seed, and are as before afterwards."""
        loader: Any = self.loader
        sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
        given = own_generators(loader)
        before = [generator.get_state() for generator in given]
        if isinstance(sampler, DistributedSampler):
            sampler.seed = seed
            sampler.set_epoch(0)
            loader._num_iter_calls = 0  # Fabric adds to the seed how often it has been asked
        try:
            for generator in given:
                generator.manual_seed(seed)
            yield
        finally:
            for generator, state in zip(given, before, strict=True):
                generator.set_state(state)


@dataclass(frozen=True)
class GeneratorBatches:
    """Batches of an ART `DataGenerator`, as many as make up its size.

    A `NumpyDataGenerator` begins anew with every epoch; any other goes on where it is, in a resumed run too.

    :param generator: Any ART generator of known size.
    :param classifier: Gives device, input shape and number of classes.
    :param labelled: Whether it gives labels, as ART's do.
    """

    generator: DataGenerator
    classifier: PyTorchClassifier
    labelled: bool = True

    def __len__(self) -> int:
        if type(self.generator) is NumpyDataGenerator:
            return int(self.generator.batches_per_epoch)
        return math.ceil(int(self.generator.size) / int(self.generator.batch_size))

    @property
    def size(self) -> int:
        """See :class:`Batches`."""
        return int(min(self.generator.size, self.generator.batch_size))

    def epoch(self, seed: int) -> Iterator[Batch]:
        """See :class:`Batches`."""
        anew = iter(self.generator) if type(self.generator) is NumpyDataGenerator else None
        for _ in range(len(self)):
            x, y = self.generator.get_batch() if anew is None else next(anew)
            if y is None:
                raise ValueError("`generator` must give labels, got None.")
            yield _checked(self.classifier, x, y)


def _checked(classifier: PyTorchClassifier, x: Any, y: Any) -> Batch:
    inputs = check_filled(input_tensor(classifier, x))
    return inputs, None if y is None else label_tensor(classifier, y, len(inputs))
