"""A classifier and labelled samples, and what an attack leaves of its correct answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray

from art_mi.bridge import unchanged
from art_mi.evaluation.accuracy import outputs, undisturbed
from art_mi.evaluation.attacks import attack_settings
from art_mi.results import Accuracy, AttackedAccuracy
from art_mi.threat import NORMS, NormBall

SLACK = 1e-3  # of the radius: attacks project in float32


@dataclass(frozen=True)
class Target:
    """What is attacked.

    :param classifier: ART classifier.
    :param x: Raw inputs `(n, *input_shape)`, float32.
    :param y: Index labels `(n,)`.
    :param ball: Threat model.
    :param batch_size: Samples through the network at once.
    :param random_state: Seed; every attack starts from it anew, so that it finds the same whatever ran before.
    :param step: Of a larger target these are every so many-th sample.
    """

    classifier: PyTorchClassifier
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    ball: NormBall
    batch_size: int
    random_state: int
    step: int = 1

    def correct(self, x: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each of these inputs, in place of `self.x`, is classified correctly.

        :param x: Shape of `self.x`.
        """
        logits = outputs(self.classifier, x, self.batch_size, self.random_state)
        right: NDArray[np.bool_] = logits.argmax(1) == self.y
        return right

    def every(self, step: int) -> Target:
        """Every so many-th sample only.

        :param step: How many-th.
        """
        return replace(self, x=self.x[::step], y=self.y[::step], step=step)

    def under(self, attack: EvasionAttack) -> AttackedAccuracy:
        """Accuracy under an attack, whose own norm and radius count where it has them, otherwise those of the ball.

        A perturbed input that is not finite or lies outside ball or box counts as the unperturbed one; `settings` says
        how many were.

        :param attack: Untargeted attack on the classifier.
        :raises ValueError: If it returns inputs of another shape.
        """
        started = time.perf_counter()
        with undisturbed(self.classifier, self.random_state), unchanged(attack, self.random_state):
            x_adv = np.asarray(attack.generate(self.x.copy(), self.y), dtype=np.float32)
        if x_adv.shape != self.x.shape:
            raise ValueError(
                f"`attacks` must return inputs of the shape of `x`, {self.x.shape}, got {x_adv.shape} from "
                f"{type(attack).__name__}."
            )
        ball = own_ball(attack, self.ball)
        allowed = inside(x_adv, self.x, ball)
        correct = self.correct(np.where(allowed.reshape(-1, *[1] * (self.x.ndim - 1)), x_adv, self.x))
        outside = {"outside the ball, counted as unperturbed": int((~allowed).sum())} if not allowed.all() else {}
        return AttackedAccuracy(
            Accuracy.of(correct),
            float(ball.norm),
            ball.eps,
            time.perf_counter() - started,
            {**attack_settings(attack), **outside},
        )


def own_ball(attack: EvasionAttack, ball: NormBall) -> NormBall:
    """The ball that an attack stays in: by its `norm` and `eps` where it has both as numbers, otherwise the given one.

    :param attack: ART attack.
    :param ball: The ball of the threat model, whose box is kept.
    """
    norm, eps = getattr(attack, "norm", None), getattr(attack, "eps", None)
    norm = np.inf if norm == "inf" else norm
    if norm in NORMS and isinstance(eps, Real):
        return replace(ball, norm=norm, eps=float(eps))
    return ball


def inside(x_adv: NDArray[np.float32], x: NDArray[np.float32], ball: NormBall) -> NDArray[np.bool_]:
    """Whether each perturbed input is finite and within a thousandth of the radius of ball and box.

    :param x_adv: Shape `(n, ...)`.
    :param x: Centres of the same shape.
    :param ball: Threat model.
    """
    moved = np.nan_to_num(x_adv.astype(np.float64) - x, nan=np.inf).reshape(len(x), -1)
    within: NDArray[np.bool_] = np.linalg.norm(moved, ord=float(ball.norm), axis=1) <= (1 + SLACK) * ball.eps
    if ball.clip_values is not None:
        low, high = (np.asarray(v) for v in ball.clip_values)
        slack = SLACK * ball.eps
        within &= ((x_adv >= low - slack) & (x_adv <= high + slack)).reshape(len(x), -1).all(1)
    return within
