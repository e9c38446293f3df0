"""AutoAttack: by the package of its authors where that is installed, otherwise ART's."""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import AutoAttack
from art.estimators.classification import PyTorchClassifier
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator
from numpy.typing import NDArray
from torch import Tensor

from art_mi import bridge

NORMS = {math.inf: "Linf", 2: "L2", 1: "L1"}


class StandardAutoAttack(EvasionAttack):  # type: ignore[misc]
    """The "standard" version of AutoAttack by the package `pyautoattack`, as an ART attack.

    APGD on cross-entropy, targeted APGD, targeted FAB and Square, each on the samples that are left. The package stops
    with an IndexError where there are fewer than 10 classes: here each targeted attack aims at as many classes as there
    are. The loss of targeted APGD needs four classes; with three APGD-DLR takes its place, with two nothing does.
    Square runs on images only.

    | Paper link: https://arxiv.org/abs/2003.01690
    | Code link: https://github.com/fra31/auto-attack
    """

    attack_params: ClassVar[list[str]] = [*EvasionAttack.attack_params, "norm", "eps", "batch_size", "random_state"]
    _estimator_requirements = (BaseEstimator, ClassifierMixin)

    def __init__(
        self,
        estimator: PyTorchClassifier,
        *,
        norm: float = math.inf,
        eps: float = 0.3,
        batch_size: int = 256,
        random_state: int = 0,
    ) -> None:
        """Create a :class:`.StandardAutoAttack` instance.

        :param estimator: ART `PyTorchClassifier` whose outputs are logits, with one pair of `clip_values` for all
            features.
        :param norm: inf, 2 or 1.
        :param eps: Radius in raw input units.
        :param batch_size: Samples attacked at once.
        :param random_state: Seed. It is set in torch's global generators.
        """
        super().__init__(estimator=estimator)
        self.norm, self.eps, self.batch_size, self.random_state = norm, eps, batch_size, random_state

    def generate(self, x: NDArray[np.float32], y: NDArray[Any] | None = None, **kwargs: Any) -> NDArray[np.float32]:
        """Perturbed inputs; those that no attack makes wrong come back as they are.

        :param x: Raw inputs `(n, *input_shape)`.
        :param y: Index or one-hot labels; the classifier's predictions by default.
        :param kwargs: Not used.
        """
        inputs = bridge.input_tensor(self.estimator, x)
        targets = self.estimator.predict(x).argmax(1) if y is None else y
        labels = bridge.label_tensor(self.estimator, targets, len(inputs))
        low, high = (float(v) for v in self.estimator.clip_values)
        trace = sys.gettrace()  # the package ends every other tracer, a debugger's or a coverage tool's
        try:
            with bridge.evaluating(self.estimator.model):
                official = self._official(low, high - low)
                moved, _ = official.run_standard_evaluation(
                    (inputs - low) / (high - low), labels, batch_size=self.batch_size
                )
        finally:
            sys.settrace(trace)
        wrong = (moved != (inputs - low) / (high - low)).flatten(1).any(1)  # the others keep their last bit
        found: Tensor = torch.where(wrong.view(-1, *[1] * (inputs.ndim - 1)), low + (high - low) * moved, inputs)
        perturbed: NDArray[np.float32] = found.cpu().numpy()
        return perturbed

    def _official(self, low: float, width: float) -> Any:
        """The package's attack, on inputs moved to [0, 1], which is the only box it knows."""
        import pyautoattack

        nb_classes = self.estimator.nb_classes
        official = pyautoattack.AutoAttack(
            lambda x: bridge.outputs(self.estimator, low + width * x),
            norm=NORMS[self.norm],
            eps=self.eps / width,
            seed=self.random_state,
            device=self.estimator.device,
        )
        for targeted in (official.apgd_targeted, official.fab):
            targeted.n_target_classes = min(targeted.n_target_classes, nb_classes - 1)
        replaced = {"apgd-t": nb_classes >= 4, "square": len(self.estimator.input_shape) == 3}
        official.attacks_to_run = [name for name in official.attacks_to_run if replaced.get(name, True)]
        if nb_classes == 3:
            official.attacks_to_run.insert(1, "apgd-dlr")
        return official


def auto_attack(
    classifier: PyTorchClassifier, *, norm: float, eps: float, batch_size: int, random_state: int
) -> EvasionAttack:
    """AutoAttack by `pyautoattack` where that is installed and the classifier has one box for all features, else ART's.

    ART's is another set: APGD on cross-entropy and on DLR with five starts each, DeepFool and Square with five. It took
    six times as long for the same accuracy on a small network.

    :param classifier: ART classifier.
    :param norm: inf, 2 or 1.
    :param eps: Radius in raw input units.
    :param batch_size: Samples attacked at once.
    :param random_state: Seed.
    :raises ValueError: If neither can run.
    """
    clip = classifier.clip_values
    if find_spec("pyautoattack") is not None and clip is not None and np.ndim(clip[0]) == 0:
        return StandardAutoAttack(classifier, norm=norm, eps=eps, batch_size=batch_size, random_state=random_state)
    if find_spec("multiprocess") is None:
        raise ValueError(
            "`attacks` must be without 'AutoAttack' here: it needs the package pyautoattack (pip install "
            "'art-mi[autoattack]') and one pair of clip_values for all features, or for ART's the package multiprocess."
        )
    return AutoAttack(classifier, norm=norm, eps=eps, eps_step=2 * eps, batch_size=batch_size)
