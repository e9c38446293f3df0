"""Clean and attacked accuracy during training, on tensors."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from art.attacks.attack import EvasionAttack
from torch import Tensor

from art_mi import bridge
from art_mi.threat import NORMS
from art_mi.trainers import crafting

if TYPE_CHECKING:
    from art_mi.trainers.base import StepTrainer

STEPS = 20


@dataclass(frozen=True)
class Validation:
    """Samples, and the attack they are validated under.

    :param trainer: Whose classifier is validated.
    :param x: Inputs `(n, ...)` on the device.
    :param y: Index labels `(n,)` on the device.
    :param attack: What attacks them; None for no attack.
    :param batch_size: Most samples in a batch.
    """

    trainer: StepTrainer
    x: Tensor
    y: Tensor
    attack: EvasionAttack | crafting.ProjectedGradient | None = None
    batch_size: int = 256

    @classmethod
    def of(cls, trainer: StepTrainer, data: Any, attack: EvasionAttack | None) -> Validation:
        """Checked samples on the classifier's device.

        :param trainer: Whose classifier is validated.
        :param data: Pair of inputs and labels.
        :param attack: ART attack on that classifier; by default twenty projected-gradient steps of eps / 8 within the
            radius and norm that the trainer's attack has now, that attack itself where it has neither.
        :raises TypeError: If `attack` is no attack, or `data` not numeric.
        :raises ValueError: If `data` is not such a pair, or its values break a rule.
        """
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise ValueError(f"`validation_data` must be a pair (x, y), got {type(data).__name__}.")
        if attack is not None:
            crafting.check_attack(trainer.classifier, attack, "validation_attack")
        try:
            x = bridge.input_tensor(trainer.classifier, data[0])
            if len(x) == 0:
                raise ValueError("`x` must hold samples, got none.")
            y = bridge.label_tensor(trainer.classifier, data[1], len(x))
        except (TypeError, ValueError) as error:
            raise type(error)(f"`validation_data` must be a pair (x, y), but {error}") from error
        return cls(trainer, x, y, _default_attack(trainer) if attack is None else attack)

    def measure(self) -> dict[str, float]:
        """`clean_accuracy` and, where there is an attack, `robust_accuracy`, in [0, 1]."""
        generator = torch.Generator(self.x.device).manual_seed(self.trainer.random_state)
        clean, robust = [], []
        with bridge.evaluating(self.trainer.classifier.model):
            for x, y in zip(self.x.split(self.batch_size), self.y.split(self.batch_size), strict=True):
                clean.append(self._correct(x, y))
                x_adv = self._attacked(x, y, generator)
                if x_adv is not None:
                    robust.append(self._correct(x_adv, y) & clean[-1])
        rates = {"clean_accuracy": clean, **({"robust_accuracy": robust} if robust else {})}
        return {name: float(torch.cat(correct).double().mean()) for name, correct in rates.items()}

    def _correct(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return bridge.outputs(self.trainer.classifier, x).argmax(1) == y

    def _attacked(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor | None:
        classifier = self.trainer.classifier
        if isinstance(self.attack, crafting.ProjectedGradient):
            return self.attack.craft(crafting.loss(classifier, x, y), x, generator)
        return None if self.attack is None else crafting.craft(classifier, self.attack, x, y, generator)


def _default_attack(trainer: StepTrainer) -> EvasionAttack | crafting.ProjectedGradient | None:
    norm, eps = getattr(trainer.attack, "norm", None), getattr(trainer.attack, "eps", None)
    if norm in ("inf", *NORMS) and isinstance(eps, Real) and float(eps) > 0:
        ball = bridge.norm_ball(trainer.classifier, norm, float(eps))
        return crafting.ProjectedGradient(ball, ball.eps / 8, STEPS)
    return trainer.attack
