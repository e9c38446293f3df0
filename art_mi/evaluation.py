"""Clean and attacked accuracy with ART's attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from art.attacks import EvasionAttack
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray

from art_mi.bridge import evaluating
from art_mi.results import Accuracy


def accuracy(classifier: PyTorchClassifier, x: NDArray[np.float32], y: NDArray[np.int64]) -> Accuracy:
    """Accuracy on inputs as they are.

    :param classifier: ART classifier; its modes are left as found.
    :param x: Inputs `(n, *input_shape)`.
    :param y: Index labels `(n,)`.
    """
    with evaluating(classifier.model):
        return Accuracy.of(classifier.predict(x).argmax(1) == y)


def attacked_accuracy(
    classifier: PyTorchClassifier,
    attack: EvasionAttack,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    random_state: int = 0,
) -> Accuracy:
    """Accuracy on inputs that an ART attack perturbed, over all samples.

    :param classifier: ART classifier; its modes are left as found.
    :param attack: Untargeted attack on that classifier.
    :param x: Inputs `(n, *input_shape)`.
    :param y: Index labels `(n,)`.
    :param random_state: Seed of the attack's random starts. ART draws them from NumPy's global state, which is put
        back afterwards.
    """
    state = np.random.get_state()  # noqa: NPY002
    modes = [(module, module.training) for module in classifier.model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in classifier.model.parameters()]
    try:
        np.random.set_state(np.random.RandomState(random_state).get_state())  # noqa: NPY002
        return accuracy(classifier, attack.generate(x, y), y)
    finally:
        np.random.set_state(state)  # noqa: NPY002
        for module, mode in modes:
            module.training = mode
        for parameter, grad in gradients:
            parameter.grad = grad


def standard_attacks(classifier: PyTorchClassifier, eps: float, batch_size: int = 256) -> Mapping[str, EvasionAttack]:
    """PGD-20 and APGD-CE in l_inf.

    :param classifier: ART classifier.
    :param eps: Radius in raw input units.
    :param batch_size: Samples attacked at once.
    """
    common: dict[str, Any] = {"eps": eps, "batch_size": batch_size, "verbose": False}
    return {
        "PGD-20": ProjectedGradientDescentPyTorch(
            classifier, eps_step=eps / 8, max_iter=20, num_random_init=1, **common
        ),
        "APGD-CE": AutoProjectedGradientDescent(
            classifier, eps_step=2 * eps, max_iter=50, nb_random_init=1, loss_type="cross_entropy", **common
        ),
    }
