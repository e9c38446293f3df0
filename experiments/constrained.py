"""A defence made of two: MIMAE's objective under DALE's constraint."""

from __future__ import annotations

from typing import Any

import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn.functional import cross_entropy

from art_mi.trainers import MIMAETrainer
from art_mi.trainers.base import Terms


class ConstrainedMIMAETrainer(MIMAETrainer):
    """Minimise MIMAE's loss subject to a clean cross-entropy of at most rho, by a dual variable as DALE's.

    nu <- [nu + dual_lr (clean loss - rho)]_+ after each step, from 0, once `dual_warmup` epochs are over.
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: EvasionAttack,
        *,
        rho: float,
        dual_lr: float,
        dual_warmup: int,
        **options: Any,
    ) -> None:
        """Create a :class:`.ConstrainedMIMAETrainer` instance.

        :param classifier: ART `PyTorchClassifier` with an optimizer.
        :param attack: Any untargeted ART attack on it.
        :param rho: Margin of the clean cross-entropy.
        :param dual_lr: Step size of the dual variable.
        :param dual_warmup: Epochs before it begins to move.
        :param options: As in :class:`~art_mi.MIMAETrainer`.
        """
        super().__init__(classifier, attack, **options)
        self.rho, self.dual_lr, self.dual_warmup, self._moves = rho, dual_lr, dual_warmup, False
        self.duals["nu"] = torch.zeros((), dtype=torch.float64, device=classifier.device)

    def step(self, x: Tensor, y: Tensor | None) -> Terms:
        """See :class:`~art_mi.trainers.StepTrainer`; terms of MIMAE, `clean` and `nu`."""
        assert y is not None
        terms = super().step(x, y)
        clean, nu = cross_entropy(self.forward(x), y), self.duals["nu"].float()
        return {**terms, "loss": terms["loss"] + nu * clean, "clean": clean, "nu": nu}

    def before_epoch(self, epoch: int, nb_epochs: int) -> None:
        """See :class:`~art_mi.trainers.StepTrainer`."""
        self._moves = epoch >= self.dual_warmup

    def after_step(self, terms: Terms) -> None:
        """See :class:`~art_mi.trainers.StepTrainer`."""
        if self._moves:
            self.move_dual("nu", terms["clean"].double() - self.rho, self.dual_lr)
