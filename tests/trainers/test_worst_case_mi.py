"""The representation climbs (1 - beta) J1 + beta J2, its critics their own bounds, and the head leaves it alone."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from art_mi.bounds import donsker_varadhan, info_nce, jensen_shannon
from art_mi.critics import ConvCritic, LocalCritic, separable_critic
from art_mi.trainers import WorstCaseMITrainer

BOUNDS = {"donsker_varadhan": donsker_varadhan, "info_nce": info_nce, "jensen_shannon": jensen_shannon}
LAYER = "body.2"


class Network(nn.Module):
    """Batch normalisation on both sides of the representation, the output of `body.2`, and dropout before it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2))
        self.head = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


def trainer_of(toy: Any, model: nn.Module | None = None, **options: Any) -> Any:
    art = toy.classifier(toy.seeded(Network()) if model is None else model)
    return toy.trainer(WorstCaseMITrainer, art, **{"layer": LAYER, "beta": 0.5, **options})


class Fixed:
    """Crafts the same inputs whatever the objective, and counts."""

    def __init__(self, shift: float = 0.05) -> None:
        self.shift, self.calls = shift, 0

    def craft(self, objective: Any, x: Tensor, generator: Any) -> Tensor:
        self.calls += 1
        assert objective(x).ndim == 0
        return x + self.shift

    def itself(self) -> Fixed:
        return self


def started(trainer: Any, epoch: int = 0) -> Any:
    trainer._encoder_epochs = 1
    trainer.before_epoch(epoch, 2)
    trainer.training_mode()
    return trainer


def state(model: nn.Module, prefix: str) -> dict[str, bytes]:
    return {name: v.numpy().tobytes() for name, v in model.state_dict().items() if name.startswith(prefix)}


# --- the objective ---


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 2.5])
def test_gradients_are_those_of_the_weighted_sum_and_of_the_critics_own_bounds(
    toy: Any, bound: str, beta: float
) -> None:
    model = toy.network(width=6)
    with pytest.warns(UserWarning, match="`beta` above 1") if beta > 1 else nullcontext():
        trainer = started(trainer_of(toy, model, layer="0", beta=beta, bound=bound))
    trainer._parts = Fixed().itself
    for critic in trainer.critics.values():
        toy.seeded(critic)  # scores start at zero
    x = torch.from_numpy(toy.x())
    trainer.step(x, None)["loss"].backward()

    j1, j2 = (
        BOUNDS[bound](trainer.critics[name](inputs, model[0](inputs))) if name in trainer.critics else torch.zeros(())
        for name, inputs in (("normal", x), ("worst_case", x + 0.05))
    )
    encoder = list(model[0].parameters())
    expected = torch.autograd.grad((1 - beta) * j1 + beta * j2, encoder, retain_graph=True)
    assert max(float(grad.abs().max()) for grad in expected) > 1e-4
    for parameter, grad in zip(encoder, expected, strict=True):
        torch.testing.assert_close(parameter.grad, -grad, rtol=1e-3, atol=1e-5)
    for name, own in (("normal", j1), ("worst_case", j2)):
        if name in trainer.critics:
            parameters = list(trainer.critics[name].parameters())
            for parameter, grad in zip(
                parameters, torch.autograd.grad(own, parameters, retain_graph=True), strict=True
            ):
                torch.testing.assert_close(parameter.grad, -grad, rtol=1e-3, atol=1e-5)
    assert all(parameter.grad is None for parameter in model[2].parameters())


