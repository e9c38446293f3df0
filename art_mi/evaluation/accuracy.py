"""Clean and attacked accuracy with ART's attacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray

from art_mi import bridge
from art_mi.bridge import evaluating, input_tensor, label_tensor, unchanged
from art_mi.interrupts import undivided
from art_mi.randomness import PREDICTION, isolated_randomness
from art_mi.results import Accuracy
from art_mi.rules import SEED, check, integer


@contextmanager
def undisturbed(classifier: PyTorchClassifier, random_state: int) -> Iterator[None]:
    """Evaluation mode and seeded global generators; modes, gradients and random state return on exit.

    ART's attacks draw from the global generators, set modes and clear the gradients of the weights. Calls of this
    package by other threads wait until the context is left.

    :param classifier: ART classifier.
    :param random_state: Seed from 0 to 2**32 - 1.
    :raises TypeError: If `classifier` is not an ART `PyTorchClassifier`.
    :raises ValueError: If the seed is out of range.
    """
    if not isinstance(classifier, PyTorchClassifier):
        raise TypeError(f"`classifier` must be an ART PyTorchClassifier, got {type(classifier).__name__}.")
    with undivided():
        gradients = [(parameter, parameter.grad) for parameter in classifier.model.parameters()]
        try:
            with evaluating(classifier.model), isolated_randomness(random_state, classifier.device):
                yield
        finally:
            for parameter, grad in gradients:
                parameter.grad = grad


def outputs(
    classifier: PyTorchClassifier, x: NDArray[np.float32], batch_size: int, random_state: int = 0
) -> NDArray[np.float32]:
    """The classifier's outputs in evaluation mode, everything left as found.

    :param classifier: ART classifier.
    :param x: Raw inputs `(n, *input_shape)`.
    :param batch_size: Samples through the network at once.
    :param random_state: Seed, for a model that draws when it predicts; an attack of the same seed sees other draws.
    """
    with evaluating(classifier.model), isolated_randomness(random_state ^ PREDICTION, classifier.device):
        try:
            out: NDArray[np.float32] = classifier.predict(x, batch_size=batch_size)
        except (AttributeError, RuntimeError):
            bridge.outputs(classifier, torch.as_tensor(x[:1], device=classifier.device))  # says what is wrong, by name
            raise
    return out


def accuracy(
    classifier: PyTorchClassifier,
    x: Any,
    y: Any,
    *,
    batch_size: int = 128,
    random_state: int = 0,
) -> Accuracy:
    """Accuracy on inputs as they are.

    :param classifier: ART classifier; its modes are left as found.
    :param x: Raw inputs `(n, *input_shape)`, array or tensor.
    :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels.
    :param batch_size: Samples through the network at once.
    :param random_state: Seed, for a model that draws when it predicts.
    :raises TypeError: If `classifier` is not an ART `PyTorchClassifier`, or `x` or `y` is not numeric.
    :raises ValueError: If a shape, a value, a label, `batch_size` or `random_state` breaks its rule.
    """
    check("batch_size", batch_size, integer(1))
    check("random_state", random_state, SEED)
    inputs, labels = _arrays(classifier, x, y)
    return Accuracy.of(outputs(classifier, inputs, batch_size, random_state).argmax(1) == labels)


def attacked_accuracy(
    classifier: PyTorchClassifier,
    attack: EvasionAttack,
    x: Any,
    y: Any,
    *,
    random_state: int = 0,
) -> Accuracy:
    """Accuracy on inputs that an ART attack perturbed, over all samples.

    :param classifier: ART classifier; its modes and gradients are left as found.
    :param attack: Untargeted attack on that classifier; its settings and its own generator are left as found.
    :param x: Raw inputs `(n, *input_shape)`, array or tensor.
    :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels.
    :param random_state: Seed of the attack's random starts, which ART's draws from the global generators and those of
        this package from their own, and of :func:`accuracy`. The generators are put back afterwards.
    :raises TypeError: If `classifier` or `attack` is of another kind.
    :raises ValueError: If a shape or a label breaks its rule.
    """
    inputs, labels = _arrays(classifier, x, y)
    if not isinstance(attack, EvasionAttack):
        raise TypeError(f"`attack` must be an ART EvasionAttack, got {type(attack).__name__}.")
    with undisturbed(classifier, random_state), unchanged(attack, random_state):
        x_adv = attack.generate(inputs, labels)
        return Accuracy.of(outputs(classifier, x_adv, 128, random_state).argmax(1) == labels)


def _arrays(classifier: PyTorchClassifier, x: Any, y: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inputs and index labels that fit the classifier."""
    if not isinstance(classifier, PyTorchClassifier):
        raise TypeError(f"`classifier` must be an ART PyTorchClassifier, got {type(classifier).__name__}.")
    inputs = input_tensor(classifier, x)
    return inputs.cpu().numpy(), label_tensor(classifier, y, len(inputs)).cpu().numpy()
