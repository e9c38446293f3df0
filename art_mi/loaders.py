"""Data loaders: read in one pass, by generators of their own, and refused when they give less than they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from art_mi.randomness import LOADING, Stream
from art_mi.rules import SEED, check

Batch = tuple[Tensor, Tensor | None]


def loaded(x: Any, y: Any = None, random_state: int = 0) -> tuple[Any, Any]:
    """Inputs and labels of a `DataLoader`, read in one pass so that they match; anything else as it is.

    :param x: What a caller passed as inputs.
    :param y: What a caller passed as labels; they go before those of the loader.
    :param random_state: Seed of what a loader draws.
    :raises ValueError: See :func:`batches`.
    """
    if not isinstance(x, DataLoader):
        return x, y
    inputs, labels = joined(list(batches(x, random_state, labelled=y is None)))
    return inputs, labels if y is None else y


def batches(loader: DataLoader[Any], random_state: int = 0, *, labelled: bool = True) -> Iterator[Batch]:
    """Inputs and labels, where there are any, of a loader's batches.

    Loader and data set draw from the seed, and nothing else does: between batches all generators are as without them.

    :param loader: Of inputs, or of tuples that begin with inputs and labels.
    :param random_state: Seed of what is drawn.
    :param labelled: Whether the labels are wanted.
    :raises ValueError: If a batch is empty, or there are fewer than the loader's length says.
    """
    check("random_state", random_state, SEED)
    stream = Stream(random_state ^ LOADING, torch.device("cpu"), *own_generators(loader))
    source, end, count = None, object(), 0
    while True:
        with stream.running():
            source = iter(loader) if source is None else source
            batch = next(source, end)
        if batch is end:
            break
        columns = batch if isinstance(batch, list | tuple) else (batch,)
        has_labels = labelled and len(columns) > 1
        yield check_filled(_column("x", columns[0])), _column("y", columns[1]) if has_labels else None
        count += 1
    with suppress(TypeError):  # a loader of unknown length
        check_complete(count, len(loader))


def own_generators(loader: DataLoader[Any]) -> list[torch.Generator]:
    """Generators that a loader or its sampler was given.

    :param loader: Any loader.
    """
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    given = (loader.generator, getattr(sampler, "generator", None))
    return [generator for generator in given if isinstance(generator, torch.Generator)]


def check_filled(x: Tensor) -> Tensor:
    """Refuse a batch without samples.

    :param x: Inputs of a loader's batch.
    :return: The inputs.
    :raises ValueError: If there are none.
    """
    if x.ndim and len(x) == 0:
        raise ValueError("`x` must hold samples in each batch, got an empty one.")
    return x


def check_complete(count: int, length: int, when: str = "") -> None:
    """Refuse a loader that ends early.

    :param count: Batches that it gave.
    :param length: Batches that it says it has.
    :param when: What the message says of the time.
    :raises ValueError: If it gave fewer.
    """
    if count < length:
        raise ValueError(f"`x` must give the {length} batches that its length says, got {count}{when}.")


def _column(name: str, values: Any) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"`{name}` must come in batches of inputs, or of tuples that begin with inputs and labels, got "
            f"{type(values).__name__} that is no tensor: {error}"
        ) from error


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches as one; without labels unless all have them.

    :param parts: Inputs and labels or None.
    :raises ValueError: If there are none.
    """
    if not parts:
        raise ValueError("`x` must hold samples, got an empty DataLoader.")
    labels = [y for _, y in parts if y is not None]
    return torch.cat([x for x, _ in parts]), torch.cat(labels) if len(labels) == len(parts) else None