@pytest.mark.parametrize("dual", [0.0, 0.3, 1.0])
def test_the_dual_variable_weighs_the_gradients_where_there_is_one(toy: Any, dual: float) -> None:
    gradients = []
    for options in ({"tau": 0.1, "beta": 0.7}, {"beta": dual}):
        model = toy.network(width=6)
        trainer = started(trainer_of(toy, model, layer="0", **options))
        trainer._parts = Fixed().itself
        for critic in trainer.critics.values():
            toy.seeded(critic)
        if "tau" in options:
            trainer.duals["beta"] = torch.tensor(dual, dtype=torch.float64)
        trainer.step(torch.from_numpy(toy.x()), None)["loss"].backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model[0].parameters()]))
    assert float(gradients[1].abs().max()) > 1e-4
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_terms_are_the_bounds_and_their_difference(toy: Any) -> None:
    model = toy.network(width=6)
    trainer = started(trainer_of(toy, model, layer="0", bound="jensen_shannon", beta=0.3))
    trainer._parts = Fixed().itself
    for critic in trainer.critics.values():
        toy.seeded(critic)
    x = torch.from_numpy(toy.x())
    terms = trainer.step(x, None)
    scores = [trainer.critics[n](i, model[0](i)) for n, i in (("normal", x), ("worst_case", x + 0.05))]
    normal, worst = (donsker_varadhan(score) for score in scores)
    expected = {
        "loss": -sum(jensen_shannon(score) for score in scores),
        "normal": normal,
        "worst_case": worst,
        "vulnerability": normal - worst,
        "objective": 0.7 * normal + 0.3 * worst,
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach())


@pytest.mark.parametrize(
    ("beta", "critics", "attacks"),
    [(0.0, ["normal"], 0), (1.0, ["worst_case"], 3), (0.5, ["normal", "worst_case"], 3)],
)
def test_only_what_counts_is_computed(toy: Any, beta: float, critics: list[str], attacks: int) -> None:
    trainer = trainer_of(toy, beta=beta)
    trainer._parts = Fixed().itself
    trainer.fit(toy.x(), batch_size=8, nb_epochs=1)
    assert list(trainer.critics) == critics
    assert trainer._parts().calls == attacks
    assert ("vulnerability" in trainer.history[0]) == (len(critics) == 2)


def test_the_attack_lowers_the_bound_inside_the_ball(toy: Any) -> None:
    trainer = started(trainer_of(toy, toy.network(width=6), layer="0"))
    critic = toy.seeded(trainer.critics["worst_case"])
    x = torch.from_numpy(toy.x())
    moved = trainer._worst(x)
    assert float((moved - x).abs().max()) <= 0.1 + 1e-6
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    values = [donsker_varadhan(critic(i, trainer.classifier.model[0](i))).item() for i in (moved, x)]
    assert values[0] < values[1] - 0.01


class Rounding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (4 * x).round()


@pytest.mark.parametrize("detach_input", [False, True])
def test_the_input_of_the_critic_can_be_left_out_of_the_attack(toy: Any, detach_input: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 6), Rounding(), nn.Linear(6, 3))
    trainer = started(trainer_of(toy, toy.seeded(model), layer="1", detach_input=detach_input))
    toy.seeded(trainer.critics["worst_case"])
    x = torch.from_numpy(toy.x())
    moved = trainer._worst(x)  # no gradient passes through the representation
    assert torch.equal(moved, x) == detach_input


# --- the constrained problem ---


def test_the_dual_variable_moves_as_stated(toy: Any) -> None:
    trainer = started(trainer_of(toy, tau=0.1, beta=0.5, dual_lr=0.3))
    expected = 0.5
    for vulnerability in (0.5, 0.7, 0.1, -0.3, -8.0, 0.0, 3.0):
        term = torch.tensor(vulnerability)
        trainer.after_step({"vulnerability": term})
        expected = min(1.0, max(0.0, expected + 0.3 * (term.item() - 0.1)))
        assert float(trainer.duals["beta"]) == pytest.approx(expected, rel=1e-13)
    started(trainer, epoch=1).after_step({"loss": torch.tensor(1.0)})  # with the head the constraint rests
    assert float(trainer.duals["beta"]) == expected


