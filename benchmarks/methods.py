"""The defences that are timed, each by this package, by a bare loop and, where ART has it, by ART."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from os import devnull
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.trainer import AdversarialTrainerMadryPGD, AdversarialTrainerTRADESPyTorch
from art.estimators.classification import PyTorchClassifier

from art_mi.attacks import LangevinMonteCarlo
from art_mi.trainers import DALETrainer, MadryPGDTrainer, MIMAETrainer, StepTrainer, TRADESTrainer
from benchmarks import bare
from benchmarks.nets import Net, optimizer
from benchmarks.timing import Variant

OURS, BARE, ART = "art_mi", "bare torch", "ART"
TEMPERATURE = 5e-6
TRAINERS: dict[str, Any] = {
    "Madry": MadryPGDTrainer,
    "TRADES": TRADESTrainer,
    "MIMAE": MIMAETrainer,
    "DALE": DALETrainer,
}
IN_ART = ("Madry", "TRADES")


@dataclass(frozen=True)
class Task:
    """What is trained on, with which attack.

    :param net: Network and threat model.
    :param batches: Number of batches.
    :param batch_size: Images in each.
    :param max_iter: Steps of the attack.
    :param device: Device of model and data.
    """

    net: Net
    batches: int
    batch_size: int = 128
    max_iter: int = 10
    device: str = "cpu"

    def __str__(self) -> str:
        return (
            f"{self.net.name}, {self.batches} x {self.batch_size} images of "
            f"{'x'.join(map(str, self.net.input_shape))}, {self.max_iter} steps of attack"
        )

    @property
    def attack(self) -> dict[str, Any]:
        """Numbers of the attack, by ART's names."""
        return {"eps": self.net.eps, "eps_step": self.net.eps_step, "max_iter": self.max_iter}

    @property
    def images(self) -> tuple[Any, Any]:
        """Images and labels of all batches."""
        return self.net.images(self.batches * self.batch_size)


def variants(method: str, task: Task, **common: Any) -> dict[str, Variant]:
    """One epoch by each of those that have the method, from equal weights.

    :param method: Name in `TRAINERS`.
    :param task: What to train on.
    :param common: For our trainer.
    """
    made = {OURS: ours(trainer(method, task, **common), task), BARE: loop(method, task)}
    return {**made, ART: by_art(method, task)} if method in IN_ART else made


def trainer(method: str, task: Task, **common: Any) -> StepTrainer:
    """This package's trainer on a fresh classifier."""
    classifier = task.net.classifier(task.device)
    options = {"dual_step": "batch"} if method == "DALE" else {}
    made: StepTrainer = TRAINERS[method](
        classifier, attack(method, task, classifier), verbose=False, **options, **common
    )
    return made


def attack(method: str, task: Task, classifier: PyTorchClassifier) -> EvasionAttack:
    """The attack that a trainer is given."""
    common = {**task.attack, "norm": np.inf, "batch_size": task.batch_size, "verbose": False}
    if method == "DALE":
        return LangevinMonteCarlo(classifier, temperature=TEMPERATURE, random_state=0, **common)
    return ProjectedGradientDescent(classifier, num_random_init=int(method == "Madry"), **common)


def ours(trainer: StepTrainer, task: Task) -> Variant:
    """One epoch by a trainer of this package."""
    x, y = task.images
    return lambda: trainer.fit(x, y, batch_size=task.batch_size, nb_epochs=1)


def bare_step(method: str, task: Task, generator: torch.Generator | None = None) -> bare.Step:
    """The loss of a batch, written in plain torch."""
    pgd = bare.PGD(**task.attack, generator=generator)
    steps: dict[str, Callable[[], bare.Step]] = {
        "Madry": lambda: bare.madry(replace(pgd, uniform=True)),
        "TRADES": lambda: bare.trades(pgd),
        "MIMAE": lambda: bare.mimae(pgd),
        "DALE": lambda: bare.dale(pgd, TEMPERATURE, device=task.device),
    }
    return steps[method]()


def loop(method: str, task: Task) -> Variant:
    """One epoch by a bare loop, on tensors that are on the device already."""
    model = task.net.model(task.device)
    x, y = (torch.from_numpy(part).to(task.device) for part in task.images)
    step, descent = bare_step(method, task), optimizer(model)

    def run() -> None:
        order = torch.randperm(len(x), device=x.device).split(task.batch_size)
        bare.fit(step, model, descent, ((x[index], y[index]) for index in order))

    return run


def by_art(method: str, task: Task) -> Variant:
    """One epoch by ART's own trainer, its progress bars unseen."""
    classifier = task.net.classifier(task.device)
    if method == "Madry":
        art: Any = AdversarialTrainerMadryPGD(classifier, batch_size=task.batch_size, **task.attack)
        art.attack.set_params(batch_size=task.batch_size)  # 32 otherwise, whatever the trainer's is
    else:
        art = AdversarialTrainerTRADESPyTorch(classifier, attack(method, task, classifier), beta=6.0)
    x, y = task.images

    def run() -> None:
        with open(devnull, "w") as nowhere, redirect_stderr(nowhere):
            art.fit(x, y, batch_size=task.batch_size, nb_epochs=1)

    return run
