"""Models of the experiments are trained once, resumed where they stopped, and measured as anyone would."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_mi.datasets import load
from art_mi.trainers import MadryPGDTrainer, StepTrainer
from experiments.networks import encoder
from experiments.plan import PLANS, Samples
from experiments.recipe import METHODS, Recipe
from experiments.record import plain
from experiments.workshop import Workshop

PLAN = replace(
    PLANS["quick"], nb_train=384, nb_validation=64, nb_test=60, nb_auto_attack=12, nb_epochs=3, head_epochs=1
)
MADRY = Recipe("Madry")


def workshop(folder: Path, **sizes: Any) -> Workshop:
    plan = replace(PLAN, **sizes)
    return Workshop(plan, Samples.of(load("digits"), plan), folder)


def weights(classifier: Any) -> list[torch.Tensor]:
    return [value.clone() for value in classifier.model.state_dict().values()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_row_holds_what_the_model_does(tmp_path: Path) -> None:
    made = workshop(tmp_path)
    row = made.row(MADRY)
    x, y = made.samples.test
    predicted = made.trained(MADRY).predict(x).argmax(1)
    assert row["last"]["clean"]["value"] == np.mean(predicted == y)
    assert row["last"]["clean of those"]["value"] == np.mean(predicted[:12] == y[:12])
    assert (row["last"]["PGD-20"]["nb_samples"], row["last"]["AutoAttack"]["nb_samples"]) == (60, 12)
    assert row["last"]["AutoAttack"]["value"] <= row["last"]["clean of those"]["value"]
    assert row["seed"] == 0
    assert "seed" not in row["setting"]
    assert [record["epoch"] for record in row["history"]] == [1, 2, 3]
    assert all(record["seconds"] > 0 for record in row["history"])
    best = max(record["robust_accuracy"] for record in row["history"])
    assert row["history"][row["best"]["epoch"] - 1]["robust_accuracy"] == best


def test_the_best_checkpoint_is_that_of_its_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third epoch leaves no accuracy under attack, so that the best comes before it."""

    def ruined(self: StepTrainer, epoch: int, nb_epochs: int) -> None:
        if epoch == 2:
            for group in self.classifier.optimizer.param_groups:
                group["lr"] = group["max_lr"] = 10.0

    monkeypatch.setattr(MadryPGDTrainer, "before_epoch", ruined)
    made = workshop(tmp_path)
    row = made.row(MADRY)
    x, y = made.samples.validation
    assert row["best"]["epoch"] < 3
    for checkpoint, epoch in (("last", 3), ("best", row["best"]["epoch"])):
        clean = np.mean(made.trained(MADRY, checkpoint).predict(x).argmax(1) == y)
        assert row["history"][epoch - 1]["clean_accuracy"] == pytest.approx(clean)
    assert row["best"]["PGD-20"] != row["last"]["PGD-20"]


def test_what_is_finished_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = workshop(tmp_path).row(MADRY, _counted)

    def refuse(*_: Any) -> None:
        pytest.fail("a step was trained, or an attack run, a second time")

    monkeypatch.setattr(MadryPGDTrainer, "step", refuse)
    monkeypatch.setattr("art_mi.evaluation.target.Target.under", refuse)
    CALLS.clear()
    assert workshop(tmp_path).row(MADRY, _counted) == row
    assert row["measure"] == {"parts": 3}
    assert row["measured_by"].keys() == row["made_by"].keys() == {"date", "commit", "machine", "versions"}
    assert not CALLS
    monkeypatch.setattr(sys.modules[__name__], "SETTINGS", {"another": 1})
    workshop(tmp_path).row(MADRY, _counted)
    assert len(CALLS) == 1


CALLS: list[Recipe] = []
SETTINGS: dict[str, int] = {}


def _counted(made: Workshop, recipe: Recipe, classifier: Any) -> dict[str, int]:
    CALLS.append(recipe)
    return {"parts": len(classifier.model)}


def test_a_run_that_fails_says_why_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise FloatingPointError("`loss` must stay finite, got nan")

    monkeypatch.setattr(MadryPGDTrainer, "step", broken)
    row = workshop(tmp_path).row(MADRY)
    assert row["failed"] == "FloatingPointError: `loss` must stay finite, got nan"
    assert "in broken" in capsys.readouterr().err
    assert "last" not in row


def test_a_run_that_was_cut_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weights(workshop(tmp_path / "whole").trained(MADRY))
    step, taken = MadryPGDTrainer.step, []

    def cut(self: StepTrainer, x: torch.Tensor, y: torch.Tensor) -> Any:
        taken.append(1)
        if len(taken) == 5:
            raise KeyboardInterrupt
        return step(self, x, y)

    with monkeypatch.context() as patch:
        patch.setattr(MadryPGDTrainer, "step", cut)
        with pytest.raises(KeyboardInterrupt):
            workshop(tmp_path / "cut").trained(MADRY)
    taken.clear()
    monkeypatch.setattr(MadryPGDTrainer, "step", lambda *args: taken.append(1) or step(*args))
    assert same(weights(workshop(tmp_path / "cut").trained(MADRY)), whole)
    assert len(taken) == 6  # of nine: the first epoch is not trained again


