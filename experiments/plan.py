"""How much is spent on each model: chosen once for a data set, alike for all methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_mi.datasets import ImageData

USUAL = "usual"


@dataclass(frozen=True)
class Plan:
    """Sizes of a run.

    :param name: Of this plan.
    :param nb_train: Most training images, the next ones of a fixed shuffle.
    :param nb_validation: Training images held out, the first ones of that shuffle.
    :param nb_test: Test images for clean accuracy and PGD-20, the first ones of a fixed shuffle.
    :param nb_auto_attack: The first of them, for AutoAttack.
    :param nb_epochs: Epochs of a model, and of an encoder.
    :param head_epochs: Epochs of a head on a frozen encoder.
    :param nb_seeds: Training runs of each row.
    :param batch_size: Images of a step.
    :param max_iter: Attack steps in training, each of eps / 4.
    :param lr: Largest learning rate of Adam, reached after three tenths of the steps (one cycle).
    :param critic_lr: Learning rate of the critic of encoders that are trained without labels.
    :param critic_width: Channels of the critic of encoders that are trained without labels.
    :param nb_measured: Test images on which the figures measure information; `tau` does on all.
    :param critic_steps: Training steps of the critics that measure it.
    :param usual: Network of experiments that name none.
    :param sizes: Of networks by name, in place of the published ones.
    """

    name: str
    nb_train: int
    nb_validation: int
    nb_test: int
    nb_auto_attack: int
    nb_epochs: int
    head_epochs: int
    nb_seeds: int = 3
    batch_size: int = 128
    max_iter: int = 7
    lr: float = 1e-2
    critic_lr: float = 1e-3
    critic_width: int = 128
    nb_measured: int = 1000
    critic_steps: int = 200
    usual: str = "small CNN"
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def within(self, data: ImageData) -> Plan:
        """The same for a data set that may have fewer images.

        :param data: The data set.
        :raises ValueError: If more images would be held out than are left for training.
        """
        nb_train = min(self.nb_train, len(data.x_train) - self.nb_validation)
        if nb_train < self.nb_validation:
            raise ValueError(
                f"`plan` must leave more training images than it holds out, got {self.nb_validation:,} to hold out of "
                f"{len(data.x_train):,} by {self.name!r}."
            )
        nb_test = min(self.nb_test, len(data.x_test))
        few = {name: min(getattr(self, name), nb_test) for name in ("nb_auto_attack", "nb_measured")}
        return replace(self, nb_train=nb_train, nb_test=nb_test, **few)

    def training(self, network: str, *, on_encoder: bool) -> dict[str, Any]:
        """What a trained model depends on.

        :param network: Its name.
        :param on_encoder: Whether it is a head on a frozen encoder.
        """
        names = ("nb_train", "nb_validation", "batch_size", "max_iter", "lr", "critic_lr", "critic_width")
        nb_epochs = self.head_epochs if on_encoder else self.nb_epochs
        return {
            **{name: getattr(self, name) for name in names},
            "nb_epochs": nb_epochs,
            "sizes": dict(self.sizes.get(network, {})),
        }


NARROW = {
    "Baseline-H": {"width": 16},
    "Baseline-H, linear head": {"width": 16},
    "VGG-like": {"width": 16, "stride": 2},
    "ResNet-18": {"width": 8, "stride": 2},
    "DenseNet": {"growth": 6, "layers": 3, "stride": 2},
}
SMALLEST = {
    "small CNN": {"width": 8},
    "Baseline-H": {"width": 16},
    "Baseline-H, linear head": {"width": 16},
    "VGG-like": {"width": 8},
    "ResNet-18": {"width": 4},
    "DenseNet": {"growth": 4, "layers": 2},
}
PLANS = {
    plan.name: plan
    for plan in (
        Plan("quick", 1150, 147, 500, 200, nb_epochs=20, head_epochs=10, nb_measured=500, sizes=SMALLEST),
        Plan("narrow", 20_000, 1000, 2000, 400, nb_epochs=8, head_epochs=4, sizes=NARROW),
        Plan("full", 59_000, 1000, 10_000, 10_000, nb_epochs=50, head_epochs=20, critic_width=2048, usual="ResNet-18"),
    )
}


@dataclass(frozen=True)
class Samples:
    """The images of a plan.

    :param train: Images `(n, channels, height, width)` in [0, 1] and index labels `(n,)`.
    :param validation: The same, held out of training.
    :param test: The same, never used to choose anything.
    :param nb_classes: Number of classes.
    :param eps: Radius usual for the data set.
    """

    train: tuple[NDArray[np.float32], NDArray[np.int64]]
    validation: tuple[NDArray[np.float32], NDArray[np.int64]]
    test: tuple[NDArray[np.float32], NDArray[np.int64]]
    nb_classes: int
    eps: float

    @classmethod
    def of(cls, data: ImageData, plan: Plan) -> Samples:
        """What a plan takes of a data set."""
        shuffle = np.random.default_rng(0).permutation
        of_train, of_test = shuffle(len(data.x_train)), shuffle(len(data.x_test))[: plan.nb_test]
        held_out, fit = of_train[: plan.nb_validation], of_train[plan.nb_validation :][: plan.nb_train]
        return cls(
            (data.x_train[fit], data.y_train[fit]),
            (data.x_train[held_out], data.y_train[held_out]),
            (data.x_test[of_test], data.y_test[of_test]),
            data.nb_classes,
            data.eps,
        )
