"""MIMAE: adversarial training that keeps clean and adversarial predictions informative of each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn.functional import cross_entropy

from art_mi.losses import boosted_cross_entropy, class_mutual_information, logit_distance
from art_mi.rules import BOOLEAN, NON_NEGATIVE, check, one_of
from art_mi.trainers.base import StepTrainer, Terms

ADVERSARIAL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "boosted": boosted_cross_entropy,
    "cross_entropy": partial(cross_entropy, reduction="none"),
}


class MIMAETrainer(StepTrainer):
    """BCE(p(x'), y) - lamb MI(p(x), p(x')) + beta MAE(f(x'), f(x)), x' crafted on the plain cross-entropy.

    The mutual information is one of the whole batch, of all processes together. The printed loss sums the absolute
    errors over the classes; at the printed weight that collapses, so that the mean is the default.

    | Paper link: https://proceedings.mlr.press/v157/atsague21a.html (equations 10 to 14, algorithm 1)

    Given an ART `classifier`, an `attack` on it, inputs `x` and labels `y`:

    >>> from art_mi.trainers import MIMAETrainer
    >>> trainer = MIMAETrainer(classifier, attack, verbose=False)
    >>> trainer.fit(x, y, nb_epochs=2)
    >>> sorted(trainer.history[-1])
    ['adversarial', 'distance', 'epoch', 'loss', 'lr', 'mi']
    """

    smallest_batch = 2

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: EvasionAttack,
        *,
        lamb: float = 0.4,
        beta: float = 1.0,
        adversarial_loss: str = "boosted",
        distance: str = "mae",
        reduction: str = "mean",
        symmetric: bool = True,
        start_std: float = 0.001,
        **common: Any,
    ) -> None:
        """Create a :class:`.MIMAETrainer` instance.

        :param classifier: ART `PyTorchClassifier` with an optimizer.
        :param attack: Any untargeted ART attack on it.
        :param lamb: Weight of the mutual information; 0 leaves it out.
        :param beta: Weight of the distance of the logits.
        :param adversarial_loss: `"boosted"` or `"cross_entropy"`.
        :param distance: `"mae"` or `"mse"`.
        :param reduction: `"mean"` or `"sum"` over the classes.
        :param symmetric: Symmetrise the joint distribution of the predictions.
        :param start_std: Gaussian noise at the start of a projected-gradient attack, as in algorithm 1.
        :param common: As in :class:`.StepTrainer`.
        :raises TypeError: If `classifier` or `attack` is of another kind.
        :raises ValueError: If an argument breaks its rule.
        """
        for name, weight in (("lamb", lamb), ("beta", beta), ("start_std", start_std)):
            check(name, weight, NON_NEGATIVE)
        check("adversarial_loss", adversarial_loss, one_of(ADVERSARIAL))
        check("distance", distance, one_of(("mae", "mse")))
        check("reduction", reduction, one_of(("mean", "sum")))
        check("symmetric", symmetric, BOOLEAN)
        super().__init__(classifier, attack, **common)
        self.lamb, self.beta, self.start_std = lamb, beta, start_std
        self.adversarial_loss, self.symmetric = adversarial_loss, symmetric
        self.distance, self.reduction = distance, reduction

    def step(self, x: Tensor, y: Tensor | None) -> Terms:
        """See :class:`.StepTrainer`; terms `adversarial`, `mi` and `distance`."""
        assert y is not None
        x_adv = self.craft(x, y, start_std=self.start_std)
        logits, logits_adv = self.forward(x), self.forward(x_adv)
        adversarial = ADVERSARIAL[self.adversarial_loss](logits_adv, y).mean()
        p, q = (self.gather(f.softmax(1)) for f in (logits, logits_adv))
        mi = class_mutual_information(p, q, symmetric=self.symmetric)
        distance = logit_distance(logits_adv, logits, order=self.distance, reduction=self.reduction).mean()
        loss = adversarial - self.lamb * mi + self.beta * distance
        return {"loss": loss, "adversarial": adversarial, "mi": mi, "distance": distance}