def test_a_head_leaves_its_encoder_as_it_was(tmp_path: Path) -> None:
    made = workshop(tmp_path)
    below = Recipe("worst-case MI", "Baseline-H", options={"beta": 1.0, "detach_input": True})
    before = weights(made.trained(below))
    row = made.row(Recipe("Madry", "MLP", encoder=below))
    assert {"last", "best"} <= row.keys()
    head = made.trained(Recipe("Madry", "MLP", encoder=below))
    inside = list(head.model.features.module.state_dict().values())
    assert same(inside, list(encoder(made.trained(below).model).state_dict().values()))
    assert same(before, weights(made.trained(below)))
    assert "last" not in made.row(below)


def test_recipes_differ_in_folder_wherever_they_differ() -> None:
    other = [
        Recipe("TRADES"),
        Recipe("Madry", seed=1),
        Recipe("Madry", radius=0.5),
        Recipe("Madry", rate=0.3),
        Recipe("Madry", "Baseline-H"),
        Recipe("Madry", options={"random_state": 3}),
        Recipe("Madry", sampling={}),
        Recipe("Madry", "MLP", encoder=Recipe("worst-case MI")),
        Recipe("Madry", "MLP", encoder=Recipe("worst-case MI", seed=1)),
    ]
    assert Recipe("Madry", "small CNN").folder(PLAN) == MADRY.folder(PLAN)  # the usual one of this plan
    folders = [recipe.folder(PLAN) for recipe in (MADRY, *other)]
    assert len(set(folders)) == len(folders)
    sizes = {**PLAN.sizes, "DenseNet": {"growth": 2}}
    for unused in (replace(PLAN, nb_test=7), replace(PLAN, sizes=sizes), replace(PLAN, head_epochs=9)):
        assert MADRY.folder(unused) == MADRY.folder(PLAN)
    head = Recipe("Madry", "MLP", encoder=Recipe("worst-case MI"))
    for used in (replace(PLAN, lr=0.1), replace(PLAN, nb_epochs=9)):
        assert MADRY.folder(used) != MADRY.folder(PLAN)
        assert head.folder(used) != head.folder(PLAN)


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_is_given_the_same_attack(method: str, tmp_path: Path) -> None:
    made = workshop(tmp_path)
    options = {"rho": 0.1, "dual_lr": 0.1, "dual_warmup": 0} if method == "MIMAE under DALE" else {}
    recipe = Recipe(method, radius=0.5, options=options, sampling={} if method == "DALE" else None)
    classifier = made._classifier(recipe)
    attack = made._attack(recipe, classifier)
    assert (attack.eps, attack.eps_step, attack.max_iter, attack.num_random_init) == (0.06, 0.015, PLAN.max_iter, 1)
    assert type(made._trainer(recipe, classifier)) is METHODS[method]


def test_samples_are_disjoint_and_the_same_in_every_plan() -> None:
    data = load("digits")
    samples, fewer = Samples.of(data, PLAN), Samples.of(data, replace(PLAN, nb_train=100))
    train, validation = ({row.tobytes() for row in part[0]} for part in (samples.train, samples.validation))
    assert not train & validation
    assert np.array_equal(samples.train[0][:100], fewer.train[0])
    assert np.array_equal(samples.test[1], fewer.test[1])


def colour_images(folder: Path, n: int, **sizes: Any) -> Workshop:
    part = np.random.default_rng(0).random((n, 3, 32, 32), dtype=np.float32), np.arange(n) % 10
    return Workshop(replace(PLAN, **sizes), Samples(part, part, part, 10, 8 / 255), folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["figures12", "figures34", "tau"])
def test_what_is_measured_can_be_of_colour_images(name: str, tmp_path: Path) -> None:
    made = colour_images(tmp_path, 400, nb_test=400, nb_measured=400, critic_steps=2)
    module = import_module(f"experiments.{name}")
    recipes = {recipe.method: recipe for recipe in module.recipes(0, "cifar10") if recipe.encoder is None}
    for method in recipes.keys() & {"standard", "worst-case MI"}:
        found = module.measure(made, recipes[method], made._classifier(recipes[method]))
        assert found
        json.dumps(plain(found), allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_learns_from_colour_images(method: str, tmp_path: Path) -> None:
    made = colour_images(tmp_path, 48, nb_train=48, nb_auto_attack=4, nb_epochs=1, max_iter=2)
    options = {"rho": 0.1, "dual_lr": 0.1, "dual_warmup": 0} if method == "MIMAE under DALE" else {}
    recipe = Recipe(method, options=options, sampling={} if method == "DALE" else None)
    if method == "worst-case MI":
        recipe = Recipe(
            "Madry", "MLP", encoder=replace(recipe, network="Baseline-H", options={"tau": 1.0, "beta": 0.0})
        )
    row = made.row(recipe)
    assert "failed" not in row
    assert 0 <= row["last"]["AutoAttack"]["value"] <= row["last"]["clean of those"]["value"] <= 1
