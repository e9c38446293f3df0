"""What the defences are compared with, on the same loop: standard training, Madry's, TRADES and MART."""

from __future__ import annotations

from typing import Any

from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn.functional import cross_entropy

from art_mi.losses import boosted_cross_entropy, kl_divergence, mart_regulariser
from art_mi.rules import NON_NEGATIVE, check
from art_mi.trainers.base import StepTrainer, Terms
from art_mi.trainers.crafting import divergence


class StandardTrainer(StepTrainer):
    """Cross-entropy on clean inputs. An attack, where given, serves for validation only.

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi.trainers import StandardTrainer
    >>> trainer = StandardTrainer(classifier, verbose=False)
    >>> trainer.fit(x, y, nb_epochs=2)
    >>> sorted(trainer.history[-1])
    ['epoch', 'loss', 'lr']
    """

    needs_attack = False

    def step(self, x: Tensor, y: Tensor | None) -> Terms:
        """See :class:`.StepTrainer`."""
        assert y is not None
        return {"loss": cross_entropy(self.forward(x), y)}


class MadryPGDTrainer(StepTrainer):
    """Cross-entropy on adversarial inputs.

    | Paper link: https://arxiv.org/abs/1706.06083 (equation 2.1)

    Given an ART `classifier`, an `attack` on it, inputs `x` and labels `y`:

    >>> from art_mi.trainers import MadryPGDTrainer
    >>> trainer = MadryPGDTrainer(classifier, attack, verbose=False)
    >>> trainer.fit(x, y, nb_epochs=2)
    >>> sorted(trainer.history[-1])
    ['epoch', 'loss', 'lr']
    """

    def step(self, x: Tensor, y: Tensor | None) -> Terms:
        """See :class:`.StepTrainer`."""
        assert y is not None
        return {"loss": cross_entropy(self.forward(self.craft(x, y)), y)}


class TRADESTrainer(StepTrainer):
    """Cross-entropy on clean inputs + beta KL(p(x) || p(x')), x' crafted on that divergence.

    | Paper link: https://arxiv.org/abs/1901.08573 (equation 5)

    Given an ART `classifier`, an `attack` on it, inputs `x` and labels `y`:

    >>> from art_mi.trainers import TRADESTrainer
    >>> trainer = TRADESTrainer(classifier, attack, verbose=False)
    >>> trainer.fit(x, y, nb_epochs=2)
    >>> sorted(trainer.history[-1])
    ['clean', 'divergence', 'epoch', 'loss', 'lr']
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: EvasionAttack,
        *,
        beta: float = 6.0,
        start_std: float = 0.001,
        **common: Any,
    ) -> None:
        """Create a :class:`.TRADESTrainer` instance.

        :param classifier: ART `PyTorchClassifier` with an optimizer.
        :param attack: Untargeted ART attack; of a projected-gradient attack the numbers are used and the divergence is
            climbed, any other is used as it is.
        :param beta: Weight of the divergence, 1 / lambda in the paper.
        :param start_std: Gaussian noise at the start, where the divergence has no gradient.
        :param common: As in :class:`.StepTrainer`.
        """
        for name, value in (("beta", beta), ("start_std", start_std)):
            check(name, value, NON_NEGATIVE)
        super().__init__(classifier, attack, **common)
        self.beta, self.start_std = beta, start_std

    def step(self, x: Tensor, y: Tensor | None) -> Terms:
        """See :class:`.StepTrainer`; terms `clean` and `divergence`."""
        assert y is not None
        x_adv = self.craft(x, y, divergence, start_std=self.start_std)
        logits, logits_adv = self.forward(x), self.forward(x_adv)
        clean, apart = cross_entropy(logits, y), kl_divergence(logits_adv, logits).mean()
        return {"loss": clean + self.beta * apart, "clean": clean, "divergence": apart}


class MARTTrainer(StepTrainer):
    """Boosted cross-entropy on adversarial inputs + beta KL(p(x) || p(x')) (1 - p_y(x)).

    | Code link: https://github.com/YisenWang/MART

    Given an ART `classifier`, an `attack` on it, inputs `x` and labels `y`:

    >>> from art_mi.trainers import MARTTrainer
    >>> trainer = MARTTrainer(classifier, attack, verbose=False)
    >>> trainer.fit(x, y, nb_epochs=2)
    >>> sorted(trainer.history[-1])
    ['adversarial', 'divergence', 'epoch', 'loss', 'lr']
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: EvasionAttack,
        *,
        beta: float = 5.0,
        start_std: float = 0.001,
        **common: Any,
    ) -> None:
        """Create a :class:`.MARTTrainer` instance.

        :param classifier: ART `PyTorchClassifier` with an optimizer.
        :param attack: Any untargeted ART attack on it.
        :param beta: Weight of the divergence.
        :param start_std: Gaussian noise at the start of a projected-gradient attack.
        :param common: As in :class:`.StepTrainer`.
        """
        for name, value in (("beta", beta), ("start_std", start_std)):
            check(name, value, NON_NEGATIVE)
        super().__init__(classifier, attack, **common)
        self.beta, self.start_std = beta, start_std

    def step(self, x: Tensor, y: Tensor | None) -> Terms:
        """See :class:`.StepTrainer`; terms `adversarial` and `divergence`."""
        assert y is not None
        x_adv = self.craft(x, y, start_std=self.start_std)
        logits, logits_adv = self.forward(x), self.forward(x_adv)
        adversarial = boosted_cross_entropy(logits_adv, y).mean()
        apart = mart_regulariser(logits_adv, logits, y).mean()
        return {"loss": adversarial + self.beta * apart, "adversarial": adversarial, "divergence": apart}
