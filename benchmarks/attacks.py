"""The inner loop against a bare one, and the Langevin attack against ART's projected gradient descent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from torch import Tensor
from torch.nn.functional import cross_entropy

from art_mi.attacks import LangevinMonteCarlo, ascend
from art_mi.bridge import evaluating
from art_mi.threat import NormBall
from benchmarks import bare
from benchmarks.methods import ART, BARE, OURS, TEMPERATURE, Task
from benchmarks.nets import MNIST, RESNET18, SMALL, TINY
from benchmarks.timing import CLOCK, Row, Settings, Variant, interleaved

TO_BARE, TO_ART = 1.03, 0.75
NOISE = "drawing the noise, which ART's attack has none of, takes 4 % of a step of this size"


def rows(settings: Settings) -> Iterator[Row]:
    """`ascend` on all networks, `generate` on those that ART attacks in little time."""
    tasks = _tasks(settings)
    for task in tasks:
        all_threads = replace(settings, threads=settings.threads[-1:])
        chosen = all_threads if task.net is RESNET18 else settings
        for times in interleaved(_loops(task), chosen):
            yield times.row("PGD on the cross-entropy, ascend", str(task), OURS, BARE, TO_BARE, cause=CLOCK)
    for task in (task for task in tasks if task.net is not RESNET18):
        for times in interleaved(_attacks(task), settings):
            ours, art = "LangevinMonteCarlo.generate", f"{ART} ProjectedGradientDescent.generate"
            yield times.row("attack", str(task), ours, art, TO_ART, cause=NOISE)


def _tasks(settings: Settings) -> list[Task]:
    if settings.quick:
        return [Task(TINY, 1, 8, 2, settings.device)]
    device = settings.device
    return [Task(SMALL, 4, device=device), Task(MNIST, 2, device=device), Task(RESNET18, 1, 16, device=device)]


def _loops(task: Task) -> dict[str, Variant]:
    model, (x, y) = task.net.model(task.device), (torch.from_numpy(part).to(task.device) for part in task.images)
    ball, pgd = NormBall(math.inf, task.net.eps, (0.0, 1.0)), bare.PGD(**task.attack)
    batches = list(zip(x.split(task.batch_size), y.split(task.batch_size), strict=True))

    def ours() -> None:
        for x_batch, y_batch in batches:
            with evaluating(model):
                size, number = task.net.eps_step, task.max_iter
                ascend(partial(objective, y=y_batch), x_batch, ball, eps_step=size, max_iter=number)

    def objective(x_adv: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(model(x_adv), y, reduction="none")

    def plain() -> None:
        for x_batch, y_batch in batches:
            bare.against_labels(pgd, model, x_batch, y_batch)

    return {OURS: ours, BARE: plain}


def _attacks(task: Task) -> dict[str, Variant]:
    classifier, (x, y) = task.net.classifier(task.device), task.images
    common = {**task.attack, "norm": np.inf, "num_random_init": 0, "batch_size": task.batch_size, "verbose": False}
    ours = LangevinMonteCarlo(classifier, temperature=TEMPERATURE, random_state=0, **common)
    art = ProjectedGradientDescent(classifier, **common)
    return {
        "LangevinMonteCarlo.generate": lambda: ours.generate(x, y),
        f"{ART} ProjectedGradientDescent.generate": lambda: art.generate(x, y),
    }