def test_the_dual_variable_weighs_the_step_and_follows_the_recorded_vulnerability(toy: Any) -> None:
    trainer = trainer_of(toy, tau=0.1, beta=0.0, dual_lr=2.0, critic_lr=1e-2)
    trainer._parts = Fixed(0.4).itself
    trainer.fit(toy.x(), batch_size=24, nb_epochs=8)
    beta = 0.0
    for record in trainer.history:
        assert record["beta"] == pytest.approx(beta, abs=1e-6)
        beta = min(1.0, max(0.0, beta + 2.0 * (record["vulnerability"] - 0.1)))
    assert float(trainer.duals["beta"]) == pytest.approx(beta, abs=1e-6)
    assert list(trainer.critics) == ["normal", "worst_case"]
    assert list(trainer_of(toy, tau=0.0, beta=1.0).critics) == ["normal", "worst_case"]


# --- two phases ---


@pytest.mark.parametrize("head", ["robust", "standard"])
def test_the_encoder_is_frozen_bit_by_bit_while_the_head_is_trained(toy: Any, head: str) -> None:
    trainer = trainer_of(toy, head=head)
    model, states = trainer.classifier.model, []
    note = lambda *_: states.append((state(model, "body"), state(model, "head")))  # noqa: E731
    initial = state(model, "head")
    trainer.fit(toy.x(), toy.y(), batch_size=8, nb_epochs=2, callbacks=[note])
    encoders, heads = zip(*states, strict=True)
    assert len(states) == 4
    assert heads[0] == heads[1] == initial
    assert encoders[0] != encoders[1]
    assert encoders[1] == encoders[2] == encoders[3]
    assert heads[1] != heads[2] != heads[3]
    assert [set(record) - {"epoch", "lr"} for record in trainer.history] == [
        {"loss", "normal", "worst_case", "vulnerability", "objective"}
    ] * 2 + [{"loss"}] * 2


def test_the_average_begins_anew_with_the_head_so_that_the_encoder_is_the_one_it_was_trained_on(toy: Any) -> None:
    trainer = trainer_of(toy)
    model, encoders = trainer.classifier.model, []
    note = lambda x, y: encoders.append(state(model, "body")) or {"loss": model(x).sum()}  # noqa: E731
    step = trainer.step
    trainer.step = lambda x, y: note(x, y) if trainer._on_head else step(x, y)
    trainer.fit(toy.x(), toy.y(), batch_size=8, nb_epochs=2, ema_decay=0.9)
    assert state(model, "body") == encoders[0] == encoders[-1]


@pytest.mark.parametrize("options", [{}, {"head": None}])
def test_without_labels_or_head_the_head_stays_bit_by_bit(toy: Any, options: dict[str, Any]) -> None:
    trainer = trainer_of(toy, **options)
    model = trainer.classifier.model
    before = state(model, "body"), state(model, "head")
    trainer.fit(toy.x(), toy.y() if "head" in options else None, batch_size=8, nb_epochs=2)
    assert len(trainer.history) == 2
    assert state(model, "head") == before[1]
    assert state(model, "body")["body.0.weight"] != before[0]["body.0.weight"]


def test_a_loader_without_labels_trains_the_encoder_alone(toy: Any) -> None:
    trainer = trainer_of(toy)
    before = state(trainer.classifier.model, "head")
    trainer.fit(torch.utils.data.DataLoader(torch.from_numpy(toy.x()), batch_size=8), nb_epochs=2)
    assert len(trainer.history) == 2
    assert state(trainer.classifier.model, "head") == before


@pytest.mark.parametrize(("head", "shift"), [("standard", 0.0), ("robust", 0.2)])
def test_the_head_descends_the_cross_entropy_of_clean_or_of_crafted_inputs(toy: Any, head: str, shift: float) -> None:
    model = toy.network()
    trainer = started(trainer_of(toy, model, layer="0", head=head), epoch=1)
    trainer.craft = lambda x, y: x + 0.2
    x, y = torch.from_numpy(toy.x()), torch.from_numpy(toy.y())
    weights = list(model[2].parameters())
    found, expected = trainer.step(x, y)["loss"], cross_entropy(model(x + shift), y)
    for one, other in (
        (found, expected),
        *zip(*(torch.autograd.grad(v, weights) for v in (found, expected)), strict=True),
    ):
        torch.testing.assert_close(one, other)


