"""What every method of the metric is given, and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from tqdm.auto import tqdm

from art_mi.attacks.ascent import Objective, ascend, best_of, falling
from art_mi.intervals import percentile_interval
from art_mi.representations import Representation
from art_mi.results import Flag, MIEstimate
from art_mi.threat import NormBall

T = TypeVar("T")

FEWEST_PAIRS = 100
ENOUGH_PAIRS = 1000
BLOCK = 1024  # samples whose perturbations are sought jointly


@dataclass(frozen=True)
class Problem:
    """A representation, the inputs it is measured on, and the attacker.

    :param classifier: In evaluation mode for as long as the problem lives.
    :param layer: Dotted name of the measured layer, None for the output.
    :param represent: Map `(b, ...) -> (b, d)` in raw inputs.
    :param x: Raw inputs `(n, ...)` on the device.
    :param y: Index labels `(n,)` or None.
    :param ball: Threat model.
    :param eps_step: Step size, or None for one that falls linearly from 5 eps / max_iter to zero.
    :param max_iter: Steps of an attack.
    :param num_random_init: Random starts beside the one at the clean input.
    :param batch_size: Most samples through the network at once.
    :param random_state: Seed.
    :param verbose: Whether to show progress bars.
    """

    classifier: PyTorchClassifier
    layer: str | None
    represent: Representation
    x: Tensor
    y: Tensor | None
    ball: NormBall
    eps_step: float | None
    max_iter: int
    num_random_init: int
    batch_size: int
    random_state: int
    verbose: bool

    def generator(self) -> torch.Generator:
        """A fresh generator on the problem's device, always in the same state."""
        return torch.Generator(self.x.device).manual_seed(self.random_state)

    def joint(self, x: Tensor) -> Tensor:
        """`represent` of many samples with a gradient, no more than `batch_size` of them in memory at once.

        :param x: Inputs `(n, ...)`.
        """
        if len(x) <= self.batch_size:
            return self.represent(x)
        with set_checkpoint_early_stop(False):  # it stops by an exception, which TorchScript cannot pass through
            parts = [checkpoint(self.represent, part, use_reentrant=False) for part in x.split(self.batch_size)]
        return torch.cat(parts)

    def attack(
        self,
        objective: Objective,
        x: Tensor,
        generator: torch.Generator,
        *,
        max_iter: int | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Perturbed inputs on which `objective` is high: the best of the usual start and the random ones.

        :param objective: Maps `(n, ...)` to one value, or one a sample.
        :param x: Clean inputs `(n, ...)`.
        :param generator: Source of the random starts.
        :param max_iter: Number of steps, the problem's by default.
        :param start: Where to start, `x` by default.
        """
        steps = self.max_iter if max_iter is None else max_iter
        if self.ball.eps == 0 or steps == 0:
            return x.clone()
        size = falling(self.ball.eps, steps) if self.eps_step is None else self.eps_step
        starts = chain([start], (self.ball.random_start(x, generator) for _ in range(self.num_random_init)))
        runs = (ascend(objective, x, self.ball, eps_step=size, max_iter=steps, start=start) for start in starts)
        return best_of(objective, runs)

    def settings(self) -> dict[str, Any]:
        """Threat model and attack, as results show them."""
        return {
            "norm": float(self.ball.norm),
            "eps": self.ball.eps,
            "eps_step": self.eps_step if self.eps_step is not None else "5 eps / max_iter, falling linearly to 0",
            "max_iter": self.max_iter,
            "num_random_init": self.num_random_init,
            "batch_size": self.batch_size,
            "clip_values": None if self.ball.clip_values is None else [v.tolist() for v in self.ball.clip_values],
        }

    def progress(self, steps: Iterable[T], description: str) -> Iterable[T]:
        """The same steps behind a progress bar.

        :param steps: Anything finite.
        :param description: What the bar says.
        """
        return tqdm(steps, desc=description, leave=False, disable=not self.verbose)


@dataclass(frozen=True)
class Measurement:
    """What a method found, before it is turned into ceilings and a report.

    :param normal: Information on the clean inputs.
    :param worst_case: Information at the worst perturbation found; the same object as `normal` where none was worse.
    :param vulnerability: Their paired difference.
    :param ceiling_information: Nats that the accuracy ceiling is computed from.
    :param ceiling_direction: What that ceiling is and is not.
    :param label_information: I(Y; Z') in nats, where labels were given.
    :param label_entropy: The H(Y) in nats that bounds it, where that is not the one of all samples.
    :param measured_accuracy: Accuracy of the classifier on the perturbed inputs, where labels were given.
    :param own_critic: What the attacked critic itself reads.
    :param settings: The method's own settings.
    """

    normal: MIEstimate
    worst_case: MIEstimate
    vulnerability: MIEstimate
    ceiling_information: float
    ceiling_direction: str
    label_information: float | None = None
    label_entropy: float | None = None
    measured_accuracy: float | None = None
    own_critic: MIEstimate | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def constant(estimator: str, nb_samples: int, random_state: int) -> MIEstimate:
    """What is the same on all clean inputs says nothing of them, and no attack leaves less.

    :param estimator: Name of what is constant.
    :param nb_samples: On how many samples.
    :param random_state: Seed.
    """
    return MIEstimate(
        value=0.0,
        confidence_interval=(0.0, 0.0),
        estimator=estimator,
        bias="none: it is the same on all clean inputs, and information is never below 0",
        nb_samples=nb_samples,
        random_state=random_state,
        lower=0.0,
        upper=0.0,
        replicates=np.zeros(1000),
    )


MISREAD = {Flag.SATURATED, Flag.CRITIC_OVERFIT, Flag.NEGATIVE}  # the information may be larger than what was read


def difference(
    normal: MIEstimate, worst: MIEstimate, bias: str, *, attacked: bool, undercounted: float = 0.0
) -> MIEstimate:
    """Representation vulnerability from two estimates over the same resamples, each taken as 0 where it is below.

    | Paper link: https://arxiv.org/abs/2002.11798 (equation 4.1)

    :param normal: J1.
    :param worst: J2; `normal` itself where no perturbation was worse, which makes the vulnerability exactly 0.
    :param bias: Direction of every known bias, in words.
    :param attacked: Whether there was room for a perturbation. If so, a vulnerability of 0 is what the attack failed to
        raise: it has no upper side, and no limit above where the normal information was not read as it is.
    :param undercounted: By how many nats `normal` is low for counting few samples; `worst` is low by less.
    """
    value = max(normal.value, 0.0) - max(worst.value, 0.0)
    replicates = np.maximum(normal.replicates, 0.0) - np.maximum(worst.replicates, 0.0)
    interval = percentile_interval(replicates)
    lower: float | None = None
    upper: float | None = None
    if worst is normal:
        if normal.lower is not None:
            lower, upper = 0.0, None if attacked else 0.0
        interval = (0.0, 0.0)
        bias = "low: no perturbation found was worse than none" if attacked else "none: nothing may move"
    elif not (normal.lower is None or normal.upper is None or worst.lower is None or worst.upper is None):
        lower, upper = normal.lower - worst.upper, normal.upper - worst.lower
        # Replicates are those of the value: an end of the interval lies beyond its side as far as beyond the value
        interval = (interval[0] - (value - lower), interval[1] + (upper - value) + undercounted)
    failed = worst is normal and MISREAD & set(normal.flags)
    if attacked and (failed or (Flag.SATURATED in normal.flags and normal.lower is None)):
        interval = (interval[0], math.inf)
    return MIEstimate(
        value=value,
        confidence_interval=interval,
        estimator=f"difference of {normal.estimator} estimates",
        bias=bias,
        nb_samples=normal.nb_samples,
        random_state=normal.random_state,
        lower=lower,
        upper=upper,
        flags=tuple(flag for flag in Flag if flag in normal.flags or flag in worst.flags),
        replicates=replicates,
    )
