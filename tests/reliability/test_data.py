"""Data, weights and losses that are not finite, and loaders that fail: an error that says so, and nothing is lost."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import art_mi
from tests.trainers import test_base as trainers
from tests.trainers import test_resume as runs

SAMPLES, BATCH = 24, 6
EVERY_KIND = tuple(trainers.KINDS)
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))


def made(toy: Any, kind: Any) -> Any:
    art = toy.classifier(toy.network(torch.nn.BatchNorm1d(8)))
    return toy.trainer(kind, art, attack=toy.attack(art, num_random_init=1), **trainers.KINDS[kind])


def check_usable(toy: Any, trainer: Any, before: Any) -> None:
    """All is as it was before the training, which can be done now."""
    assert runs.everything(trainer) == before
    gc.collect()
    for worker in multiprocessing.active_children():
        worker.join(60)  # of a loader that an error held, torch ends them after five seconds each
    assert multiprocessing.active_children() == []
    trainer.fit(toy.x(SAMPLES), toy.y(SAMPLES), batch_size=BATCH, nb_epochs=1)
    assert np.isfinite(trainer.predict(toy.x())).all()
    assert np.isfinite(trainer.history[0]["loss"])


def refuses(toy: Any, trainer: Any, x: Any, y: Any, error: type[Exception], message: str) -> None:
    before = runs.everything(trainer)
    with pytest.raises(error, match=message):
        trainer.fit(x, y, batch_size=BATCH, nb_epochs=2)
    trainer.history = []
    check_usable(toy, trainer, before)


# --- what is not finite ---

often = pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])


@often
def test_inputs_that_are_not_finite_are_refused(toy: Any, tally: Any, times: int) -> None:
    draw = np.random.default_rng(times)
    for kind in EVERY_KIND * times:
        x, y = toy.x(SAMPLES), toy.y(SAMPLES)
        x[draw.integers(SAMPLES), draw.integers(4)] = draw.choice(NOT_FINITE)
        refuses(toy, made(toy, kind), x, y, ValueError, "`x` must be finite, got NaN or infinity")
        loader = DataLoader(Listed(x, y), batch_size=BATCH)
        refuses(toy, made(toy, kind), loader, None, ValueError, "`x` must be finite, got NaN or infinity")
    tally("The run", "inputs not finite, all trainers", 2 * times * len(EVERY_KIND), "refused, all as before")


@often
def test_a_loss_or_gradient_that_is_not_finite_takes_the_epoch_back(toy: Any, tally: Any, times: int) -> None:
    draw = random.Random(times)
    for kind in EVERY_KIND * times:
        trainer, at, value = made(toy, kind), draw.randrange(4), draw.choice(NOT_FINITE)
        step, spoilt = trainer.step, draw.choice(["loss", "gradient"])
        calls = iter(range(100))

        def failing(x: Tensor, y: Any, step: Any = step, at: int = at, spoilt: str = spoilt, calls: Any = calls) -> Any:
            terms = step(x, y)
            if next(calls) != at:
                return terms
            if spoilt == "loss":
                return {**terms, "loss": terms["loss"] * value}  # noqa: B023
            return {**terms, "loss": terms["loss"] + (0 * terms["loss"]).sqrt()}  # 0 with the gradient inf * 0

        trainer.step = failing
        refuses(toy, trainer, toy.x(SAMPLES), toy.y(SAMPLES), FloatingPointError, "must stay finite, got .* in epoch 1")
    count = times * len(EVERY_KIND)
    tally("The run", "losses or gradients not finite, all trainers", count, "named, the epoch taken back")


@often
def test_weights_that_are_not_finite_are_not_trained_on(toy: Any, tally: Any, times: int) -> None:
    draw = random.Random(times)
    for kind in EVERY_KIND * times:
        trainer = made(toy, kind)
        weight = trainer.classifier.model[0].weight.data
        row, column = draw.randrange(8), draw.randrange(4)
        good = float(weight[row, column])
        weight[row, column] = draw.choice(NOT_FINITE)
        before = runs.everything(trainer)
        with pytest.raises((FloatingPointError, ValueError), match=r"must (stay|be|give) finite"):
            trainer.fit(toy.x(SAMPLES), toy.y(SAMPLES), batch_size=BATCH, nb_epochs=1)
        assert runs.everything(trainer) == before
        weight[row, column] = good
        check_usable(toy, trainer, runs.everything(trainer))
    count = times * len(EVERY_KIND)
    tally("The run", "weights not finite at the start, all trainers", count, "named, all as before")


# --- loaders that fail ---


class Listed(Dataset[Any]):
    """Pairs, of which one does something else."""

    def __init__(self, x: Any, y: Any, at: int = -1, instead: Callable[[], Any] = lambda: None) -> None:
        self.x, self.y, self.at, self.instead = torch.from_numpy(x), torch.from_numpy(y), at, instead

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.at:
            self.instead()
        return self.x[index], self.y[index]


class Short(DataLoader[Any]):
    """Ends after so many batches, or has one of no samples there."""

    at, empty = 0, False

    def __iter__(self) -> Any:
        return self._short()

    def _short(self) -> Iterator[Any]:
        for number, (x, y) in enumerate(super().__iter__()):
            if number == self.at and not self.empty:
                return
            yield (x[:0], y[:0]) if number == self.at else (x, y)


def fail() -> None:
    raise OSError("the disk of the data is gone")


def die() -> None:
    os._exit(1)


@often
def test_a_loader_that_raises_takes_the_epoch_back(toy: Any, tally: Any, times: int) -> None:
    draw = random.Random(times)
    for kind in EVERY_KIND * times:
        data = Listed(toy.x(SAMPLES), toy.y(SAMPLES), draw.randrange(BATCH, SAMPLES), fail)
        loader = DataLoader(data, batch_size=BATCH)
        refuses(toy, made(toy, kind), loader, None, OSError, "the disk of the data is gone")
    tally("The run", "data sets that raise, all trainers", times * len(EVERY_KIND), "their error, the epoch taken back")


@often
@pytest.mark.parametrize("empty", [False, True])
def test_a_loader_that_ends_early_or_gives_nothing_is_refused(toy: Any, tally: Any, times: int, empty: bool) -> None:
    draw = random.Random(times)
    for kind in EVERY_KIND * times:
        loader = Short(Listed(toy.x(SAMPLES), toy.y(SAMPLES)), batch_size=BATCH)
        loader.at, loader.empty = draw.randrange(1, 4), empty
        early = rf"`x` must give the 4 batches that its length says, got {loader.at} in epoch 1"
        message = "`x` must hold samples in each batch, got an empty one" if empty else early
        refuses(toy, made(toy, kind), loader, None, ValueError, message)
    what = "loaders with an empty batch" if empty else "loaders that end early"
    tally("The run", f"{what}, all trainers", times * len(EVERY_KIND), "refused, the epoch taken back")


LOADED: dict[str, Callable[..., Any]] = {
    "WorstCaseMIEstimator": lambda art, x: art_mi.WorstCaseMIEstimator(eps=0.1, verbose=False).evaluate(art, x),
    "layer_profile": lambda art, x: art_mi.layer_profile(art, x, eps=0.1, verbose=False),
    "feature_profile": lambda art, x: art_mi.feature_profile(art, x, eps=0.1, verbose=False),
    "vulnerability_curve": lambda art, x: art_mi.vulnerability_curve(art, x, eps=[0.1], verbose=False),
    "evaluate_robustness": lambda art, x: art_mi.evaluate_robustness(art, x, None, eps=0.1, verbose=False),
    "backbone_report": lambda art, x: art_mi.backbone_report(art, x, None, eps=0.1, verbose=False),
    "assess": lambda art, x: art_mi.assess(art, x, None, eps=0.1, verbose=False),
}


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("name", LOADED)
def test_measures_refuse_a_loader_that_ends_early_or_gives_nothing(
    toy: Any, tally: Any, name: str, empty: bool
) -> None:
    loader = Short(Listed(toy.x(160), toy.y(160)), batch_size=40)
    for loader.at in range(4):
        loader.empty = empty
        early = rf"`x` must give the 4 batches that its length says, got {loader.at}\."
        with pytest.raises(ValueError, match="`x` must hold samples in each batch, got an empty" if empty else early):
            LOADED[name](toy.classifier(), loader)
    tally("The run", "loaders that end early or have an empty batch, all metrics", 4, "refused")


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("instead", "error", "message"),
    [(fail, OSError, "the disk of the data is gone"), (die, RuntimeError, r"DataLoader worker .* exited unexpectedly")],
)
# A worker may die ahead, while torch drops the loader that was asked for a first batch: it says so and goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_raises_or_dies_ends_the_training_with_an_error(
    toy: Any, tally: Any, times: int, instead: Any, error: type[Exception], message: str
) -> None:
    draw = random.Random(times)
    for _ in range(times):
        data = Listed(toy.x(SAMPLES), toy.y(SAMPLES), draw.randrange(2 * BATCH, SAMPLES), instead)
        loader = DataLoader(data, batch_size=BATCH, num_workers=2, timeout=60)
        refuses(toy, made(toy, trainers.MIMAETrainer), loader, None, error, message)
    what = "raises" if instead is fail else "dies"
    tally("The run", f"loaders of which a worker {what}", times, "an error in time, no process left")