def test_the_standard_head_is_that_of_a_literal_loop(toy: Any) -> None:
    trainer = trainer_of(toy, head="standard", head_epochs=3, beta=0.0)
    other = toy.classifier(toy.seeded(Network()))
    model, phases = trainer.classifier.model, []

    def note(_: Any, record: dict[str, Any]) -> None:
        if record["epoch"] == 1:
            other.model.load_state_dict(model.state_dict())
        phases.append(record["loss"])

    pairs = torch.utils.data.TensorDataset(torch.from_numpy(toy.x()), torch.from_numpy(toy.y()))
    loader = torch.utils.data.DataLoader(pairs, batch_size=8)
    trainer.fit(loader, nb_epochs=1, callbacks=[note])
    assert len(phases) == 4
    other.model.train()
    other.model.body.eval()
    for _ in range(3):
        for x, y in loader:
            other.optimizer.zero_grad()
            cross_entropy(other.model(x), y).backward()
            for parameter in other.model.body.parameters():
                parameter.grad = None
            other.optimizer.step()
    assert toy.weights(trainer.classifier) == toy.weights(other)


def test_validation_is_of_the_epochs_of_the_head(toy: Any) -> None:
    trainer = trainer_of(toy, head_epochs=2)
    trainer.fit(toy.x(), toy.y(), validation_data=(toy.x(), toy.y()), batch_size=8, nb_epochs=3)
    assert ["clean_accuracy" in record for record in trainer.history] == [False] * 3 + [True] * 2


def test_impatience_ends_a_worsening_head_and_the_best_one_comes_back(toy: Any) -> None:
    trainer, states = trainer_of(toy, toy.network(), layer="0", head_epochs=9, beta=0.0), []
    art, data = trainer.classifier, (toy.x(60), toy.y(60))
    rates = torch.optim.lr_scheduler.LambdaLR(art.optimizer, lambda epoch: 1.0 if epoch < 3 else -5.0)
    options = {
        "validation_data": data,
        "patience": 2,
        "scheduler": rates,
        "callbacks": [lambda *_: states.append(toy.weights(art))],
    }
    trainer.fit(*data, batch_size=10, nb_epochs=1, **options)
    robust = [record.get("robust_accuracy", -1.0) for record in trainer.history]
    best = int(np.argmax(robust))
    assert best > 0
    assert len(robust) == best + 3 < 10
    assert toy.weights(art) == states[best] != states[-1]


def test_it_can_be_fitted_again(toy: Any) -> None:
    trainer = trainer_of(toy)
    for _ in range(2):
        before = state(trainer.classifier.model, "body")
        trainer.fit(toy.x(), toy.y(), batch_size=8, nb_epochs=1)
        assert state(trainer.classifier.model, "body") != before
        assert all(p.requires_grad for p in trainer.classifier.model.parameters())


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("layer", [None, "0"])
def test_training_raises_the_worst_case_information(toy: Any, bound: str, layer: str | None) -> None:
    trainer = trainer_of(toy, toy.network(), layer=layer, head=None, bound=bound, beta=1.0, critic_lr=1e-3)
    trainer.fit(toy.x(96), batch_size=32, nb_epochs=25)
    worst = [record["worst_case"] for record in trainer.history]
    assert worst[-1] > worst[0] + 0.1
    losses = [record["loss"] for record in trainer.history]
    assert losses[-1] < losses[0] - 0.1


# --- critics ---


def pictures(toy: Any) -> tuple[Any, Tensor]:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 3))
    art = toy.classifier(toy.seeded(model), input_shape=(2, 6, 6))
    return art, torch.rand(16, 2, 6, 6, generator=torch.Generator().manual_seed(4))


