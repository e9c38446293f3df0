"""DALE: adversarial training as constrained learning, with a dual variable that holds the clean loss at a margin."""

from __future__ import annotations

from typing import Any

import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn.functional import cross_entropy

from art_mi.losses import kl_divergence
from art_mi.rules import BOOLEAN, NON_NEGATIVE, POSITIVE, check, integer, one_of, or_none
from art_mi.trainers.base import StepTrainer, Terms
from art_mi.trainers.crafting import divergence, loss


class DALETrainer(StepTrainer):
    """Minimise the loss on sampled perturbations subject to a clean loss of at most rho, by primal and dual steps.

    theta descends E[robust loss] + nu E[clean loss], and nu <- [nu + dual_lr (clean loss - rho)]_+. Algorithm 1 starts
    nu at 0 and moves it once an epoch; the published code starts it at 1 and moves it once a batch by 0.001
    (`dual_start=1.0, dual_step="batch", dual_lr=0.001`). The paper prints neither its margin nor its dual step: the
    margin here is the code's, the dual step ours. The epoch's clean loss is the mean over its samples as they were
    trained on, not that of a pass of its own.

    The margin is held once nu has had time to get where it must: `dual_lr` times the number of dual steps times the
    excess should be some multiple of that value, which for a margin well inside reach means `dual_step="batch"` or
    many epochs. In the history `clean` against rho tells whether it was, and `nu` of 0 that the margin was slack.

    | Paper link: https://arxiv.org/abs/2110.15767 (algorithm 1)

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi import DALETrainer, LangevinMonteCarlo
    >>> sampler = LangevinMonteCarlo(classifier, eps=0.1, eps_step=0.05, max_iter=3, verbose=False)
    >>> trainer = DALETrainer(classifier, sampler, rho=0.2, verbose=False)
    >>> trainer.fit(x, y, nb_epochs=2)
    >>> first = trainer.history[0]  # the dual variable starts at 0 and moves after each epoch
    >>> abs(trainer.history[1]["nu"] - max(0.0, 0.1 * (first["clean"] - 0.2))) < 1e-6
    True
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: EvasionAttack,
        *,
        rho: float = 0.1,
        dual_lr: float = 0.1,
        dual_start: float | None = None,
        dual_step: str = "epoch",
        dual_warmup: int = 0,
        robust_loss: str = "cross_entropy",
        swapped: bool = False,
        multiplier: float | None = None,
        **common: Any,
    ) -> None:
        """Create a :class:`.DALETrainer` instance.

        :param classifier: ART `PyTorchClassifier` with an optimizer.
        :param attack: Usually a :class:`.LangevinMonteCarlo`, of noise `"gaussian"` or `"laplace"` or of potential
            `"kl"`; any other untargeted ART attack is its limit of no noise.
        :param rho: Margin of the constrained loss.
        :param dual_lr: Step size of the dual variable.
        :param dual_start: First value of the dual variable; by default 0, and 1 for the loss `"kl"`, which alone knows
            no labels and is least for a constant classifier.
        :param dual_step: `"epoch"` or `"batch"`, how often the dual variable moves.
        :param dual_warmup: Epochs before the dual variable begins to move. By what the untrained classifier exceeds the
            margin it would be driven far beyond its place, which it leaves no faster than the margin is undercut.
        :param robust_loss: `"cross_entropy"` on the perturbed inputs, or `"kl"`, the divergence of their predictions
            from the clean ones.
        :param swapped: Minimise the clean loss and constrain the robust one.
        :param multiplier: A fixed multiplier in place of the dual variable; positive where only it brings in labels.
        :param common: As in :class:`.StepTrainer`.
        :raises TypeError: If `classifier` or `attack` is of another kind.
        :raises ValueError: If an argument breaks its rule.
        """
        for name, value in (("rho", rho), ("dual_lr", dual_lr)):
            check(name, value, NON_NEGATIVE)
        check("dual_start", dual_start, or_none(NON_NEGATIVE))
        check("dual_step", dual_step, one_of(("epoch", "batch")))
        check("dual_warmup", dual_warmup, integer(0))
        check("robust_loss", robust_loss, one_of(("cross_entropy", "kl")))
        check("swapped", swapped, BOOLEAN)
        unlabelled = robust_loss == "kl" and not swapped  # but for the constraint
        check("multiplier", multiplier, or_none(POSITIVE if unlabelled else NON_NEGATIVE))
        super().__init__(classifier, attack, **common)
        self.rho, self.dual_lr, self.dual_step, self.dual_warmup = rho, dual_lr, dual_step, dual_warmup
        self.robust_loss, self.multiplier = robust_loss, multiplier
        self.swapped = swapped
        self.objective, self.constrained = ("clean", "robust") if swapped else ("robust", "clean")
        self._epoch = 0
        start = next(value for value in (multiplier, dual_start, float(unlabelled)) if value is not None)
        self.duals["nu"] = torch.tensor(start, dtype=torch.float64, device=classifier.device)

    def step(self, x: Tensor, y: Tensor | None) -> Terms:
        """See :class:`.StepTrainer`; terms `robust`, `clean` and `nu`."""
        assert y is not None
        kl = self.robust_loss == "kl"
        x_adv = self.craft(x, y, divergence if kl else loss, start_std=0.001 if kl else 0.0)
        logits, logits_adv = self.forward(x), self.forward(x_adv)
        robust = kl_divergence(logits_adv, logits).mean() if kl else cross_entropy(logits_adv, y)
        losses = {"robust": robust, "clean": cross_entropy(logits, y)}
        nu = self.duals["nu"].to(robust.dtype)
        return {"loss": losses[self.objective] + nu * losses[self.constrained], **losses, "nu": nu}

    def before_epoch(self, epoch: int, nb_epochs: int) -> None:
        """See :class:`.StepTrainer`."""
        self._epoch = epoch

    def after_step(self, terms: Terms) -> None:
        """See :class:`.StepTrainer`."""
        if self._moves_every("batch"):
            self.move_dual("nu", terms[self.constrained].double() - self.rho, self.dual_lr)

    def after_epoch(self, record: dict[str, Any]) -> None:
        """See :class:`.StepTrainer`."""
        if self._moves_every("epoch"):
            self.move_dual("nu", record[self.constrained] - self.rho, self.dual_lr)

    def _moves_every(self, step: str) -> bool:
        return self.multiplier is None and self.dual_step == step and self._epoch >= self.dual_warmup
