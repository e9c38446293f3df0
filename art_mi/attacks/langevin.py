"""DALE's sampler: perturbations drawn by Langevin Monte Carlo instead of maximised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from art.summary_writer import SummaryWriter
from torch import Tensor
from torch.nn.functional import cross_entropy

from art_mi import bridge
from art_mi.attacks.ascent import Move, Objective
from art_mi.attacks.tensor_attack import COMMON_RULES, TensorAttack
from art_mi.losses import kl_divergence, log_error_probability
from art_mi.rules import NON_NEGATIVE, Rule, one_of, or_none
from art_mi.threat import NormBall


def _gaussian(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.empty_like(like).normal_(generator=generator)


def _laplace(like: Tensor, generator: torch.Generator) -> Tensor:
    """Density exp(-|xi|) / 2: the difference of two exponential variates."""
    one, other = (torch.empty_like(like).exponential_(generator=generator) for _ in range(2))
    return one - other


NOISE = {"gaussian": _gaussian, "laplace": _laplace}
POTENTIALS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "log_error": log_error_probability,
    "cross_entropy": partial(cross_entropy, reduction="none"),
    "kl": kl_divergence,
}
START_STD = {"log_error": 0.0, "cross_entropy": 0.0, "kl": 0.001}


class LangevinMonteCarlo(TensorAttack):
    """Projected Langevin Monte Carlo on a potential U of the perturbed input: the attack inside DALE.

    With `step="gradient"` and Gaussian noise it is algorithm 1,

    x <- project(x + eps_step grad U(x) + sqrt(2 eps_step temperature) xi), xi ~ N(0, I),

    whose law tends to the density exp(U / temperature) on the ball as the step shrinks: to one proportional to the
    error probability 1 - p_y at the default potential and temperature 1. It samples, it does not maximise; the hotter,
    the weaker the attack. The published code takes the steepest step of the norm in place of the gradient
    (`step="sign"`, the default), which has no such law: Gaussian noise is then added after the sign, Laplace noise
    inside it, sign(grad U + sqrt(2 eps_step temperature) xi). At temperature 0 that is projected gradient descent.

    Paper and published code differ otherwise too. The code's noise has a coefficient of its own, 1e-3 on MNIST, which
    the defaults reproduce as sqrt(2 * 0.1 * 5e-6). It starts at x + 0.001 N(0, I) (`start_std`), the paper at x. Its
    Laplace noise is added to the gradient of the batch's mean, here to each sample's own, batch-size times as large.
    Its potential breaks down where p_y rounds to 1; here it is computed in log space.

    | Paper link: https://arxiv.org/abs/2110.15767 (algorithm 1)
    | Code link: https://github.com/arobey1/advbench

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi import LangevinMonteCarlo
    >>> attack = LangevinMonteCarlo(classifier, eps=0.1, eps_step=0.05, random_state=0, verbose=False)
    >>> x_adv = attack.generate(x, y)
    >>> bool(abs(x_adv - x).max() < 0.1 + 1e-6)
    True
    """

    rules: ClassVar[dict[str, Rule]] = {
        **COMMON_RULES,
        "noise": one_of(NOISE),
        "temperature": NON_NEGATIVE,
        "step": one_of(("sign", "gradient")),
        "potential": one_of(POTENTIALS),
        "start_std": or_none(NON_NEGATIVE),
    }
    attack_params: ClassVar[list[str]] = [*EvasionAttack.attack_params, *rules, "targeted"]

    def __init__(
        self,
        estimator: PyTorchClassifier,
        *,
        norm: float | str = math.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        max_iter: int = 10,
        noise: str = "gaussian",
        temperature: float = 5e-6,
        step: str = "sign",
        potential: str = "log_error",
        start_std: float | None = None,
        num_random_init: int = 0,
        batch_size: int = 128,
        random_state: int | None = None,
        summary_writer: str | bool | SummaryWriter = False,
        verbose: bool = True,
    ) -> None:
        """Create a :class:`.LangevinMonteCarlo` instance.

        :param estimator: ART `PyTorchClassifier` whose outputs are logits.
        :param norm: inf (or `"inf"`), 2 or 1.
        :param eps: Radius of the ball in raw input units.
        :param eps_step: Step size: in raw input units with `step="sign"`, a factor of the gradient otherwise.
        :param max_iter: Number of steps.
        :param noise: `"gaussian"`, or `"laplace"` with `step="sign"` only.
        :param temperature: Scale of the noise; 0 for none.
        :param step: `"sign"`, the steepest step of norm `eps_step`, or `"gradient"`, that of each sample's potential.
        :param potential: `"log_error"`, log(1 - p_y); `"cross_entropy"`, -log p_y; or `"kl"`, the divergence of the
            prediction from that for the clean input, which needs no labels.
        :param start_std: Standard deviation of normal noise at the start; by default 0.001 for `"kl"`, whose gradient
            is zero at the clean input, and 0 for the others.
        :param num_random_init: Random starts in the ball; 0 starts at the input. Of several runs each sample keeps the
            one of highest potential, and is then no longer a draw from the law above.
        :param batch_size: Most samples through the network at once; batches are of nearly equal size.
        :param random_state: Seed of the attack's own generator, which runs on from call to call; None for fresh
            entropy. Global random state is neither used nor changed.
        :param summary_writer: As in ART; called once a step, with one random start at most.
        :param verbose: Show progress bars.
        :raises TypeError: If `estimator` is not an ART `PyTorchClassifier`.
        :raises ValueError: If a value breaks its rule; the message names it.
        """
        super().__init__(estimator, summary_writer)
        self.norm, self.eps, self.eps_step, self.max_iter = norm, eps, eps_step, max_iter
        self.noise, self.temperature, self.step = noise, temperature, step
        self.potential, self.start_std, self.num_random_init = potential, start_std, num_random_init
        self.batch_size, self.random_state, self.verbose = batch_size, random_state, verbose
        self._check_params()
        self._generator = self._seeded()

    @contextmanager
    def _objective(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Iterator[Objective]:
        with bridge.evaluating(self.estimator.model):
            target = self._target(x, y)
            yield lambda x_adv: POTENTIALS[self.potential](bridge.outputs(self.estimator, x_adv), target)

    def _target(self, x: Tensor, y: Tensor | None) -> Tensor:
        """What the potential holds a prediction against: the clean logits for `"kl"`, labels otherwise."""
        if y is not None and self.potential != "kl":
            return y
        with torch.no_grad():
            clean = bridge.outputs(self.estimator, x)
        return clean if self.potential == "kl" else clean.argmax(1)

    def _start(self, x: Tensor, ball: NormBall, generator: torch.Generator) -> Tensor:
        std = START_STD[self.potential] if self.start_std is None else self.start_std
        return ball.project(x + std * _gaussian(x, generator), x) if std else x

    def _move(self, ball: NormBall, mask: Tensor | None, generator: torch.Generator) -> Move:
        """Langevin's displacement, before the projection."""

        def move(grad: Tensor, x_adv: Tensor, size: float) -> Tensor:
            scale = min(math.sqrt(2 * size * self.temperature), torch.finfo(grad.dtype).max)
            noise = self._draw(grad, mask, generator).mul_(scale)
            if self.step == "gradient":
                return noise.add_((size * grad).nan_to_num())
            if self.noise == "laplace":
                return ball.steepest(noise.add_(grad.nan_to_num()), x_adv).mul_(size)
            return noise.add_(ball.steepest(grad, x_adv), alpha=size)

        return move

    def _draw(self, like: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        if self.temperature == 0:
            return torch.zeros_like(like)
        draw = NOISE[self.noise](like, generator)
        return draw if mask is None else draw * (mask != 0)

    def _check_params(self) -> None:
        super()._check_params()
        if self.noise == "laplace" and self.step == "gradient":
            raise ValueError("`noise` must be 'gaussian' where `step` is 'gradient', got 'laplace'.")