def test_critics_suit_the_inputs_and_may_be_the_papers(toy: Any) -> None:
    art, x = pictures(toy)
    assert all(isinstance(c, ConvCritic) for c in toy.trainer(WorstCaseMITrainer, art, layer="3").critics.values())
    critic = LocalCritic(2, 5, width=16)
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    trainer = toy.trainer(WorstCaseMITrainer, art, layer="3", beta=0.5, critic=critic, critic_lr=1e-2)
    trainer.fit(x, torch.arange(16) % 3, batch_size=8, nb_epochs=2)
    for name, value in before.items():
        assert torch.equal(critic.state_dict()[name], value)
    copies = list(trainer.critics.values())
    assert len(copies) == 2
    weights = [copy.z_block.shortcut.weight for copy in copies]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], critic.z_block.shortcut.weight)
    flat = toy.trainer(WorstCaseMITrainer, art, layer="0", head=None, beta=1.0)
    flat.fit(x, batch_size=8, nb_epochs=1)
    assert np.isfinite(flat.history[0]["worst_case"])


def test_the_attack_counts_as_it_is_when_it_is_used(toy: Any) -> None:
    art = toy.classifier()
    attack = toy.attack(art)
    trainer = WorstCaseMITrainer(art, attack, layer="0", verbose=False)
    attack.set_params(eps=0.02, eps_step=0.02)
    toy.seeded(trainer.critics["worst_case"])  # scores start at zero
    x = torch.from_numpy(toy.x())
    assert 0 < (trainer._worst(x) - x).abs().max() <= 0.02 * (1 + 1e-6)


# --- bad input ---


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": None}, ValueError, r"`layer` must name a layer before the output where a head is trained, got None"),
        ({"layer": 2}, TypeError, r"`layer` must be a name, got int"),
        ({"layer": "head"}, ValueError, r"`layer` must leave weights for a head, or `head` be None, got 'head'"),
        ({"layer": "body.9"}, ValueError, r"`layer` must name a module of the model, got 'body\.9'"),
        ({"head": "linear"}, ValueError, r"`head` must be None or one of 'robust', 'standard', got 'linear'"),
        ({"head_epochs": 0}, ValueError, r"`head_epochs` must be None or an integer of at least 1, got 0"),
        ({"bound": "mine"}, ValueError, r"`bound` must be one of 'donsker_varadhan', .*, got 'mine'"),
        ({"tau": 0.1, "beta": 1.5}, ValueError, r"`beta` must be a number between 0 and 1, got 1.5"),
        ({"beta": -1}, ValueError, r"`beta` must be a non-negative number, got -1"),
        ({"tau": np.inf}, ValueError, r"`tau` must be None or a non-negative number, got inf"),
        ({"dual_lr": None}, ValueError, r"`dual_lr` must be a non-negative number, got None"),
        ({"critic_lr": 0}, ValueError, r"`critic_lr` must be a positive number, got 0"),
        ({"detach_input": 1}, ValueError, r"`detach_input` must be True or False, got 1"),
        ({"critic": nn.Linear(4, 1)}, TypeError, r"`critic` must be a Critic, got Linear"),
        ({"compiled": True}, ValueError, r"`compiled` must be False with a `layer`, .*got 'body\.2'"),
        ({"betas": 1.0}, TypeError, "betas"),
    ],
)
def test_a_bad_argument_is_refused_by_name(
    toy: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        trainer_of(toy, **options)


def test_validation_needs_a_head_that_is_trained(toy: Any) -> None:
    for options, y in (({"head": None}, toy.y()), ({}, None)):
        trainer = trainer_of(toy, **options)
        before = toy.weights(trainer.classifier)
        with pytest.raises(ValueError, match=r"`validation_data` must be left out where no head is trained"):
            trainer.fit(toy.x(), y, validation_data=(toy.x(), toy.y()), nb_epochs=1)
        with pytest.raises(ValueError, match=r"`nb_epochs` must be an integer of at least 1, got 0"):
            trainer.fit(toy.x(), y, nb_epochs=0)
        assert toy.weights(trainer.classifier) == before


def test_a_critic_of_other_sizes_is_refused(toy: Any) -> None:
    message = r"`critic` must score inputs of shape \(4,\) against representations of dimension 8, got one that fails: "
    with pytest.raises(ValueError, match=message):
        trainer_of(toy, critic=separable_critic(4, 99))
