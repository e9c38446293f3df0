"""Schedulers, clipping, averaging, precision and compilation do what a literal loop of torch does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler as schedulers
from torch.utils.data import DataLoader, TensorDataset

from art_mi.trainers import MadryPGDTrainer, MIMAETrainer, StandardTrainer, TRADESTrainer, WorstCaseMITrainer, devices
from art_mi.trainers.devices import PRECISIONS

EPOCHS, STEPS = 4, 3

SCHEDULES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "StepLR": ("epoch", lambda o: schedulers.StepLR(o, 2, 0.5)),
    "MultiStepLR": ("epoch", lambda o: schedulers.MultiStepLR(o, [1, 3], 0.1)),
    "CosineAnnealingLR": ("epoch", lambda o: schedulers.CosineAnnealingLR(o, EPOCHS)),
    "LambdaLR": ("epoch", lambda o: schedulers.LambdaLR(o, lambda epoch: 1 / (1 + epoch))),
    "SequentialLR": (
        "epoch",
        lambda o: schedulers.SequentialLR(
            o, [schedulers.ConstantLR(o, 0.1, total_iters=2), schedulers.ExponentialLR(o, 0.5)], milestones=[2]
        ),
    ),
    "OneCycleLR": ("step", lambda o: schedulers.OneCycleLR(o, 0.5, total_steps=EPOCHS * STEPS)),
    "CyclicLR": ("step", lambda o: schedulers.CyclicLR(o, 0.01, 0.2, step_size_up=3, cycle_momentum=False)),
    "StepLR each step": ("step", lambda o: schedulers.StepLR(o, 2, 0.9)),
}


def loader(toy: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.from_numpy(toy.x()), torch.from_numpy(toy.y())), batch_size=8)


def noting(optimizer: torch.optim.Optimizer) -> list[float]:
    """Learning rates of the steps to come."""
    rates: list[float] = []
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    return rates


def by_hand(
    toy: Any,
    art: Any,
    after_step: Callable[[], None] = lambda: None,
    after_epoch: Callable[[float], None] = lambda loss: None,
    before_step: Callable[[], None] = lambda: None,
) -> None:
    for _ in range(EPOCHS):
        losses = []
        for x, y in loader(toy):
            art.optimizer.zero_grad()
            loss = cross_entropy(art.model(x), y)
            loss.backward()
            before_step()
            art.optimizer.step()
            after_step()
            losses.append(loss.item())
        after_epoch(sum(losses) / len(losses))


def standard(toy: Any, art: Any, **options: Any) -> Any:
    trainer = toy.trainer(StandardTrainer, art, attack=None, fabric=options.pop("fabric", None))
    trainer.fit(loader(toy), nb_epochs=EPOCHS, **options)
    return trainer


# --- schedulers ---


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rates_are_those_of_a_literal_loop(toy: Any, name: str) -> None:
    interval, make = SCHEDULES[name]
    art, other = toy.classifier(), toy.classifier()
    found, expected = noting(art.optimizer), noting(other.optimizer)
    trainer = standard(toy, art, scheduler=make(art.optimizer), scheduler_interval=interval)
    scheduler = make(other.optimizer)
    if interval == "step":
        by_hand(toy, other, after_step=scheduler.step)
    else:
        by_hand(toy, other, after_epoch=lambda _: scheduler.step())
        assert [record["lr"] for record in trainer.history] == expected[::STEPS]
    assert found == expected
    assert len(set(found)) > 1
    assert toy.weights(art) == toy.weights(other)


def test_a_plateau_of_the_loss_lowers_the_rate_as_in_a_literal_loop(toy: Any) -> None:
    art, other = toy.classifier(), toy.classifier()
    found, expected = noting(art.optimizer), noting(other.optimizer)

    def plateau(optimizer: Any) -> Any:  # every improvement counts as too small
        return schedulers.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=10.0, threshold_mode="abs")

    standard(toy, art, scheduler=plateau(art.optimizer))
    scheduler = plateau(other.optimizer)
    by_hand(toy, other, after_epoch=scheduler.step)
    assert found == expected
    assert len(set(found)) == EPOCHS - 1
    assert toy.weights(art) == toy.weights(other)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_plateau_is_given_the_accuracy_under_attack_or_the_error(toy: Any, mode: str) -> None:
    class Noting(schedulers.ReduceLROnPlateau):
        def step(self, metrics: Any, epoch: Any = None) -> None:
            given.append(float(metrics))
            super().step(metrics)

    given: list[float] = []
    art = toy.classifier()
    trainer = toy.trainer(MadryPGDTrainer, art)
    scheduler = Noting(art.optimizer, mode=mode)
    trainer.fit(toy.x(), toy.y(), validation_data=(toy.x(), toy.y()), nb_epochs=2, scheduler=scheduler)
    accuracies = [record["robust_accuracy"] for record in trainer.history]
    assert given == (accuracies if mode == "max" else [1 - accuracy for accuracy in accuracies])


# --- gradients and weights ---


def test_gradients_are_clipped_as_in_a_literal_loop(toy: Any) -> None:
    art, other = toy.classifier(), toy.classifier()
    standard(toy, art, clip_grad_norm=0.05)
    norms = []

    def clip() -> None:
        norms.append(float(nn.utils.clip_grad_norm_(other.model.parameters(), 0.05)))

    by_hand(toy, other, before_step=clip)
    assert min(norms) > 0.05
    for found, expected in zip(art.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    free = toy.classifier()
    standard(toy, free)
    assert toy.weights(free) != toy.weights(art)


def test_the_moving_average_is_that_of_a_literal_loop(toy: Any) -> None:
    def network() -> Any:
        return toy.network(nn.BatchNorm1d(8))

    art, other = toy.classifier(network()), toy.classifier(network())
    other.model.train()
    average: dict[str, Tensor] = {}

    def update() -> None:
        for name, value in other.model.state_dict().items():
            kept = average.get(name)
            average[name] = value.clone() if kept is None else 0.9 * kept + 0.1 * value

    standard(toy, art, ema_decay=0.9)
    by_hand(toy, other, after_step=update)
    for name, value in art.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-6)
            assert not torch.equal(value, other.model.state_dict()[name])


def test_callbacks_see_the_average_that_was_validated(toy: Any) -> None:
    trainer, seen = toy.trainer(MadryPGDTrainer, toy.classifier(lr=1.0)), []
    data = toy.x(60), toy.y(60)

    def look(trainer: Any, record: dict[str, Any]) -> None:
        seen.append(float((trainer.classifier.predict(data[0]).argmax(1) == data[1]).mean()))

    trainer.fit(*data, validation_data=data, batch_size=10, nb_epochs=3, ema_decay=0.9, callbacks=[look])
    assert seen == [record["clean_accuracy"] for record in trainer.history]


def test_what_is_validated_is_the_moving_average(toy: Any) -> None:
    art = toy.classifier(lr=1.0)
    trainer = toy.trainer(MadryPGDTrainer, art)
    data = toy.x(60), toy.y(60)
    trainer.fit(*data, validation_data=data, batch_size=10, nb_epochs=3, ema_decay=0.9, restore_best=False)
    found = (trainer.predict(data[0]).argmax(1) == data[1]).mean()
    assert trainer.history[-1]["clean_accuracy"] == pytest.approx(found)


# --- precision, memory format, compilation ---


ENCODER = {"layer": "1", "beta": 0.5, "detach_input": True}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in (StandardTrainer, MadryPGDTrainer, TRADESTrainer, MIMAETrainer)),
        *((WorstCaseMITrainer, {**ENCODER, "head": head}) for head in (None, "robust")),
    ],
)
def test_mixed_precision_is_of_the_training_step_alone(toy: Any, kind: type[Any], options: dict[str, Any]) -> None:
    seen: dict[bool, set[Any]] = {True: set(), False: set()}
    validation_data = None if options.get("head", "") is None else (toy.x(), toy.y())
    weights = []
    for precision in ("32-true", "bf16-mixed"):
        art = toy.classifier()
        if precision == "bf16-mixed":
            art.model[0].register_forward_hook(lambda module, _, out: seen[module.training].add(out.dtype))
        trainer = toy.trainer(kind, art, precision=precision, **options)
        trainer.fit(toy.x(), toy.y(), validation_data=validation_data, batch_size=8, nb_epochs=2)
        weights.append(torch.cat([p.detach().flatten() for p in art.model.parameters()]))
    head = {torch.bfloat16} if options.get("head") else set()  # the frozen layer runs in evaluation mode
    assert seen == {True: {torch.bfloat16}, False: {torch.float32} | head}
    assert weights[1].dtype == torch.float32
    assert not torch.equal(weights[1], weights[0])
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=0.05)


def test_the_precision_asked_for_is_the_one_of_the_fabric(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(
        devices, "Fabric", lambda **options: made.append(options) or Fabric(accelerator="cpu", devices=1)
    )
    for precision in PRECISIONS:
        toy.trainer(StandardTrainer, precision=precision)
    assert made == [{"accelerator": "cpu", "devices": 1, "precision": precision} for precision in PRECISIONS]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="half precision by its name needs a CUDA device")
def test_half_precision_trains_on_a_cuda_device(toy: Any) -> None:
    art = toy.classifier(device_type="gpu")
    trainer = toy.trainer(MadryPGDTrainer, art, precision="16-mixed")
    assert trainer.fabric.strategy.precision.scaler is not None
    trainer.fit(toy.x(), toy.y(), batch_size=8, nb_epochs=20)
    assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]


def test_gradients_are_clipped_at_their_own_scale(toy: Any) -> None:
    full, scaled = toy.classifier(), toy.classifier()
    standard(toy, full, clip_grad_norm=0.05)
    standard(toy, scaled, fabric=toy.half_precision(), clip_grad_norm=0.05)
    for found, expected in zip(scaled.model.parameters(), full.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def pictures(toy: Any) -> tuple[Any, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    model = toy.seeded(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)))
    art = toy.classifier(model, input_shape=(2, 6, 6))
    return art, torch.rand(16, 2, 6, 6, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def test_channels_last_changes_the_layout_and_not_the_result(toy: Any) -> None:
    weights, layouts = [], []

    def note(module: Any, args: Any) -> None:
        if module.training:
            last = [t.is_contiguous(memory_format=torch.channels_last) for t in (args[0], module[0].weight)]
            layouts.append(last)

    for channels_last in (False, True):
        art, x, y = pictures(toy)
        art.model.register_forward_pre_hook(note)
        trainer = toy.trainer(MadryPGDTrainer, art, channels_last=channels_last)
        trainer.fit(x, y, validation_data=(x, y), batch_size=8, nb_epochs=2)
        weights.append(copy.deepcopy(art.model.state_dict()))
    assert layouts == [[False, False]] * 4 + [[True, True]] * 4
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-6)
    vectors = toy.classifier()
    toy.trainer(MadryPGDTrainer, vectors, channels_last=True).fit(toy.x(), toy.y(), nb_epochs=1)


def compiled_and_not(toy: Any) -> tuple[list[Tensor], list[str]]:
    weights, kinds = [], []
    for compiled in (False, True):
        art = toy.classifier(toy.network(nn.BatchNorm1d(8)))
        trainer = toy.trainer(MadryPGDTrainer, art, compiled=compiled)
        note = lambda trainer, _: kinds.append(type(trainer.running.module).__name__)  # noqa: E731
        data = toy.x(), toy.y()
        trainer.fit(*data, validation_data=data, batch_size=8, nb_epochs=2, callbacks=[note])
        assert type(art.model) is nn.Sequential
        weights.append(torch.cat([p.detach().flatten() for p in art.model.state_dict().values()]))
    return weights, kinds


def test_a_compiled_step_trains_like_an_interpreted_one(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    weights, kinds = compiled_and_not(toy)
    assert kinds == ["Sequential"] * 2 + ["OptimizedModule"] * 2
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-5)


def test_a_step_compiled_to_machine_code_trains_like_an_interpreted_one(toy: Any) -> None:
    weights, kinds = compiled_and_not(toy)
    assert kinds == ["Sequential"] * 2 + ["OptimizedModule"] * 2
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-5)
