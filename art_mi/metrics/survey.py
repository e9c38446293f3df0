"""A first pass over clean samples: how many there are, of which classes, and the scale of their representations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from art_mi.channels import Moments
from art_mi.gradients import GradientCheck, check_gradients
from art_mi.metrics.measurement import Problem
from art_mi.representations import check_finite, in_batches


@dataclass(frozen=True)
class Census:
    """What is counted over all samples before any is moved; counts over parts of them add up.

    :param label_counts: How many are of each class, where labels were given.
    :param gradients: How many there are, and on how many an attack can be believed.
    """

    label_counts: NDArray[np.int64] | None
    gradients: GradientCheck

    @classmethod
    def of(cls, problem: Problem) -> Census:
        """That of the samples of a problem.

        :param problem: Gives samples and labels.
        """
        counts = None
        if problem.y is not None:
            counts = problem.y.bincount(minlength=problem.classifier.nb_classes).cpu().numpy()
        p = problem
        return cls(counts, check_gradients(p.represent, p.x, p.ball, p.batch_size, p.random_state))

    def __add__(self, other: Census) -> Census:
        counts = None
        if self.label_counts is not None and other.label_counts is not None:
            counts = self.label_counts + other.label_counts
        return Census(counts, self.gradients + other.gradients)


@dataclass(frozen=True)
class Survey:
    """What a first pass over clean samples finds.

    :param problem: The first chunk, whose settings are those of all.
    :param census: Of all samples.
    :param moments: Of their representations.
    :param first: Representation of the first sample, shape `(1, d)`.
    :param varies: Whether another sample's differs by more than rounding.
    """

    problem: Problem
    census: Census
    moments: Moments
    first: Tensor
    varies: bool

    def __add__(self, other: Survey) -> Survey:
        varies = self.varies or other.varies or _varies(other.first, self.first)
        return Survey(self.problem, self.census + other.census, self.moments + other.moments, self.first, varies)


def survey(chunks: Iterable[Problem]) -> Survey:
    """Look at all clean samples once.

    :param chunks: Problems that differ in their samples and seeds only.
    :raises ValueError: If the representation is not finite.
    """
    found: Survey | None = None
    for problem in chunks:
        z = in_batches(problem.represent, problem.x, problem.batch_size)
        check_finite(z)
        first = z[:1].clone()
        here = Survey(problem, Census.of(problem), Moments.of(z), first, _varies(z, first))
        found = here if found is None else found + here
    assert found is not None
    return found


def _varies(z: Tensor, first: Tensor) -> bool:
    """Whether rows differ from the first by more than a sum may round: a softmax's is 1 up to that."""
    return bool(((z - first).abs() > 10 * torch.finfo(z.dtype).eps * z.abs().amax(0)).any())
