"""The attack that papers call CW-inf: projected gradient ascent on Carlini and Wagner's margin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import Tensor

from art_mi import bridge
from art_mi.attacks.ascent import Objective
from art_mi.attacks.tensor_attack import COMMON_RULES, TensorAttack
from art_mi.rules import NON_NEGATIVE, POSITIVE, Rule, or_none


class MarginAttack(TensorAttack):
    """Projected gradient ascent on min(max_{k != y} f_k(x) - f_y(x), confidence), f the logits.

    Unlike cross-entropy, whose gradient rounds to zero where p_y rounds to 1, the margin of logits has a gradient
    however sure the classifier is, and logits multiplied by a constant are attacked alike.

    ART's `CarliniLInfMethod` solves another problem, the smallest perturbation that fools, by Adam within a box that it
    shrinks: it has no radius to compare at.

    | Paper link: https://arxiv.org/abs/1608.04644 (section V, objective f_6)

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi.attacks import MarginAttack
    >>> x_adv = MarginAttack(classifier, eps=0.2, random_state=0, verbose=False).generate(x, y)
    >>> bool((classifier.predict(x_adv).argmax(1) == y).mean() < (classifier.predict(x).argmax(1) == y).mean())
    True
    """

    rules: ClassVar[dict[str, Rule]] = {**COMMON_RULES, "eps_step": or_none(POSITIVE), "confidence": NON_NEGATIVE}
    attack_params: ClassVar[list[str]] = [*EvasionAttack.attack_params, *rules, "targeted"]

    def __init__(
        self,
        estimator: PyTorchClassifier,
        *,
        confidence: float = 50.0,
        norm: float | str = math.inf,
        eps: float = 0.3,
        eps_step: float | None = None,
        max_iter: int = 50,
        num_random_init: int = 1,
        batch_size: int = 128,
        random_state: int | None = None,
        verbose: bool = True,
    ) -> None:
        """Create a :class:`.MarginAttack` instance.

        :param estimator: ART `PyTorchClassifier` whose outputs are logits.
        :param confidence: Margin, in units of the logits, beyond which a sample is moved no further.
        :param norm: inf (or `"inf"`), 2 or 1.
        :param eps: Radius of the ball in raw input units.
        :param eps_step: Step size in raw input units; by default it falls linearly from 5 eps / max_iter to zero.
        :param max_iter: Number of steps.
        :param num_random_init: Random starts in the ball, of which each sample keeps the one of largest margin; 0
            starts at the input.
        :param batch_size: Most samples through the network at once; batches are of nearly equal size.
        :param random_state: Seed of the attack's own generator, which runs on from call to call; None for fresh
            entropy. Global random state is neither used nor changed.
        :param verbose: Show progress bars.
        :raises TypeError: If `estimator` is not an ART `PyTorchClassifier`.
        :raises ValueError: If a value breaks its rule; the message names it.
        """
        super().__init__(estimator, summary_writer=False)
        self.confidence = confidence
        self.norm, self.eps, self.eps_step, self.max_iter = norm, eps, eps_step, max_iter
        self.num_random_init, self.batch_size = num_random_init, batch_size
        self.random_state, self.verbose = random_state, verbose
        self._check_params()
        self._generator = self._seeded()

    @contextmanager
    def _objective(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Iterator[Objective]:
        with bridge.evaluating(self.estimator.model):
            labels = self._predicted(x) if y is None else y
            yield lambda x_adv: margin(bridge.outputs(self.estimator, x_adv), labels).clamp(max=self.confidence)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Largest logit of another class minus that of the label: positive where the classifier is wrong.

    :param logits: Shape `(n, nb_classes)`, at least 2 classes.
    :param y: Index labels `(n,)`.
    :return: Shape `(n,)`.
    """
    labelled = torch.zeros_like(logits, dtype=torch.bool).scatter(1, y[:, None], True)
    return logits.masked_fill(labelled, -math.inf).amax(1) - logits.gather(1, y[:, None])[:, 0]
