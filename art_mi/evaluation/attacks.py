"""Attacks by the names that papers call them, all of them ART attacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from art.attacks import EvasionAttack
from art.attacks.evasion import (
    AutoProjectedGradientDescent,
    FastGradientMethod,
    ProjectedGradientDescentPyTorch,
    SquareAttack,
)
from art.estimators.classification import PyTorchClassifier

from art_mi.attacks import MarginAttack
from art_mi.bridge import check_classifier
from art_mi.evaluation.accuracy import undisturbed
from art_mi.evaluation.auto_attack import auto_attack
from art_mi.rules import POSITIVE, check, integer

DEFAULT = ("FGSM", "PGD-20", "PGD-50", "PGD-l2", "CW-inf", "APGD-CE", "APGD-DLR")
SQUARE_ITERATIONS = 1000
LINF_ONLY = ("PGD-l2", "CW-inf", "Square")


@dataclass(frozen=True)
class Radii:
    """What attacks by name are built for.

    :param norm: inf, 2 or 1.
    :param eps: Radius in raw input units.
    :param eps_l2: Radius of PGD-l2 in raw input units.
    :param batch_size: Samples attacked at once.
    :param random_state: Seed of attacks that have one of their own; ART's draw from the global generators.
    """

    norm: float
    eps: float
    eps_l2: float
    batch_size: int
    random_state: int


def named_attacks(
    classifier: PyTorchClassifier, names: Iterable[str], radii: Radii
) -> tuple[dict[str, EvasionAttack], dict[str, str]]:
    """The attacks of these names, and why some were left out.

    FGSM, PGD-20, PGD-50: ART's, on the classifier's own loss; PGD from one random start by steps of eps / 4.
    PGD-l2: PGD-20 in l_2. CW-inf: :class:`.MarginAttack`, 50 steps. APGD-CE, APGD-DLR: ART's, 100
    steps from one random start. Square: ART's, 1,000 queries. AutoAttack: :func:`.auto_attack`.

    :param classifier: ART classifier.
    :param names: Out of `BUILDERS`.
    :param radii: Threat model.
    :return: Attacks by name, and reasons by name.
    :raises ValueError: If an attack cannot run on this machine.
    """
    left_out = {name: why for name in names if (why := _reason(classifier, name, radii.norm)) is not None}
    return {name: BUILDERS[name](classifier, radii) for name in names if name not in left_out}, left_out


def standard_attacks(classifier: PyTorchClassifier, eps: float, batch_size: int = 256) -> Mapping[str, EvasionAttack]:
    """PGD-20 and APGD-CE in l_inf.

    :param classifier: ART classifier.
    :param eps: Radius in raw input units.
    :param batch_size: Samples attacked at once.
    :raises TypeError: If `classifier` is not an ART `PyTorchClassifier`.
    :raises ValueError: If a number breaks its rule.
    """
    check_classifier(classifier)
    check("eps", eps, POSITIVE)
    check("batch_size", batch_size, integer(1))
    return named_attacks(classifier, ("PGD-20", "APGD-CE"), Radii(math.inf, eps, eps, batch_size, 0))[0]


def pgd(
    classifier: PyTorchClassifier, norm: float, eps: float, *, max_iter: int, batch_size: int, num_random_init: int = 1
) -> EvasionAttack:
    """ART's projected gradient descent by steps of eps / 4.

    That is the usual 2/255 for 8/255. The paper's eps / 10 left 1 to 5 points of accuracy more after 20 steps in l_2 on
    small networks, and no less anywhere.

    :param classifier: ART classifier, whose own loss is climbed.
    :param norm: inf, 2 or 1.
    :param eps: Radius in raw input units.
    :param max_iter: Number of steps.
    :param batch_size: Samples attacked at once.
    :param num_random_init: Random starts; 0 starts at the input.
    """
    return ProjectedGradientDescentPyTorch(
        classifier,
        norm=norm,
        eps=eps,
        eps_step=eps / 4,
        max_iter=max_iter,
        num_random_init=num_random_init,
        batch_size=batch_size,
        verbose=False,
    )


def square(classifier: PyTorchClassifier, norm: float, eps: float, *, max_iter: int, batch_size: int) -> EvasionAttack:
    """ART's Square attack, which sees outputs only, its first tile made to fit small images.

    :param classifier: ART classifier of images, with `clip_values`.
    :param norm: inf.
    :param eps: Radius in raw input units.
    :param max_iter: Number of queries.
    :param batch_size: Samples attacked at once.
    """
    height, width = classifier.input_shape[1:] if classifier.channels_first else classifier.input_shape[:2]
    largest = (min(height, width) - 1) ** 2 / (height * width)  # ART draws the place of a tile from side - tile
    return SquareAttack(
        classifier,
        norm=norm,
        eps=eps,
        max_iter=max_iter,
        p_init=min(0.8, largest),
        batch_size=batch_size,
        verbose=False,
    )


def _apgd(loss: str) -> Callable[[PyTorchClassifier, Radii], EvasionAttack]:
    def build(classifier: PyTorchClassifier, radii: Radii) -> EvasionAttack:
        with undisturbed(classifier, radii.random_state):  # its constructor predicts
            return AutoProjectedGradientDescent(
                classifier,
                norm=radii.norm,
                eps=radii.eps,
                eps_step=2 * radii.eps,
                max_iter=100,
                nb_random_init=1,
                batch_size=radii.batch_size,
                loss_type=loss,
                verbose=False,
            )

    return build


def _pgd(max_iter: int) -> Callable[[PyTorchClassifier, Radii], EvasionAttack]:
    return lambda classifier, radii: pgd(
        classifier, radii.norm, radii.eps, max_iter=max_iter, batch_size=radii.batch_size
    )


BUILDERS: dict[str, Callable[[PyTorchClassifier, Radii], EvasionAttack]] = {
    "FGSM": lambda classifier, radii: FastGradientMethod(
        classifier, norm=radii.norm, eps=radii.eps, eps_step=radii.eps, batch_size=radii.batch_size
    ),
    "PGD-20": _pgd(20),
    "PGD-50": _pgd(50),
    "PGD-l2": lambda classifier, radii: pgd(classifier, 2, radii.eps_l2, max_iter=20, batch_size=radii.batch_size),
    "CW-inf": lambda classifier, radii: MarginAttack(
        classifier,
        norm=radii.norm,
        eps=radii.eps,
        batch_size=radii.batch_size,
        random_state=radii.random_state,
        verbose=False,
    ),
    "APGD-CE": _apgd("cross_entropy"),
    "APGD-DLR": _apgd("difference_logits_ratio"),
    "Square": lambda classifier, radii: square(
        classifier, radii.norm, radii.eps, max_iter=SQUARE_ITERATIONS, batch_size=radii.batch_size
    ),
    "AutoAttack": lambda classifier, radii: auto_attack(
        classifier,
        norm=radii.norm,
        eps=radii.eps,
        batch_size=radii.batch_size,
        random_state=radii.random_state,
    ),
}


def _reason(classifier: PyTorchClassifier, name: str, norm: float) -> str | None:
    """Why an attack has no meaning here, None where it has."""
    if name in LINF_ONLY and norm != math.inf:
        return f"the norm is {norm:g}, not inf"
    if name == "APGD-DLR" and classifier.nb_classes < 3:
        return "its loss needs 3 classes"
    return no_square(classifier) if name == "Square" else None


def no_square(classifier: PyTorchClassifier) -> str | None:
    """Why ART's Square attack cannot run on a classifier, None where it can.

    :param classifier: ART classifier.
    """
    if len(classifier.input_shape) != 3 or classifier.clip_values is None:
        return "it needs images and clip_values"
    sides = classifier.input_shape[1:] if classifier.channels_first else classifier.input_shape[:2]
    return "it needs images of more than one pixel a side" if min(sides) < 2 else None


def attack_settings(attack: EvasionAttack) -> dict[str, Any]:
    """Class and parameters of an attack, as far as they are numbers, text or arrays.

    :param attack: ART attack.
    """
    parameters = {name: getattr(attack, name) for name in attack.attack_params if hasattr(attack, name)}
    said = {name: plain(value) for name, value in parameters.items() if name not in ("verbose", "summary_writer")}
    return {"attack": type(attack).__name__, **said}


def plain(value: Any) -> Any:
    """Numbers, text and nestings of them as JSON has them; of anything else its class.

    :param value: A setting.
    """
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return type(value).__name__
