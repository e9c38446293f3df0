"""Randomness: the global generators, which ART and torch draw from, seeded for a while or kept.

Python's `random`, NumPy's global state, torch's CPU generator and, on a CUDA device, the generator of that device only.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from art_mi.interrupts import undivided
from art_mi.rules import SEED, check

PREDICTION, LOADING = 0x9E3779B9, 0x85EBCA6B  # by ^ they turn a seed into that of what a model draws, and a loader


@contextmanager
def isolated_randomness(random_state: int, device: torch.device, *others: torch.Generator) -> Iterator[None]:
    """Seed the global generators inside the block; on exit, also by an exception, they are exactly as before.

    Blocks of other threads wait; what another thread draws meanwhile without one is drawn from the seed, too.

    :param random_state: Seed from 0 to 2**32 - 1.
    :param device: CPU or CUDA device; other CUDA devices are not touched.
    :param others: Generators of someone's own, treated alike.
    :raises ValueError: If the seed is out of range or the device is neither.
    """
    check("random_state", random_state, SEED)
    generators = _generators(device, *others)
    with undivided():
        before = _states(generators)
        try:
            random.seed(int(random_state))
            np.random.seed(random_state)  # noqa: NPY002
            for generator in generators.values():
                generator.manual_seed(int(random_state))  # torch.manual_seed would seed all accelerators
            yield
        finally:
            _restore(before, generators)


class Stream:
    """Seeded generators that are in place within its blocks only, and in each go on from where the last one ended."""

    def __init__(self, random_state: int, device: torch.device, *others: torch.Generator) -> None:
        """See :func:`isolated_randomness`.

        :param random_state: Seed.
        :param device: Device.
        :param others: Generators of someone's own.
        """
        self._isolated = partial(isolated_randomness, random_state, device, *others)
        self._generators = _generators(device, *others)
        self._states: dict[str, Any] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """A block in which the generators are those of the stream."""
        with self._isolated():
            if self._states:
                _restore(self._states, self._generators)
            yield
            self._states = _states(self._generators)


def seed_of(generator: torch.Generator) -> int:
    """A seed that tells where a generator is, without a draw from it or a wait for its device.

    :param generator: Any generator.
    """
    return zlib.crc32(generator.get_state().numpy().tobytes())


def shifted(random_state: int, by: int) -> int:
    """Another seed, so much further on; after the last comes 0.

    :param random_state: Seed from 0 to 2**32 - 1.
    :param by: Distance.
    """
    return (random_state + by) % 2**32


def random_states(device: torch.device) -> dict[str, Any]:
    """States of the global generators, as a checkpoint stores them.

    :param device: CPU or CUDA device.
    :return: Copies, by the name of the generator: `"python"`, `"numpy"`, `"cpu"` and on a CUDA device `"cuda"`.
    :raises ValueError: If the device is neither.
    """
    return _states(_generators(device))


def restore_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Put the global generators back to what :func:`random_states` read.

    :param states: What it returned, on a device of the same type.
    :param device: CPU or CUDA device.
    :raises ValueError: If `states` lacks a generator of the device or has one too many.
    """
    generators = _generators(device)
    expected = ["python", "numpy", *generators]
    if set(states) != set(expected):
        raise ValueError(f"`states` must hold {', '.join(expected)} on {device.type}, got {', '.join(states)}.")
    _restore(states, generators)


def _generators(device: torch.device, *others: torch.Generator) -> dict[str, torch.Generator]:
    found = {"cpu": torch.default_generator, **{f"other {i}": generator for i, generator in enumerate(others)}}
    if device.type == "cpu":
        return found
    if device.type == "cuda":
        torch.cuda.init()  # there are no generators before
        index = torch.cuda.current_device() if device.index is None else device.index
        return {**found, "cuda": torch.cuda.default_generators[index]}
    raise ValueError(f"`device` must be a CPU or CUDA device, got {device.type}.")


def _states(generators: Mapping[str, torch.Generator]) -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002
        **{name: generator.get_state() for name, generator in generators.items()},
    }


def _restore(states: Mapping[str, Any], generators: Mapping[str, torch.Generator]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    for name, generator in generators.items():
        generator.set_state(states[name])
