"""How a trainer uses an ART attack: projected-gradient attacks as tensors, any other through `generate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import BasicIterativeMethod, ProjectedGradientDescent, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor

from art_mi.attacks import Objective, ascend, best_of
from art_mi.attacks.tensor_attack import TensorAttack
from art_mi.bridge import norm_ball, outputs, unchanged
from art_mi.losses import kl_divergence, log_odds
from art_mi.threat import NORMS, NormBall

PLAIN = (BasicIterativeMethod, ProjectedGradientDescent, ProjectedGradientDescentPyTorch)


def check_attack(classifier: PyTorchClassifier, attack: Any, name: str = "attack") -> None:
    """Refuse attacks that cannot be trained against.

    :param classifier: The classifier to be trained.
    :param attack: Anything.
    :param name: What the message calls the attack.
    :raises TypeError: If it is not an ART `EvasionAttack`.
    :raises ValueError: If it is targeted, or attacks another model.
    """
    if not isinstance(attack, EvasionAttack):
        raise TypeError(f"`{name}` must be an ART EvasionAttack, got {type(attack).__name__}.")
    if attack.targeted:
        raise ValueError(f"`{name}` must be untargeted, got a targeted {type(attack).__name__}.")
    if attack.estimator is not classifier and getattr(attack.estimator, "model", None) is not classifier.model:
        raise ValueError(f"`{name}` must attack the model of `classifier`, got a {type(attack).__name__} on another.")


@dataclass(frozen=True)
class ProjectedGradient:
    """What a projected-gradient attack is made of.

    :param ball: Threat model.
    :param eps_step: Step size in raw input units.
    :param max_iter: Number of steps.
    :param num_random_init: Random starts, the best of which counts sample by sample; 0 starts at the input.
    """

    ball: NormBall
    eps_step: float
    max_iter: int
    num_random_init: int = 0

    def craft(
        self, objective: Objective, x: Tensor, generator: torch.Generator | None, *, start_std: float = 0.0
    ) -> Tensor:
        """Inputs moved so that the objective rises.

        :param objective: Maps `(n, ...)` to one value a sample, or one of the batch.
        :param x: Clean inputs `(n, ...)`.
        :param generator: Source of the starts.
        :param start_std: Standard deviation of Gaussian noise at the start.
        """

        def run() -> Tensor:
            start = self.ball.random_start(x, generator) if self.num_random_init else x
            if start_std > 0:
                noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
                start = self.ball.project(start + start_std * noise, x)
            return ascend(objective, x, self.ball, eps_step=self.eps_step, max_iter=self.max_iter, start=start)

        return best_of(objective, (run() for _ in range(max(1, self.num_random_init))))


def projected_gradient(classifier: PyTorchClassifier, attack: EvasionAttack) -> ProjectedGradient | None:
    """The parts of a plain projected-gradient attack, None for one of another kind.

    Arrays of radii, random radii, momentum, other norms and subclasses are left to ART.

    :param classifier: Gives the clip values.
    :param attack: Any ART attack.
    """
    if type(attack) not in PLAIN or attack.norm not in ("inf", *NORMS):
        return None
    inner = getattr(attack, "_attack", attack)  # ART's wrapper does not show its momentum
    if attack.random_eps or inner.decay is not None or np.ndim(attack.eps) or np.ndim(attack.eps_step):
        return None
    ball = norm_ball(classifier, attack.norm, float(attack.eps))
    return ProjectedGradient(ball, float(attack.eps_step), attack.max_iter, attack.num_random_init)


Target = Callable[[PyTorchClassifier, Tensor, Tensor | None], Objective]


def loss(classifier: PyTorchClassifier, x: Tensor, y: Tensor | None) -> Objective:
    """The log odds against y of each sample as an objective, which rises with the cross-entropy.

    A step of steepest ascent is the same, but in float32 the gradient of the cross-entropy is lost where p_y rounds to
    1, so that confident samples would not be attacked and saturated networks look robust.

    :param classifier: Whose outputs are logits.
    :param x: Clean inputs `(n, ...)`.
    :param y: Index labels `(n,)`.
    """
    assert y is not None
    return lambda x_adv: -log_odds(outputs(classifier, x_adv), y)


def divergence(classifier: PyTorchClassifier, x: Tensor, y: Tensor | None) -> Objective:
    """KL(p(x) || p(x')) of each sample as an objective; its gradient is zero at the clean input.

    :param classifier: Whose outputs are logits.
    :param x: Clean inputs `(n, ...)`.
    :param y: Not used.
    """
    with torch.no_grad():
        clean = outputs(classifier, x)
    return lambda x_adv: kl_divergence(outputs(classifier, x_adv), clean)


def craft(
    classifier: PyTorchClassifier,
    attack: EvasionAttack,
    x: Tensor,
    y: Tensor | None,
    generator: torch.Generator | None,
    *,
    target: Target = loss,
    start_std: float = 0.0,
) -> Tensor:
    """Adversarial inputs for a batch on the device. The classifier must be in evaluation mode.

    :param classifier: The classifier under attack.
    :param attack: A projected-gradient attack lends its numbers; those of this package work on tensors; any
        other is run as it is, by `generate`, and has its settings back afterwards.
    :param x: Inputs `(n, ...)`.
    :param y: Index labels `(n,)`.
    :param generator: Source of randomness, where the attack takes one.
    :param target: What a projected-gradient attack climbs.
    :param start_std: Gaussian noise at the start of a projected-gradient attack.
    :return: Inputs of the same shape.
    :raises ValueError: If the attack returns anything else.
    """
    parts = projected_gradient(classifier, attack)
    if parts is not None:
        return parts.craft(target(classifier, x, y), x, generator, start_std=start_std)
    if isinstance(attack, TensorAttack):
        return attack.perturb(x, y, generator)
    with unchanged(attack), torch.enable_grad():
        made = attack.generate(x.cpu().numpy(), None if y is None else y.cpu().numpy())
    if np.shape(made) != tuple(x.shape):
        raise ValueError(f"`attack` must keep the shape {tuple(x.shape)} of its inputs, got {np.shape(made)}.")
    return torch.as_tensor(made, dtype=x.dtype, device=x.device)
