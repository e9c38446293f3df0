"""Samples a chunk at a time, of a `DataLoader` that is too long to be in memory at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from art_mi import bridge
from art_mi.loaders import Batch, batches, joined
from art_mi.metrics.measurement import BLOCK, FEWEST_PAIRS

CHUNK = 4 * BLOCK  # samples that are in memory together

SEQUENTIAL = (
    "`x` gives more than {} samples in the order of its dataset, and they are measured in chunks of consecutive ones: "
    "unless they lie in random order there, pass a DataLoader with shuffle=True."
)

Chunk = tuple[Tensor, Tensor | None]
ALL = slice(None)


class Chunks:
    """Inputs and labels as tensors on the device, a chunk at a time, as often as they are asked for.

    Arrays are one chunk. Of a loader all chunks but the last hold `size` samples and the last up to a quarter more, so
    that none is small; that many samples or fewer are one chunk, which is read once and kept.
    """

    def __init__(self, classifier: PyTorchClassifier, x: Any, y: Any, size: int, random_state: int = 0) -> None:
        """Read nothing yet.

        :param classifier: Gives device, input shape, clip values and number of classes.
        :param x: Raw inputs `(n, *input_shape)`: array, tensor or `DataLoader` of inputs or (input, label) pairs.
        :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels; they go before those of a loader.
        :param size: Samples in a chunk of a loader.
        :param random_state: Seed of what a loader draws, each time anew.
        """
        self._classifier, self._x, self._y, self._size, self._random_state = classifier, x, y, size, random_state
        self._most = size + size // 4
        self._kept: Chunk | None = None
        self._nb_samples: int | None = None
        self._labelled = True

    def __iter__(self) -> Iterator[Chunk]:
        """All chunks, checked on the way.

        :raises TypeError: If inputs or labels are not numeric.
        :raises ValueError: If they break a rule of :mod:`art_mi.bridge`, are too few, or not as many as the first time.
        """
        if self._kept is not None:
            yield self._kept
            return
        nb_samples, labelled, given = 0, self._labelled, None
        for index, x, y in self._of_loader() if isinstance(self._x, DataLoader) else [(ALL, self._x, None)]:
            inputs = bridge.input_tensor(self._classifier, x)
            nb_samples += len(inputs)
            if len(inputs) < FEWEST_PAIRS:
                raise ValueError(f"`x` must hold at least {FEWEST_PAIRS} samples, got {len(inputs)}.")
            if self._y is not None:
                given = self._given(index, len(inputs)) if given is None else given
                y = given[index] if len(given) >= nb_samples else None  # refused at the end, when the number is known
            labelled = labelled and y is not None
            labels = bridge.label_tensor(self._classifier, y, len(inputs)) if labelled else None
            if index is ALL:
                self._kept = inputs, labels
            yield inputs, labels
        self._end(nb_samples, labelled, given)

    def _end(self, nb_samples: int, labelled: bool, given: Tensor | None) -> None:
        """Hold a finished pass against the labels and against the one before."""
        if given is not None and len(given) != nb_samples:
            bridge.label_tensor(self._classifier, self._y, nb_samples)
        if self._nb_samples not in (None, nb_samples):
            raise ValueError(f"`x` must give the same samples each time, got {self._nb_samples}, then {nb_samples}.")
        self._nb_samples, self._labelled = nb_samples, labelled

    def _given(self, index: slice, n: int) -> Tensor:
        """The labels that were passed beside `x`, for all samples."""
        if index is not ALL:
            n = (np.shape(self._y) or (0,))[0]
        return bridge.label_tensor(self._classifier, self._y, n)

    def _of_loader(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Samples of a loader, cut where chunks end, whatever the size of its batches."""
        done, number, held = 0, 0, list[Batch]()
        sampler = getattr(self._x.batch_sampler, "sampler", self._x.sampler)
        for batch in batches(self._x, self._random_state, labelled=self._y is None):
            held.append(batch)
            number += len(batch[0])
            while number > self._most:
                if done == 0 and self._nb_samples is None and isinstance(sampler, SequentialSampler):
                    warnings.warn(SEQUENTIAL.format(self._most), stacklevel=2)
                x, y = joined(held)
                held = [(x[self._size :].clone(), None if y is None else y[self._size :].clone())]
                x, y = x[: self._size].clone(), None if y is None else y[: self._size]
                yield slice(done, done + self._size), x, y
                done, number = done + self._size, number - self._size
        if held or self._nb_samples is None:
            yield slice(done, done + number) if done else ALL, *joined(held)
