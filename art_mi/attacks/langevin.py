"""DALE's sampler: perturbations drawn by Langevin Monte Carlo instead of maximised."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import count
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin
from art.summary_writer import SummaryWriter
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from art_mi import bridge
from art_mi.attacks.ascent import Move, ascend, best_of
from art_mi.losses import kl_divergence, log_error_probability
from art_mi.rules import BOOLEAN, NON_NEGATIVE, POSITIVE, Rule, check, integer, one_of, or_none
from art_mi.threat import NORMS, NormBall


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

RULES: dict[str, Rule] = {
    "norm": ("inf, 2 or 1", lambda v: isinstance(v, Real | str) and v in ("inf", *NORMS)),
    "eps": NON_NEGATIVE,
    "eps_step": POSITIVE,
    "max_iter": integer(0),
    "noise": one_of(NOISE),
    "temperature": NON_NEGATIVE,
    "step": one_of(("sign", "gradient")),
    "potential": one_of(POTENTIALS),
    "start_std": or_none(NON_NEGATIVE),
    "num_random_init": integer(0),
    "batch_size": integer(1),
    "random_state": or_none(integer(0)),
    "verbose": BOOLEAN,
}


class LangevinMonteCarlo(EvasionAttack):  # type: ignore[misc]
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
    """

    attack_params: ClassVar[list[str]] = [*EvasionAttack.attack_params, *RULES, "targeted"]
    _estimator_requirements = (BaseEstimator, LossGradientsMixin, ClassifierMixin)

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
        :param batch_size: Most samples through the network at once.
        :param random_state: Seed of the attack's own generator, which runs on from call to call; None for fresh
            entropy. Global random state is neither used nor changed.
        :param summary_writer: As in ART; called once a step, with one random start at most.
        :param verbose: Show progress bars.
        :raises TypeError: If `estimator` is not an ART `PyTorchClassifier`.
        :raises ValueError: If a value breaks its rule; the message names it.
        """
        bridge.check_classifier(estimator)
        super().__init__(estimator=estimator, summary_writer=summary_writer)
        self.norm, self.eps, self.eps_step, self.max_iter = norm, eps, eps_step, max_iter
        self.noise, self.temperature, self.step = noise, temperature, step
        self.potential, self.start_std, self.num_random_init = potential, start_std, num_random_init
        self.batch_size, self.random_state, self.verbose = batch_size, random_state, verbose
        self._check_params()
        self._batch_id, self._generator = 0, self._seeded()

    @property
    def targeted(self) -> bool:
        """False: potentials are of errors, not of a class."""
        return False

    @targeted.setter
    def targeted(self, targeted: bool) -> None:
        if targeted:
            raise ValueError(f"`targeted` must be False, got {targeted!r}.")

    def set_params(self, **kwargs: Any) -> None:
        """Change some of `attack_params`; the generator starts anew if `random_state` is among them.

        :param kwargs: Parameters by name.
        :raises ValueError: If a name is unknown or a value breaks its rule; nothing is changed then.
        """
        before = dict(self.__dict__)
        try:
            super().set_params(**kwargs)
        except ValueError:
            self.__dict__.update(before)
            raise
        if "random_state" in kwargs:
            self._generator = self._seeded()

    def generate(self, x: Any, y: Any = None, mask: Any = None) -> Any:
        """Perturbed inputs.

        :param x: Raw inputs `(n, *input_shape)`, array or tensor.
        :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels; the classifier's predictions by default.
        :param mask: Array or tensor that broadcasts against `x`; features where it is zero are not perturbed.
        :return: float32 array, or tensor on the device of `x` where `x` is one, of the shape of `x`.
        :raises TypeError: If an argument is not numeric.
        :raises ValueError: If a shape or a value breaks its rule.
        """
        inputs = bridge.input_tensor(self.estimator, x)
        if not len(inputs):
            raise ValueError("`x` must hold at least 1 sample, got none.")
        labels = None if y is None else bridge.label_tensor(self.estimator, y, len(inputs))
        allowed = None if mask is None else _mask_tensor(mask, inputs)
        moved = []
        batches = torch.arange(len(inputs), device=inputs.device).split(self.batch_size)
        for batch_id, index in enumerate(tqdm(batches, desc="Langevin", leave=False, disable=not self.verbose)):
            self._batch_id = batch_id
            y_batch, mask_batch = (None if part is None else part[index] for part in (labels, allowed))
            moved.append(self.perturb(inputs[index], y_batch, mask=mask_batch))
        if self.summary_writer is not None:
            self.summary_writer.reset()
        x_adv = torch.cat(moved)
        return x_adv.to(x.device) if isinstance(x, Tensor) else x_adv.cpu().numpy()

    def perturb(
        self,
        x: Tensor,
        y: Tensor | None = None,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Perturbed inputs of one batch, without leaving the device and without checks: what a trainer calls.

        :param x: Raw inputs `(n, *input_shape)` on the classifier's device, inside its `clip_values`.
        :param y: Index labels `(n,)`; the classifier's predictions by default.
        :param generator: Source of randomness on the device of `x`; the attack's own by default.
        :param mask: Broadcasts against `x`; features where it is zero are not perturbed.
        :return: Perturbed inputs of the same shape, without gradient.
        """
        x, generator = x.detach(), self._generator if generator is None else generator
        ball = bridge.norm_ball(self.estimator, self.norm, self.eps)
        with bridge.evaluating(self.estimator.model):
            target = self._target(x, y)

            def potential(x_adv: Tensor) -> Tensor:
                return POTENTIALS[self.potential](bridge.outputs(self.estimator, x_adv), target)

            def run() -> Tensor:
                start, move = self._start(x, ball, generator), self._move(ball, target, mask, generator)
                steps: dict[str, Any] = {"eps_step": float(self.eps_step), "max_iter": self.max_iter}
                return ascend(potential, x, ball, **steps, start=start, move=move, mask=mask)

            return best_of(potential, (run() for _ in range(max(1, self.num_random_init))))

    def _target(self, x: Tensor, y: Tensor | None) -> Tensor:
        """What the potential holds a prediction against: the clean logits for `"kl"`, labels otherwise."""
        if y is not None and self.potential != "kl":
            return y
        with torch.no_grad():
            clean = bridge.outputs(self.estimator, x)
        return clean if self.potential == "kl" else clean.argmax(1)

    def _start(self, x: Tensor, ball: NormBall, generator: torch.Generator) -> Tensor:
        if self.num_random_init:
            return ball.random_start(x, generator)
        std = START_STD[self.potential] if self.start_std is None else self.start_std
        return ball.project(x + std * _gaussian(x, generator), x) if std else x

    def _move(self, ball: NormBall, target: Tensor, mask: Tensor | None, generator: torch.Generator) -> Move:
        """Langevin's displacement, before the projection."""
        steps = count()

        def move(grad: Tensor, x_adv: Tensor, size: float) -> Tensor:
            self._report(next(steps), grad, x_adv, target)
            noise = math.sqrt(2 * size * self.temperature) * self._draw(grad, mask, generator)
            if self.step == "gradient":
                return (size * grad).nan_to_num() + noise
            if self.noise == "laplace":
                return size * ball.steepest(grad.nan_to_num() + noise, x_adv)
            return size * ball.steepest(grad, x_adv) + noise

        return move

    def _draw(self, like: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        if self.temperature == 0:
            return torch.zeros_like(like)
        draw = NOISE[self.noise](like, generator)
        return draw if mask is None else draw * (mask != 0)

    def _report(self, step: int, grad: Tensor, x_adv: Tensor, target: Tensor) -> None:
        """Tell ART's summary writer, where one is on, what it is told by ART's own attacks."""
        if self.summary_writer is not None:
            parts = grad, x_adv.detach(), target if target.ndim == 1 else target.argmax(1)
            grads, x, y = (part.cpu().numpy() for part in parts)
            place = {"batch_id": self._batch_id, "global_step": step, "estimator": self.estimator}
            self.summary_writer.update(**place, grad=grads, patch=None, x=x, y=y, targeted=False)

    def _seeded(self) -> torch.Generator:
        generator = torch.Generator(self.estimator.device)
        if self.random_state is None:
            generator.seed()
        else:
            generator.manual_seed(int(self.random_state))
        return generator

    def _check_params(self) -> None:
        super()._check_params()
        for name, rule in RULES.items():
            check(name, getattr(self, name), rule)
        if self.noise == "laplace" and self.step == "gradient":
            raise ValueError("`noise` must be 'gaussian' where `step` is 'gradient', got 'laplace'.")
        if self.summary_writer is not None and self.num_random_init > 1:
            raise ValueError(f"`num_random_init` must be at most 1 with a summary writer, got {self.num_random_init}.")


def _mask_tensor(mask: Any, x: Tensor) -> Tensor:
    """A mask as a Boolean tensor of the shape of `x`, on its device."""
    array: NDArray[Any] = np.asarray(mask.detach().cpu() if isinstance(mask, Tensor) else mask)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`mask` must be numeric, got an array of {array.dtype}.")
    try:
        return torch.from_numpy(array != 0).to(x.device).broadcast_to(x.shape)
    except RuntimeError as error:
        raise ValueError(f"`mask` must broadcast against `x`, {tuple(x.shape)}, got {array.shape}.") from error
