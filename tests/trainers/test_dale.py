"""DALE's multiplier moves exactly as stated, and its step is what is left of known methods in the limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from art_mi.attacks import LangevinMonteCarlo
from art_mi.trainers import DALETrainer, MadryPGDTrainer, crafting


class Constant(DALETrainer):
    """Clean and robust loss are constants; the loss still reaches the weights."""

    clean, robust = 0.75, 0.25

    def step(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        zero = 0.0 * self.forward(x).sum()
        clean, robust = zero + self.clean, zero + self.robust
        return {"loss": clean + robust, "robust": robust, "clean": clean, "nu": self.duals["nu"]}


def trajectory(toy: Any, **options: Any) -> list[float]:
    """The multiplier before and after each of four epochs of three batches."""
    values: list[float] = []
    trainer = toy.trainer(Constant, **options)
    values.append(float(trainer.duals["nu"]))
    note = lambda trainer, _: values.append(float(trainer.duals["nu"]))  # noqa: E731
    trainer.fit(toy.x(), toy.y(), batch_size=8, nb_epochs=4, callbacks=[note])
    return values


@pytest.mark.parametrize(("dual_step", "moves"), [("epoch", 1), ("batch", 3)])
@pytest.mark.parametrize("dual_start", [0.0, 1.0])
@pytest.mark.parametrize(("rho", "swapped"), [(0.5, False), (0.75, False), (1.0, False), (3.0, False), (0.5, True)])
def test_the_multiplier_of_a_constant_loss_is_known(
    toy: Any, dual_step: str, moves: int, dual_start: float, rho: float, swapped: bool
) -> None:
    constrained = Constant.robust if swapped else Constant.clean
    options = {"dual_start": dual_start, "dual_lr": 0.125, "rho": rho, "dual_step": dual_step, "swapped": swapped}
    expected = [max(0.0, dual_start + k * moves * 0.125 * (constrained - rho)) for k in range(5)]
    assert trajectory(toy, **options) == expected


def test_the_multiplier_moves_in_double_precision(toy: Any) -> None:
    trainer = toy.trainer(DALETrainer, dual_step="batch", dual_lr=1e-3, rho=0.1, dual_start=1.0)
    expected = 1.0
    for k in range(1, 1001):
        loss = torch.tensor(1.0 / k)
        trainer.after_step({"clean": loss})
        expected = max(0.0, expected + 1e-3 * (loss.item() - 0.1))
    assert float(trainer.duals["nu"]) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({}, 0.0),
        ({"robust_loss": "kl"}, 1.0),
        ({"robust_loss": "kl", "swapped": True}, 0.0),
        ({"dual_start": 0.5}, 0.5),
    ],
)
def test_labels_count_from_the_start(toy: Any, options: dict[str, Any], start: float) -> None:
    assert float(toy.trainer(DALETrainer, **options).duals["nu"]) == start


def test_a_multiplier_that_would_leave_the_labels_out_is_refused(toy: Any) -> None:
    with pytest.raises(ValueError, match=r"`multiplier` must be None or a positive number, got 0"):
        toy.trainer(DALETrainer, robust_loss="kl", multiplier=0)
    assert toy.trainer(DALETrainer, robust_loss="kl", multiplier=0, swapped=True)


@pytest.mark.parametrize(("dual_step", "moves"), [("epoch", 1), ("batch", 3)])
def test_the_multiplier_waits_for_the_warmup(toy: Any, dual_step: str, moves: int) -> None:
    options = {"dual_start": 0.5, "dual_lr": 0.125, "rho": 0.5, "dual_step": dual_step, "dual_warmup": 2}
    assert trajectory(toy, **options) == [0.5 + k * moves * 0.125 * 0.25 for k in (0, 0, 0, 1, 2)]


@pytest.mark.parametrize("dual_step", ["epoch", "batch"])
def test_a_fixed_multiplier_stays(toy: Any, dual_step: str) -> None:
    assert trajectory(toy, multiplier=0.3, dual_step=dual_step, dual_start=5.0) == [0.3] * 5


@pytest.mark.parametrize("dual_step", ["epoch", "batch"])
def test_the_multiplier_follows_the_recorded_clean_loss(toy: Any, dual_step: str) -> None:
    trainer = toy.trainer(DALETrainer, dual_step=dual_step, dual_lr=0.5, rho=0.2)
    trainer.fit(toy.x(), toy.y(), batch_size=24, nb_epochs=4)  # one batch an epoch
    nu = 0.0
    for record in trainer.history:
        assert record["nu"] == pytest.approx(nu, rel=1e-6)
        nu = max(0.0, nu + 0.5 * (record["clean"] - 0.2))
    assert float(trainer.duals["nu"]) == pytest.approx(nu, rel=1e-6)


def test_without_a_multiplier_it_is_madrys_method_bit_for_bit(toy: Any) -> None:
    weights = []
    for kind, options in ((MadryPGDTrainer, {}), (DALETrainer, {"multiplier": 0.0})):
        art = toy.classifier()
        trainer = toy.trainer(kind, art, attack=toy.attack(art, num_random_init=1), **options)
        trainer.fit(toy.x(), toy.y(), batch_size=8, nb_epochs=3)
        weights.append(toy.weights(art))
    assert weights[0] == weights[1]


@pytest.mark.parametrize("robust_loss", ["cross_entropy", "kl"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("nu", [0.0, 0.7])
def test_the_step_is_the_lagrangian(toy: Any, robust_loss: str, swapped: bool, nu: float) -> None:
    art = toy.classifier(toy.network().double())
    trainer = toy.trainer(DALETrainer, art, robust_loss=robust_loss, swapped=swapped, dual_start=nu)
    x, y = torch.from_numpy(toy.x()).double(), torch.from_numpy(toy.y())
    kl, source = robust_loss == "kl", torch.Generator().manual_seed(0)
    target = crafting.divergence if kl else crafting.loss
    x_adv = crafting.craft(art, trainer.attack, x, y, source, target=target, start_std=0.001 if kl else 0.0)
    clean = cross_entropy(art.model(x), y)
    log_p, log_q = art.model(x).log_softmax(1), art.model(x_adv).log_softmax(1)
    robust = kl_div(log_q, log_p.exp(), reduction="batchmean") if kl else cross_entropy(art.model(x_adv), y)
    terms = trainer.step(x, y)
    loss = clean + nu * robust if swapped else robust + nu * clean
    for name, value in (("loss", loss), ("robust", robust), ("clean", clean)):
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-12)
    assert terms["nu"].item() == nu
    parameters = list(art.model.parameters())
    pairs = zip(torch.autograd.grad(terms["loss"], parameters), torch.autograd.grad(loss, parameters), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "sampler", [{"noise": "gaussian"}, {"noise": "laplace"}, {"potential": "kl"}, {"step": "gradient"}]
)
def test_it_trains_on_samples_of_langevin(toy: Any, sampler: dict[str, Any]) -> None:
    art = toy.classifier()
    attack = LangevinMonteCarlo(art, eps=0.1, eps_step=0.05, max_iter=3, temperature=1e-3, verbose=False, **sampler)
    robust_loss = "kl" if sampler.get("potential") == "kl" else "cross_entropy"
    trainer = toy.trainer(DALETrainer, art, attack=attack, robust_loss=robust_loss)
    before = toy.weights(art)
    trainer.fit(toy.x(), toy.y(), validation_data=(toy.x(), toy.y()), batch_size=8, nb_epochs=2)
    assert toy.weights(art) != before
    assert all(np.isfinite(value) for record in trainer.history for value in record.values())


def test_a_tight_margin_raises_the_multiplier_and_a_loose_one_leaves_it_at_zero(toy: Any) -> None:
    last = []
    for rho in (0.01, 100.0):
        trainer = toy.trainer(DALETrainer, rho=rho)
        trainer.fit(toy.x(), toy.y(), batch_size=8, nb_epochs=3)
        last.append(float(trainer.duals["nu"]))
    assert last[0] > 0.2
    assert last[1] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({name: -1}, f"`{name}` must be a non-negative number, got -1") for name in ("rho", "dual_lr")),
        ({"dual_start": "1"}, r"`dual_start` must be None or a non-negative number, got '1'"),
        ({"multiplier": -0.1}, r"`multiplier` must be None or a non-negative number, got -0\.1"),
        ({"dual_step": "step"}, r"`dual_step` must be one of 'epoch', 'batch', got 'step'"),
        ({"dual_warmup": -1}, r"`dual_warmup` must be an integer of at least 0, got -1"),
        ({"robust_loss": "mse"}, r"`robust_loss` must be one of 'cross_entropy', 'kl', got 'mse'"),
        ({"swapped": "yes"}, r"`swapped` must be True or False, got 'yes'"),
    ],
)
def test_a_bad_argument_is_refused_by_name(toy: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy.trainer(DALETrainer, **options)
