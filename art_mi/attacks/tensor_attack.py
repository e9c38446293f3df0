"""What the attacks share: ART's interface around the one inner loop, on tensors."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, ClassVar

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin
from art.summary_writer import SummaryWriter
from torch import Tensor
from tqdm.auto import tqdm

from art_mi import bridge
from art_mi.attacks.ascent import Move, Objective, ascend, best_of, falling
from art_mi.randomness import isolated_randomness, seed_of
from art_mi.rules import BOOLEAN, NON_NEGATIVE, POSITIVE, SEED, Rule, check, integer, or_none
from art_mi.threat import NORM, NormBall

COMMON_RULES: dict[str, Rule] = {
    "norm": NORM,
    "eps": NON_NEGATIVE,
    "eps_step": POSITIVE,
    "max_iter": integer(0),
    "num_random_init": integer(0),
    "batch_size": integer(1),
    "random_state": or_none(SEED),
    "verbose": BOOLEAN,
}


class TensorAttack(EvasionAttack):  # type: ignore[misc]
    """An untargeted ART attack that climbs an objective by :func:`.ascend` and leaves everything else as it was.

    A subclass names its parameters in `rules` and ART's `attack_params`, and sets, checks and seeds them in its
    constructor. Its `_objective` says what is climbed, `_start` and `_move` from where and how.
    """

    rules: ClassVar[dict[str, Rule]] = COMMON_RULES
    smallest_batch: ClassVar[int] = 1
    _estimator_requirements = (BaseEstimator, LossGradientsMixin, ClassifierMixin)

    norm: float | str
    eps: float
    eps_step: float | None
    max_iter: int
    num_random_init: int
    batch_size: int
    random_state: int | None
    verbose: bool

    def __init__(self, estimator: PyTorchClassifier, summary_writer: str | bool | SummaryWriter) -> None:
        """Create the part of an attack that ART knows.

        :param estimator: ART `PyTorchClassifier`.
        :param summary_writer: As in ART; called once a step, with one random start at most.
        :raises TypeError: If `estimator` is not an ART `PyTorchClassifier`.
        :raises ValueError: If it preprocesses outside PyTorch, or `summary_writer` is none.
        """
        bridge.check_classifier(estimator, "estimator")
        check("summary_writer", summary_writer, ("a folder, True, False or a SummaryWriter", _is_writer))
        super().__init__(estimator=estimator, summary_writer=summary_writer)
        self._batch_id = 0

    @contextmanager
    @abstractmethod
    def _objective(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Iterator[Objective]:
        """What a batch climbs, in a context that keeps the networks in evaluation mode.

        :param x: Clean inputs `(n, *input_shape)`.
        :param y: Index labels `(n,)` or None.
        :param generator: Source of randomness.
        """

    def _start(self, x: Tensor, ball: NormBall, generator: torch.Generator) -> Tensor:
        """Where a run starts if not at random: at the clean inputs."""
        return x

    def _move(self, ball: NormBall, mask: Tensor | None, generator: torch.Generator) -> Move:
        """How a run moves: by the steepest step."""
        return lambda grad, x_adv, size: ball.steepest(grad, x_adv).mul_(size)

    @property
    def targeted(self) -> bool:
        """False: these objectives aim at no class."""
        return False

    @targeted.setter
    def targeted(self, targeted: bool) -> None:
        if targeted:
            raise ValueError(f"`targeted` must be False, got {targeted!r}.")

    def set_params(self, **kwargs: Any) -> None:
        """Change some of `attack_params`; the generator starts anew if `random_state` is among them.

        :param kwargs: Parameters by name.
        :raises TypeError: If a value is of another type; nothing is changed then.
        :raises ValueError: If a name is unknown or a value breaks its rule; nothing is changed then.
        """
        before = dict(self.__dict__)
        try:
            super().set_params(**kwargs)
        except (TypeError, ValueError):
            self.__dict__.update(before)
            raise
        if "random_state" in kwargs:
            self._generator = self._seeded()

    @torch.inference_mode(False)
    def generate(self, x: Any, y: Any = None, mask: Any = None) -> Any:
        """Perturbed inputs, made in batches of nearly equal size.

        A model that draws when it predicts is seeded from the attack's own generator.

        :param x: Raw inputs `(n, *input_shape)`, array or tensor.
        :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels; the classifier's predictions by default.
        :param mask: Array or tensor that broadcasts against `x`; features where it is zero are not perturbed.
        :return: Array, or tensor on the device of `x` where `x` is one, of the shape of `x` and, where that holds
            floats, of its dtype, inside ball and box in it; float32 otherwise.
        :raises TypeError: If an argument is not numeric.
        :raises ValueError: If a shape or a value breaks its rule.
        """
        inputs = bridge.input_tensor(self.estimator, x)
        labels = None if y is None else bridge.label_tensor(self.estimator, y, len(inputs))
        allowed = None if mask is None else _mask_tensor(mask, inputs)
        nb_batches = max(1, min(math.ceil(len(inputs) / self.batch_size), len(inputs) // self.smallest_batch))
        batches = torch.arange(len(inputs), device=inputs.device).tensor_split(nb_batches)
        moved = []
        bar = tqdm(batches, type(self).__name__, leave=False, disable=not self.verbose)
        seed = seed_of(self._generator)
        with isolated_randomness(seed, self.estimator.device):
            for batch_id, index in enumerate(bar):
                self._batch_id = batch_id
                y_batch, mask_batch = (None if part is None else part[index] for part in (labels, allowed))
                moved.append(self.perturb(inputs[index], y_batch, mask=mask_batch))
        if seed_of(self._generator) == seed:  # the attack drew nothing; the model shall draw anew in the next call
            torch.rand((), generator=self._generator, device=self._generator.device)
        if self.summary_writer is not None:
            self.summary_writer.reset()
        return self._returned(torch.cat(moved), inputs, x)

    def perturb(
        self,
        x: Tensor,
        y: Tensor | None = None,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Perturbed inputs of one batch, without leaving the device and without checks: what a trainer calls.

        A model that draws when it predicts draws from the global generators, which are the caller's to seed.

        :param x: Raw inputs `(n, *input_shape)` on the classifier's device, inside its `clip_values`.
        :param y: Index labels `(n,)`; the classifier's predictions by default.
        :param generator: Source of randomness on the device of `x`; the attack's own by default.
        :param mask: Broadcasts against `x`; features where it is zero are not perturbed.
        :return: Perturbed inputs of the same shape, without gradient.
        :raises ValueError: If there are too few samples.
        """
        if len(x) < self.smallest_batch:
            least = "1 sample" if self.smallest_batch == 1 else f"{self.smallest_batch} samples"
            raise ValueError(f"`x` must hold at least {least}, got {len(x) or 'none'}.")
        x, generator = x.detach(), self._generator if generator is None else generator
        ball = bridge.norm_ball(self.estimator, self.norm, self.eps)
        size = falling(ball.eps, self.max_iter) if self.eps_step is None else float(self.eps_step)
        with self._objective(x, y, generator) as objective:

            def run() -> Tensor:
                start = ball.random_start(x, generator) if self.num_random_init else self._start(x, ball, generator)
                move = self._reported(self._move(ball, mask, generator), x, y)
                steps: dict[str, Any] = {"eps_step": size, "max_iter": self.max_iter}
                return ascend(objective, x, ball, **steps, start=start, move=move, mask=mask)

            return best_of(objective, (run() for _ in range(max(1, self.num_random_init))))

    def _returned(self, x_adv: Tensor, inputs: Tensor, x: Any) -> Any:
        """Results of the kind of `x`, which was rounded to `inputs`: those of another float dtype are moved alike."""
        given = bridge.native(x).cpu() if isinstance(x, Tensor | np.ndarray) else inputs  # not all devices have 64 bits
        if given.is_floating_point() and given.dtype != inputs.dtype:
            moved = given.double() + (x_adv.cpu().double() - inputs.cpu().double())
            x_adv = bridge.norm_ball(self.estimator, self.norm, self.eps).project(moved.to(given.dtype), given)
        return x_adv.to(x.device) if isinstance(x, Tensor) else x_adv.cpu().numpy()

    def _reported(self, move: Move, x: Tensor, y: Tensor | None) -> Move:
        """The same move, of which ART's summary writer, where one is on, is told what ART's own attacks tell it."""
        if self.summary_writer is None:
            return move
        labels = self._predicted(x) if y is None else y
        steps = count()

        def reported(grad: Tensor, x_adv: Tensor, size: float) -> Tensor:
            grads, inputs, targets = (part.detach().cpu().numpy() for part in (grad, x_adv, labels))
            place = {"batch_id": self._batch_id, "global_step": next(steps), "estimator": self.estimator}
            self.summary_writer.update(**place, grad=grads, patch=None, x=inputs, y=targets, targeted=False)
            return move(grad, x_adv, size)

        return reported

    def _predicted(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return bridge.outputs(self.estimator, x).argmax(1)

    def _seeded(self) -> torch.Generator:
        generator = torch.Generator(self.estimator.device)
        if self.random_state is None:
            generator.seed()
        else:
            generator.manual_seed(int(self.random_state))
        return generator

    def _check_params(self) -> None:
        super()._check_params()
        for name, rule in self.rules.items():
            check(name, getattr(self, name), rule)
        if self.summary_writer is not None and self.num_random_init > 1:
            raise ValueError(f"`num_random_init` must be at most 1 with a summary writer, got {self.num_random_init}.")


def _is_writer(value: Any) -> bool:
    return isinstance(value, str | bool | SummaryWriter)


def _mask_tensor(mask: Any, x: Tensor) -> Tensor:
    """A mask as a Boolean tensor of the shape of `x`, on its device."""
    array = bridge.numbers("mask", mask)
    try:
        return torch.from_numpy(array != 0).to(x.device).broadcast_to(x.shape)
    except RuntimeError as error:
        raise ValueError(f"`mask` must broadcast against `x`, {tuple(x.shape)}, got {array.shape}.") from error
