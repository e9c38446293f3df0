"""The outer loop by itself: what is not finite, when the host waits, what is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from art_mi.attacks import LangevinMonteCarlo
from art_mi.trainers import (
    DALETrainer,
    MadryPGDTrainer,
    MIMAETrainer,
    StandardTrainer,
    StepTrainer,
    TRADESTrainer,
    WorstCaseMITrainer,
)
from art_mi.trainers.average import MovingAverage
from art_mi.trainers.checkpoint import load_checkpoint

BATCHES, BATCH = 4, 6  # of 24 samples
NAN, INF = float("nan"), float("inf")


class Failing(StandardTrainer):
    """Cross-entropy that goes wrong in one step: a term, or a gradient behind terms that are all finite."""

    fail_at, failure, factor = 0, "", NAN  # step from 1, what fails and by which factor

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made = 0
        self.duals["nu"] = torch.tensor(0.0)

    def step(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        assert y is not None
        self.made += 1
        logits = self.forward(x)
        terms = {"loss": cross_entropy(logits, y), "accuracy": (logits.argmax(1) == y).float().mean()}
        if self.made == self.fail_at and self.failure in terms:
            terms[self.failure] = terms[self.failure] * self.factor
        if self.made == self.fail_at and self.failure == "gradient":
            terms["loss"] = terms["loss"] + (0 * logits).sum().sqrt()  # 0 with the gradient inf * 0
        return terms

    def after_step(self, terms: dict[str, Tensor]) -> None:
        self.duals["nu"] = self.duals["nu"] + 1


def failing(toy: Any, failure: str, fail_at: int, *, factor: float = NAN, model: Any = None) -> Failing:
    model = toy.network() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = Failing(toy.classifier(model, optimizer=optimizer), verbose=False)
    trainer.failure, trainer.fail_at, trainer.factor = failure, fail_at, factor
    return trainer


def fit(toy: Any, trainer: Any, **options: Any) -> Any:
    trainer.fit(toy.x(), toy.y(), **{"batch_size": BATCH, "nb_epochs": 3, **options})
    return trainer


def momenta(trainer: Any) -> list[bytes]:
    """Buffers of the optimizer, and its learning rate."""
    state = trainer.classifier.optimizer.state_dict()
    buffers = [value["momentum_buffer"].numpy().tobytes() for value in state["state"].values()]
    return [*buffers, str(state["param_groups"][0]["lr"]).encode()]


# --- what is not finite ---


@pytest.mark.parametrize(
    ("fail_at", "log_every", "factor", "term"),  # each value meets each other one
    [
        (fail_at, log_every, (NAN, INF, -INF)[(i + j) % 3], ("loss", "accuracy")[(i + j) % 2])
        for i, fail_at in enumerate((1, 4, 6, 12))
        for j, log_every in enumerate((1, 3, 50))
    ],
)
def test_a_term_that_is_not_finite_is_named_with_its_epoch_and_batch(
    toy: Any, fail_at: int, log_every: int, factor: float, term: str
) -> None:
    trainer = failing(toy, term, fail_at, factor=factor)
    epoch, batch = (fail_at - 1) // BATCHES + 1, (fail_at - 1) % BATCHES + 1
    message = rf"`{term}` must stay finite, got (nan|inf|-inf) in epoch {epoch}, batch {batch}\. Weights"
    with pytest.raises(FloatingPointError, match=message):
        fit(toy, trainer, log_every=log_every)
    assert len(trainer.history) == epoch - 1


@pytest.mark.parametrize("failure", ["loss", "gradient"])
@pytest.mark.parametrize("log_every", [1, 50])
@pytest.mark.parametrize("fail_at", [2, 7, 12])
def test_everything_trained_is_as_when_the_epoch_began(toy: Any, failure: str, log_every: int, fail_at: int) -> None:
    def scheduled(trainer: Any, **options: Any) -> dict[str, Any]:
        scheduler = OneCycleLR(trainer.classifier.optimizer, max_lr=0.3, total_steps=12)
        return {"scheduler": scheduler, "scheduler_interval": "step", "log_every": log_every, **options}

    trainer, good = failing(toy, failure, fail_at), failing(toy, "", 0)
    options = scheduled(trainer)
    complete = (fail_at - 1) // BATCHES
    with pytest.raises(FloatingPointError):
        fit(toy, trainer, **options)
    other = scheduled(good)
    if complete:
        fit(toy, good, **other, nb_epochs=complete)
    assert toy.weights(trainer.classifier) == toy.weights(good.classifier)
    assert momenta(trainer) == momenta(good)
    assert options["scheduler"].state_dict() == other["scheduler"].state_dict()
    assert trainer.duals == good.duals == {"nu": torch.tensor(BATCHES * complete)}
    assert trainer.history == good.history
    fit(toy, trainer, nb_epochs=1)  # nothing that is not finite is left in the optimizer
    assert np.isfinite(trainer.history[0]["loss"])


@pytest.mark.parametrize("fail_at", [4, 12])
def test_weights_that_are_not_finite_after_the_last_step_are_noticed(toy: Any, fail_at: int) -> None:
    trainer = failing(toy, "gradient", fail_at)
    epoch = fail_at // BATCHES
    message = rf"`0.weight` must stay finite, got NaN or infinity in epoch {epoch}, batch 4\."
    with pytest.raises(FloatingPointError, match=message):
        fit(toy, trainer)


def test_a_critic_that_is_not_finite_is_noticed(toy: Any) -> None:
    art = toy.classifier()
    trainer = WorstCaseMITrainer(art, toy.attack(art), layer="0", head=None, verbose=False)
    before = {name: value.clone() for name, value in trainer.modules["worst_case"].state_dict().items()}

    def spoil(x: Tensor, y: Tensor | None) -> Any:
        terms = type(trainer).step(trainer, x, y)
        critic = trainer.critics["worst_case"]
        return {**terms, "loss": terms["loss"] + sum((0 * p).sum() for p in critic.parameters()).sqrt()}

    trainer.step = spoil  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match=r"`worst_case\.\S+` must stay finite, got NaN or infinity in epoch 1"):
        fit(toy, trainer, nb_epochs=1, batch_size=24)
    for name, value in trainer.modules["worst_case"].state_dict().items():
        assert torch.equal(value, before[name])


def test_batch_statistics_that_are_not_finite_are_noticed(toy: Any) -> None:
    model = toy.network(nn.BatchNorm1d(8))
    trainer = failing(toy, "", 0, model=model)

    def overflow(terms: Any) -> None:
        with torch.no_grad():
            model[1].running_var.fill_(INF)

    trainer.after_step = overflow  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match=r"`1.running_var` must stay finite"):
        fit(toy, trainer)
    assert bool(model[1].running_var.isfinite().all())


def test_buffers_that_were_never_finite_are_none_of_trainings_business(toy: Any) -> None:
    model = toy.network()
    model.register_buffer("mask", torch.tensor([-INF, 0.0]))
    assert len(fit(toy, failing(toy, "", 0, model=model)).history) == 3


@pytest.mark.parametrize("failure", ["loss", "gradient"])
@pytest.mark.parametrize("log_every", [1, 50])
@pytest.mark.parametrize("every", [None, 1, 3])
def test_the_last_good_checkpoint_is_kept(
    toy: Any, tmp_path: Path, failure: str, log_every: int, every: int | None
) -> None:
    trainer, message = failing(toy, failure, 7), r"must stay finite, got .* in epoch 2, batch"
    with pytest.raises(FloatingPointError, match=message):
        fit(toy, trainer, out=tmp_path, checkpoint_every=every, log_every=log_every)
    state = load_checkpoint(tmp_path / "checkpoint.safetensors")["state"]
    # With every step checked, a bad gradient is noticed in the seventh; its checkpoint is not written
    assert state["step"] == {None: 4, 1: 6, 3: 6}[every]
    whole = fit(toy, failing(toy, "", 0))
    resumed = fit(toy, failing(toy, "", 0), resume_from=tmp_path)
    assert toy.weights(resumed.classifier) == toy.weights(whole.classifier)
    assert resumed.history == whole.history


def test_an_error_of_any_kind_takes_the_epoch_back(toy: Any) -> None:
    def stop(trainer: Any, record: dict[str, Any]) -> None:
        raise RuntimeError("stopped on purpose")

    trainer = failing(toy, "", 0)
    before = toy.weights(trainer.classifier)
    with pytest.raises(RuntimeError, match="stopped on purpose"):
        fit(toy, trainer, callbacks=[stop])
    assert toy.weights(trainer.classifier) == before


# --- when the host waits for the device ---

COPIES = ("tolist", "cpu", "numpy", "to")  # noted by name, as on the CPU there is nothing to copy
READS = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select, torch.ops.aten.equal)


class Noting(TorchDispatchMode):
    """Notes the operations whose result, or its size, the host must know; `float`, `bool` and `item` are among them."""

    def __init__(self, waits: list[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masked = func is torch.ops.aten.index.Tensor and any(i is not None and i.dtype is torch.bool for i in args[1])
        if masked or func.overloadpacket in READS:
            self.waits.append(str(func))
        return func(*args, **(kwargs or {}))


def steady(kind: type[Any], toy: Any, **options: Any) -> Any:
    """A trainer with SGD everywhere: Adam reads its counters, which are on the host."""
    model = toy.network(nn.BatchNorm1d(8), nn.Dropout(0.2))
    art = toy.classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    attack = options.pop("attack", toy.attack)(art)
    trainer = kind(art, attack, verbose=False, **options)
    for name, critic in trainer.modules.items():
        trainer.optimizers[name] = torch.optim.SGD(critic.parameters(), lr=0.1)
    return trainer


def langevin(art: Any) -> LangevinMonteCarlo:
    return LangevinMonteCarlo(art, eps=0.1, max_iter=2, verbose=False)


@pytest.mark.parametrize("log_every", [1, 4, 50])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (MadryPGDTrainer, {}),
        (TRADESTrainer, {}),
        (MIMAETrainer, {}),
        (DALETrainer, {"dual_step": "batch", "attack": langevin}),
        (WorstCaseMITrainer, {"layer": "0", "head": None, "tau": 0.1}),
    ],
)
def test_the_host_waits_once_in_so_many_steps(
    toy: Any, monkeypatch: pytest.MonkeyPatch, kind: type[Any], options: dict[str, Any], log_every: int
) -> None:
    trainer = steady(kind, toy, **options)
    step, waits, at_steps = trainer.step, list[str](), list[int]()

    def noting(name: str) -> Any:
        def noted(tensor: Tensor, *args: Any, **options: Any) -> Any:
            if name != "to" or "cpu" in (*args, *options.values()):
                waits.append(name)
            return original(tensor, *args, **options)

        original = getattr(Tensor, name)
        return noted

    def noted(x: Tensor, y: Tensor | None) -> Any:
        at_steps.append(len(waits))
        return step(x, y)

    trainer.step = noted
    scheduler = OneCycleLR(trainer.classifier.optimizer, max_lr=0.3, total_steps=12)
    often = {"scheduler": scheduler, "scheduler_interval": "step", "clip_grad_norm": 1.0, "ema_decay": 0.9}
    with monkeypatch.context() as patch, Noting(waits):
        for name in COPIES:
            patch.setattr(Tensor, name, noting(name))
        trainer.fit(toy.x(72), toy.y(72), batch_size=BATCH, nb_epochs=1, log_every=log_every, **often)
    assert np.diff(at_steps).tolist() == [int(step % log_every == 0) for step in range(1, 12)]


# --- half precision ---


def test_one_gradient_scale_serves_all_optimizers_in_a_step(toy: Any) -> None:
    """Critics have no gradients while the head is trained, and a scale that changes must not change between them."""
    fabric = toy.half_precision(growth_interval=1)
    scaler = fabric.strategy.precision.scaler
    trainer = steady(WorstCaseMITrainer, toy, layer="0", fabric=fabric)
    scales: list[float] = []
    for optimizer in (trainer.classifier.optimizer, *trainer.optimizers.values()):
        optimizer.register_step_pre_hook(lambda *_: scales.append(scaler.get_scale()))
    fit(toy, trainer, nb_epochs=1)
    assert scales == [*(8.0 * 2**step for step in range(4) for _ in range(2)), *(8.0 * 2**step for step in range(4, 8))]
    assert all(np.isfinite(record["loss"]) for record in trainer.history)


# --- what is counted ---


class Counting(StepTrainer):
    """Terms that say which step they are of; the loss does not move the weights."""

    needs_attack = False
    smallest_batch = 2

    def step(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        self.number = getattr(self, "number", 0) + 1
        loss = 0 * self.forward(x).sum()
        return {"loss": loss, "number": torch.tensor(float(self.number)), "size": torch.tensor(float(len(x)))}


@pytest.mark.parametrize("log_every", [1, 3, 50])
def test_records_are_means_over_the_steps_of_their_epoch(toy: Any, log_every: int) -> None:
    trainer = fit(toy, Counting(toy.classifier(lr=0.25), verbose=False), log_every=log_every)
    assert trainer.history == [
        {"epoch": epoch, "lr": 0.25, "loss": 0.0, "number": 4 * epoch - 1.5, "size": 6.0} for epoch in (1, 2, 3)
    ]


def test_samples_count_alike_in_a_record_whatever_their_batch(toy: Any) -> None:
    pairs = TensorDataset(torch.from_numpy(toy.x(26)), torch.from_numpy(toy.y(26)))
    trainer = Counting(toy.classifier(), verbose=False)
    trainer.fit(DataLoader(pairs, batch_size=24), nb_epochs=1)
    assert trainer.history[0]["size"] == pytest.approx((24 * 24 + 2 * 2) / 26)


def test_a_last_sample_alone_is_left_out_where_batches_are_normalised(toy: Any) -> None:
    pairs = TensorDataset(torch.from_numpy(toy.x(25)), torch.from_numpy(toy.y(25)))
    trainer = Counting(toy.classifier(toy.network(nn.BatchNorm1d(8))), verbose=False)
    trainer.fit(DataLoader(pairs, batch_size=8), nb_epochs=1)
    assert trainer.history[0]["size"] == 8.0
    with pytest.raises(ValueError, match=r"`batch_size` must leave at least 2 samples in a batch, got 1"):
        trainer.fit(toy.x(), toy.y(), batch_size=1)


def test_batches_that_are_too_small_are_left_out_and_not_counted(toy: Any) -> None:
    pairs = TensorDataset(torch.from_numpy(toy.x(13)), torch.from_numpy(toy.y(13)))
    trainer = Counting(toy.classifier(), verbose=False)
    trainer.fit(DataLoader(pairs, batch_size=6), nb_epochs=1)
    assert trainer.history[0]["number"] == 1.5
    assert trainer.history[0]["size"] == 6.0


def test_an_epoch_without_a_usable_batch_is_refused(toy: Any) -> None:
    pairs = TensorDataset(torch.from_numpy(toy.x(6)), torch.from_numpy(toy.y(6)))
    trainer = Counting(toy.classifier(), verbose=False)
    source = DataLoader(pairs, batch_sampler=OnceLarge())
    with pytest.raises(ValueError, match=r"`x` must give batches of at least 2 samples, got none"):
        trainer.fit(source, nb_epochs=2)


class OnceLarge:
    """A batch of four when it is first asked, single samples from then on."""

    asked = 0

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[list[int]]:
        self.asked += 1
        return iter([[0, 1, 2, 3]] if self.asked == 1 else [[0], [1], [2]])


def test_every_epoch_and_seed_has_its_own_order_and_draws(toy: Any) -> None:
    def drawn(random_state: int) -> list[Any]:
        found: list[Any] = []
        trainer = Counting(toy.classifier(), random_state=random_state, verbose=False)
        step = trainer.step

        def noting(x: Tensor, y: Tensor | None) -> Any:
            own = torch.rand(1, generator=trainer.generator).item()
            found.append((x.numpy().tobytes(), torch.rand(1).item(), own, float(np.random.rand())))  # noqa: NPY002
            return step(x, y)

        trainer.step = noting  # type: ignore[method-assign]
        fit(toy, trainer)
        return found

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert first == again
    columns = [{*column} for column in zip(*first, *other, strict=True)]
    assert [len(column) for column in columns] == [24] * 4  # no two of all 24 steps are alike
    assert not columns[1] & columns[2]  # attacks and dropout draw different numbers


def test_the_average_starts_at_the_first_weights_and_follows_with_its_decay() -> None:
    model = nn.BatchNorm1d(1)
    average = MovingAverage(model, 0.75)
    with torch.no_grad():
        for step, value in enumerate((4.0, 8.0, 0.0)):
            model.weight.fill_(value)
            model.num_batches_tracked.fill_(step)
            average.update(model, first=step == 0)
            assert average.state["weight"].item() == (4.0, 5.0, 3.75)[step]
            assert average.state["num_batches_tracked"].item() == step
    with average.in_place(model):
        assert model.weight.item() == 3.75
    assert model.weight.item() == 0.0


def test_a_plateau_is_not_stepped_where_nothing_was_validated(toy: Any) -> None:
    trainer = StandardTrainer(toy.classifier(), verbose=False)
    scheduler = ReduceLROnPlateau(trainer.classifier.optimizer, mode="max", patience=0)
    given: list[float] = []
    scheduler.step = lambda value: given.append(value)  # type: ignore[method-assign, assignment, misc]
    fit(toy, trainer, nb_epochs=5, scheduler=scheduler, validation_data=(toy.x(), toy.y()), validate_every=2)
    assert given == [trainer.history[epoch]["clean_accuracy"] for epoch in (1, 3, 4)]
    assert ["clean_accuracy" in record for record in trainer.history] == [False, True, False, True, True]


# --- how it goes is checked first ---


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"nb_epochs": 0}, ValueError, r"`nb_epochs` must be an integer of at least 1, got 0"),
        ({"nb_epochs": True}, ValueError, r"`nb_epochs` must be an integer of at least 1, got True"),
        ({"log_every": 0}, ValueError, r"`log_every` must be an integer of at least 1, got 0"),
        ({"validate_every": 1.5}, ValueError, r"`validate_every` must be an integer of at least 1, got 1.5"),
        ({"checkpoint_every": 0}, ValueError, r"`checkpoint_every` must be None or an integer of at least 1, got 0"),
        ({"checkpoint_every": 1}, ValueError, r"`out` must be given with `checkpoint_every`, got None"),
        ({"patience": 0}, ValueError, r"`patience` must be None or an integer of at least 1, got 0"),
        ({"patience": 1}, ValueError, r"`validation_data` must be given with `patience`, got None"),
        ({"clip_grad_norm": 0.0}, ValueError, r"`clip_grad_norm` must be None or a positive number, got 0.0"),
        ({"clip_grad_norm": INF}, ValueError, r"`clip_grad_norm` must be None or a positive number, got inf"),
        ({"ema_decay": 1.0}, ValueError, r"`ema_decay` must be None or a number between 0 and 1, got 1.0"),
        ({"ema_decay": 0}, ValueError, r"`ema_decay` must be None or a number between 0 and 1, got 0"),
        ({"scheduler_interval": "batch"}, ValueError, r"`scheduler_interval` must be one of 'epoch', 'step', got 'ba"),
        ({"scheduler": 0.1}, TypeError, r"`scheduler` must be a torch scheduler, got float"),
        ({"callbacks": [None]}, TypeError, r"`callbacks` must be callable, got NoneType"),
        ({"callbacks": print}, TypeError, r"`callbacks` must be a list, got builtin_function_or_method"),
        ({"out": __file__}, ValueError, r"`out` must be None or a folder, existing or new, got '.*test_loop\.py'"),
        ({"epochs": 3}, TypeError, r"`epochs` must be an option of fit: validation_attack, nb_epochs, "),
    ],
)
def test_bad_options_are_refused_before_training(
    toy: Any, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    trainer = StandardTrainer(toy.classifier(), verbose=False)
    before = toy.weights(trainer.classifier)
    with pytest.raises(error, match=message):
        fit(toy, trainer, **options)
    assert toy.weights(trainer.classifier) == before


def test_a_scheduler_must_be_of_the_classifiers_optimizer(toy: Any) -> None:
    trainer = StandardTrainer(toy.classifier(), verbose=False)
    other = OneCycleLR(toy.classifier().optimizer, max_lr=0.1, total_steps=3)
    with pytest.raises(ValueError, match=r"`scheduler` must belong to the classifier's optimizer, got one of another"):
        fit(toy, trainer, scheduler=other)
    short = OneCycleLR(trainer.classifier.optimizer, max_lr=0.1, total_steps=5)
    with pytest.raises(ValueError, match=r"`scheduler` must last for the run's 8 steps, got one of 5"):
        fit(toy, trainer, scheduler=short, scheduler_interval="step", nb_epochs=2)
    plateau = ReduceLROnPlateau(trainer.classifier.optimizer)
    with pytest.raises(ValueError, match=r"`scheduler_interval` must be 'epoch' for ReduceLROnPlateau, got 'step'"):
        fit(toy, trainer, scheduler=plateau, scheduler_interval="step")
