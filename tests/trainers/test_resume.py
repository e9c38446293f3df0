"""A run that is killed and resumed ends as if it had never stopped; one that does not fit changes nothing."""

from __future__ import annotations

import csv
import os
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Dataset

from art_mi.attacks import LangevinMonteCarlo
from art_mi.trainers import (
    DALETrainer,
    MadryPGDTrainer,
    MARTTrainer,
    MIMAETrainer,
    StandardTrainer,
    TRADESTrainer,
    WorstCaseMITrainer,
)
from art_mi.trainers import checkpoint as checkpoint_module
from art_mi.trainers.checkpoint import load_checkpoint, save_checkpoint

SAMPLES, BATCH, EPOCHS = 26, 7, 3  # four batches an epoch, the last ones smaller
EVERY = 3  # steps between checkpoints, so that most of them are in the middle of an epoch
CHECKPOINT = "checkpoint.safetensors"


class KilledError(BaseException):
    """Stands for the end of a process."""


class Augmented(Dataset[Any]):
    """Draws from all global generators, in whatever process it runs."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = 0.1 * torch.randn(self.x[index].shape) + 0.05 * float(np.random.rand())  # noqa: NPY002
        return (self.x[index] + noise).clamp(0, 1), self.y[index]


def classifier(toy: Any, optimizer: Callable[..., Any] | None = None) -> Any:
    model = toy.network(nn.BatchNorm1d(8), nn.Dropout(0.3))
    if optimizer is None:
        return toy.classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    return toy.classifier(model, optimizer=optimizer(model.parameters()))


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.02)


# Each case makes a trainer, a data source and options anew, as a new process would


def arrays(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy)
    return MadryPGDTrainer(art, toy.attack(art, num_random_init=1), verbose=False), None, {}


def standard(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    return StandardTrainer(classifier(toy, adam), verbose=False), None, {}


def trades(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy)
    return TRADESTrainer(art, toy.attack(art), verbose=False), None, {}


def mart(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy, adam)
    return MARTTrainer(art, toy.attack(art), verbose=False), None, {}


def loader(toy: Any, optimizer: Any = adam, **settings: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy, optimizer)
    pairs = Augmented(toy.x(SAMPLES), toy.y(SAMPLES))
    source = DataLoader(pairs, batch_size=BATCH, shuffle=True, **settings)
    return MadryPGDTrainer(art, toy.attack(art, num_random_init=1), verbose=False), source, {}


def loader_of_a_worker(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    return loader(toy, num_workers=1)


def loader_of_a_generator(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    return loader(toy, generator=torch.Generator().manual_seed(5))


def one_cycle(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    trainer, _, _ = arrays(toy)
    scheduler = OneCycleLR(trainer.classifier.optimizer, max_lr=0.3, total_steps=4 * EPOCHS)
    return trainer, None, {"scheduler": scheduler, "scheduler_interval": "step", "clip_grad_norm": 0.5}


def cosine_and_average(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    trainer, _, _ = arrays(toy)
    scheduler = CosineAnnealingLR(trainer.classifier.optimizer, EPOCHS)
    return trainer, None, {"scheduler": scheduler, "ema_decay": 0.8}


def best_of_averages_and_plateau(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy, adam)
    trainer = MIMAETrainer(art, toy.attack(art), verbose=False)
    scheduler = ReduceLROnPlateau(art.optimizer, mode="max", patience=0)
    data = toy.x(40)[26:], toy.y(40)[26:]
    options = {"validation_data": data, "ema_decay": 0.5, "patience": 2, "scheduler": scheduler}
    return trainer, None, options


def dale(toy: Any, **options: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy)
    attack = LangevinMonteCarlo(art, eps=0.1, eps_step=0.04, max_iter=2, temperature=1e-3, verbose=False)
    return DALETrainer(art, attack, verbose=False, **options), None, {}


def dale_by_batch(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    return dale(toy, dual_step="batch", dual_start=1.0)


def worst_case(toy: Any, **options: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy, adam)
    options = {"layer": "0", "head_epochs": 1, "verbose": False, **options}
    return WorstCaseMITrainer(art, toy.attack(art, num_random_init=1), **options), None, {"nb_epochs": EPOCHS - 1}


def worst_case_below_tau(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    trainer, source, options = worst_case(toy, tau=0.1, dual_lr=0.5, head_epochs=2, bound="info_nce")
    validation_data = toy.x(40)[26:], toy.y(40)[26:]
    return trainer, source, {**options, "nb_epochs": 1, "validation_data": validation_data}


def generate(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy)
    attack = FastGradientMethod(art, eps=0.1, num_random_init=1)
    return MadryPGDTrainer(art, attack, verbose=False), None, {}


def random_radius(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy)
    attack = ProjectedGradientDescent(art, eps=0.1, num_random_init=1, random_eps=True, max_iter=2, verbose=False)
    validation_data = toy.x(40)[26:], toy.y(40)[26:]
    options = {"validation_data": validation_data, "validation_attack": attack}
    return MadryPGDTrainer(art, attack, verbose=False), None, options


def numpy_generator(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    trainer, _, _ = arrays(toy)
    x, y = toy.x(SAMPLES), toy.y(SAMPLES)
    return trainer, NumpyDataGenerator(x, y, batch_size=BATCH, drop_remainder=False, shuffle=True), {}


def torch_generator(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    trainer, source, _ = loader(toy)
    return trainer, PyTorchDataGenerator(source, size=SAMPLES, batch_size=BATCH), {}


def mixed_precision(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy)
    return MadryPGDTrainer(art, toy.attack(art), precision="bf16-mixed", verbose=False), None, {}


def half_precision(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art, fabric = classifier(toy), toy.half_precision(growth_interval=5)
    return MadryPGDTrainer(art, toy.attack(art), fabric=fabric, verbose=False), None, {}


CASES = (
    *(
        arrays,
        standard,
        trades,
        mart,
        loader,
        loader_of_a_worker,
        loader_of_a_generator,
        numpy_generator,
        torch_generator,
    ),
    *(mixed_precision, half_precision),
    *(one_cycle, cosine_and_average, best_of_averages_and_plateau),
    *(dale, dale_by_batch, worst_case, worst_case_below_tau, generate, random_radius),
)


def fit(toy: Any, case: Any, *, steps: int | None = None, **options: Any) -> Any:
    """Train until the process dies before step number `steps + 1` of its life; returns the trainer."""
    trainer, source, own = case(toy)
    step, made = trainer.step, count()

    def mortal(x: Tensor, y: Tensor | None) -> Any:
        if next(made) == steps:
            raise KilledError
        return step(x, y)

    trainer.step = mortal
    options = {"nb_epochs": EPOCHS, "checkpoint_every": EVERY if "out" in options else None, **own, **options}
    if isinstance(source, NumpyDataGenerator | PyTorchDataGenerator):
        trainer.fit_generator(source, **options)
    elif source is not None:
        trainer.fit(source, **options)
    else:
        trainer.fit(toy.x(SAMPLES), toy.y(SAMPLES), batch_size=BATCH, **options)
    return trainer


def plain(value: Any) -> Any:
    """Nested states as comparable values, exact to the bit."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().contiguous().view(-1).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def everything(trainer: Any) -> Any:
    """All that a training leaves behind."""
    art = trainer.classifier
    modules = {"model": art.model, **trainer.modules}
    optimizers = {"model": art.optimizer, **trainer.optimizers}
    return plain(
        {
            "weights": {name: module.state_dict() for name, module in modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
            "modes": [module.training for module in art.model.modules()],
            "wanted": [parameter.requires_grad for parameter in art.model.parameters()],
            "duals": trainer.duals,
            "history": trainer.history,
        }
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- a run goes on as if nothing had happened ---


@pytest.mark.parametrize("case", CASES)
def test_a_run_killed_in_the_middle_of_epochs_ends_like_one_that_was_not(toy: Any, tmp_path: Path, case: Any) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = everything(fit(toy, case))
    assert everything(fit(toy, case, out=whole)) == expected  # writing changes nothing
    steps: tuple[int | None, ...] = (6, 1, 4, None)
    for number, life in enumerate(steps):
        options: dict[str, Any] = {"out": parts, **({"resume_from": parts} if number else {})}
        if life is None:
            assert everything(fit(toy, case, **options)) == expected
        else:
            with pytest.raises(KilledError):
                fit(toy, case, steps=life, **options)
            assert plain(load_checkpoint(parts / CHECKPOINT)["state"]["step"]) in (6, 9)
    assert plain(load_checkpoint(parts / CHECKPOINT)) == plain(load_checkpoint(whole / CHECKPOINT))
    assert files(parts).keys() == files(whole).keys() == {CHECKPOINT, "history.csv"}
    assert files(parts)["history.csv"] == files(whole)["history.csv"]


@pytest.mark.parametrize("case", [loader, best_of_averages_and_plateau, worst_case_below_tau])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_killed_at_the_end_of_an_epoch_ends_alike(toy: Any, tmp_path: Path, case: Any, epoch: int) -> None:
    def kill(trainer: Any, record: dict[str, Any]) -> None:
        if record["epoch"] == epoch:
            raise KilledError

    expected = everything(fit(toy, case))
    with pytest.raises(KilledError):
        fit(toy, case, out=tmp_path, callbacks=[kill])
    assert everything(fit(toy, case, out=tmp_path, resume_from=tmp_path)) == expected


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("write", [1, 3])
def test_a_run_killed_while_it_writes_ends_alike(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, write: int
) -> None:
    expected = everything(fit(toy, loader))
    original, calls = getattr(os, call), count(1)

    def dying(*args: Any) -> Any:
        if next(calls) == write:
            raise KilledError
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module.os, call, dying)
        with pytest.raises(KilledError):
            fit(toy, loader, out=tmp_path)
    resume_from = tmp_path if (tmp_path / CHECKPOINT).exists() else None
    assert (resume_from is None) == (write == 1)
    assert everything(fit(toy, loader, out=tmp_path, resume_from=resume_from)) == expected


def test_a_finished_run_resumed_gives_the_same_weights_and_history(toy: Any, tmp_path: Path) -> None:
    expected = everything(fit(toy, best_of_averages_and_plateau, out=tmp_path))
    table = tmp_path / "history.csv"
    before, kept = table.read_bytes(), plain(load_checkpoint(tmp_path / CHECKPOINT))
    table.unlink()  # as if killed between checkpoint and table
    again = fit(toy, best_of_averages_and_plateau, out=tmp_path, resume_from=tmp_path / CHECKPOINT)
    assert everything(again) == expected
    assert table.read_bytes() == before
    assert plain(load_checkpoint(tmp_path / CHECKPOINT)) == kept


def test_the_history_is_a_table_of_the_records(toy: Any, tmp_path: Path) -> None:
    trainer = fit(toy, worst_case_below_tau, out=tmp_path)
    with open(tmp_path / "history.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{k: float(v) for k, v in row.items() if v} for row in rows] == trainer.history
    assert "beta" in trainer.history[0]
    assert "robust_accuracy" not in trainer.history[0]
    assert "robust_accuracy" in trainer.history[2]


def test_more_epochs_than_before_go_on_to_the_new_number(toy: Any, tmp_path: Path) -> None:
    expected = everything(fit(toy, loader, nb_epochs=4))
    fit(toy, loader, out=tmp_path, nb_epochs=2)
    resumed = fit(toy, loader, resume_from=tmp_path, nb_epochs=4)
    assert everything(resumed) == expected
    assert [record["epoch"] for record in resumed.history] == [1, 2, 3, 4]
    assert load_checkpoint(tmp_path / CHECKPOINT)["state"]["epoch"] == 2  # without `out` nothing is written


def test_more_epochs_of_the_encoder_only_where_the_head_has_not_begun(toy: Any, tmp_path: Path) -> None:
    expected = everything(fit(toy, worst_case, nb_epochs=3))
    with pytest.raises(KilledError):
        fit(toy, worst_case, steps=8, out=tmp_path)
    assert everything(fit(toy, worst_case, nb_epochs=3, resume_from=tmp_path)) == expected
    with pytest.raises(KilledError):
        fit(toy, worst_case, steps=10, out=tmp_path)
    with pytest.raises(ValueError, match=r"`nb_epochs` must leave epoch 3, which was one of the head, as it was"):
        fit(toy, worst_case, nb_epochs=3, resume_from=tmp_path)


@pytest.mark.parametrize("case", [arrays, dale_by_batch, worst_case])
def test_a_run_killed_in_its_first_epoch_is_not_taken_for_the_one_before(toy: Any, tmp_path: Path, case: Any) -> None:
    expected = everything(fit(toy, case))
    fit(toy, other_seed if case is arrays else case, out=tmp_path, nb_epochs=1)
    with pytest.raises(KilledError):
        fit(toy, case, out=tmp_path, steps=2)
    assert everything(fit(toy, case, resume_from=tmp_path)) == expected


def test_a_resumed_run_that_is_killed_at_once_can_be_resumed_from_its_new_folder(toy: Any, tmp_path: Path) -> None:
    expected = everything(fit(toy, arrays))
    old, new = tmp_path / "old", tmp_path / "new"
    with pytest.raises(KilledError):
        fit(toy, arrays, out=old, checkpoint_every=1, steps=6)
    with pytest.raises(KilledError):
        fit(toy, arrays, resume_from=old, out=new, steps=1)
    assert everything(fit(toy, arrays, resume_from=new)) == expected


def test_without_validation_a_resumed_run_keeps_its_last_weights(toy: Any, tmp_path: Path) -> None:
    validated = {"validation_data": (toy.x(), toy.y()), "validate_every": 1}
    fit(toy, arrays, out=tmp_path, nb_epochs=1, **validated)
    resumed = fit(toy, arrays, resume_from=tmp_path)
    best = load_checkpoint(tmp_path / CHECKPOINT)["state"]["best"]["model"]
    assert plain(resumed.classifier.model.state_dict()) != plain(best)
    assert len(resumed.history) == EPOCHS


def test_patience_goes_on_counting(toy: Any, tmp_path: Path) -> None:
    def case(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
        art = toy.classifier(lr=1e-9)  # never better than after the first epoch
        trainer = StandardTrainer(art, verbose=False)
        return trainer, None, {"validation_data": (toy.x(), toy.y()), "patience": 3, "nb_epochs": 20}

    with pytest.raises(KilledError):
        fit(toy, case, steps=10, out=tmp_path)
    assert load_checkpoint(tmp_path / CHECKPOINT)["state"]["waited"] == 1
    assert len(fit(toy, case, resume_from=tmp_path, out=tmp_path).history) == 4
    assert len(fit(toy, case, resume_from=tmp_path).history) == 4  # stopped it stays
    assert len(fit(toy, case, resume_from=tmp_path, patience=5).history) == 6


def test_a_callback_that_has_ended_a_run_has_ended_it(toy: Any, tmp_path: Path) -> None:
    def end(trainer: Any, record: dict[str, Any]) -> bool:
        record["seen"] = True
        return bool(record["epoch"] == 2)

    assert len(fit(toy, arrays, callbacks=[end], out=tmp_path).history) == 2
    resumed = fit(toy, arrays, resume_from=tmp_path)
    assert [record["seen"] for record in resumed.history] == [True, True]


# --- what does not fit is refused, and nothing is changed ---


def other_width(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    model = toy.network(nn.BatchNorm1d(9), nn.Dropout(0.3), width=9)
    art = toy.classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    return MadryPGDTrainer(art, toy.attack(art), verbose=False), None, {}


def other_names(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    layers = toy.network(nn.BatchNorm1d(8), nn.Dropout(0.3)).named_children()
    art = toy.classifier(nn.Sequential(OrderedDict((f"layer{name}", layer) for name, layer in layers)))
    return MadryPGDTrainer(art, toy.attack(art), verbose=False), None, {}


def other_trainer(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy)
    return StandardTrainer(art, verbose=False), None, {}


def other_optimizer(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy, adam)
    return MadryPGDTrainer(art, toy.attack(art), verbose=False), None, {}


def other_order(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy, lambda parameters: torch.optim.SGD([*parameters][::-1], lr=0.1, momentum=0.9))
    return MadryPGDTrainer(art, toy.attack(art), verbose=False), None, {}


def other_seed(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy)
    return MadryPGDTrainer(art, toy.attack(art), random_state=1, verbose=False), None, {}


def other_critics(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    return worst_case(toy, beta=0.5)


def step_schedule(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    trainer, _, _ = arrays(toy)
    return trainer, None, {"scheduler": StepLR(trainer.classifier.optimizer, 1)}


def averaged(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    return *arrays(toy)[:2], {"ema_decay": 0.5}


def other_batches(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    trainer, source, _ = loader(toy, None)
    return trainer, DataLoader(source.dataset, batch_size=6), {}


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            arrays,
            other_width,
            r"`resume_from` must be a state of this .* got one of another architecture: .* instead of",
        ),
        (arrays, other_names, r"got one of another architecture: no 'layer0\.weight', no 'layer0\.bias'"),
        (
            arrays,
            other_trainer,
            r"with the same trainer, got one with 'MadryPGDTrainer' where this run has 'StandardTr",
        ),
        (arrays, other_optimizer, r"with the same optimizer, got one with .*'SGD'.* where this run has .*'Adam'"),
        (arrays, other_order, r"with the same optimizer, got one with"),
        (arrays, step_schedule, r"with the same scheduler, got one with None where this run has 'StepLR'"),
        (one_cycle, step_schedule, r"with the same scheduler, got one with 'OneCycleLR' where this run has 'StepLR'"),
        (one_cycle, arrays, r"with the same scheduler, got one with 'OneCycleLR' where this run has None"),
        (arrays, averaged, r"with the same ema_decay, got one with None"),
        (averaged, arrays, r"with the same ema_decay, got one with"),
        (worst_case, other_critics, r"with the same modules, got one with \['model', 'worst_case'\] where .*'normal'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    toy: Any, tmp_path: Path, first: Any, second: Any, message: str
) -> None:
    with pytest.raises(KilledError):
        fit(toy, first, steps=6, out=tmp_path)
    refused(toy, tmp_path, second, message, out=tmp_path, resume_from=tmp_path)


def refused(toy: Any, folder: Path, case: Any, message: str, **options: Any) -> None:
    """A run must be refused before any step, with nothing changed in the folder, the trainer or its classifier."""
    trainer, source, own = case(toy)
    trainer.history = [{"epoch": 1}]
    before, kept = everything(trainer), files(folder)
    made: list[Any] = []
    trainer.step = lambda *batch: made.append(batch)
    data = (source,) if source is not None else (toy.x(SAMPLES), toy.y(SAMPLES))
    with pytest.raises(ValueError, match=message):
        trainer.fit(*data, **{"batch_size": BATCH, "nb_epochs": EPOCHS, **own, **options})
    assert everything(trainer) == before
    assert files(folder) == kept
    assert made == []


@pytest.fixture(scope="module")
def written(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run stopped in the middle of its second epoch."""
    folder: Path = tmp_path_factory.mktemp("written")
    with pytest.raises(KilledError):
        fit(toy, best_of_averages_and_plateau, steps=6, out=folder)
    return folder


def tampered(written: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = load_checkpoint(written / CHECKPOINT)
    change(content)
    save_checkpoint(folder / CHECKPOINT, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["state"]["best"]["model"].update({"0.weight": torch.zeros(3)}),
            r"got one of another architecture",
        ),
        (lambda c: c["state"]["best"]["model"].pop("0.weight"), r"got one of another architecture: no '0.weight'"),
        (lambda c: c["trained"]["average"].pop("0.bias"), r"got one of another architecture: no '0.bias'"),
        (lambda c: c["trained"]["modules"].pop("model"), r"must be a checkpoint of a training run, got"),
        (lambda c: c["trained"]["optimizers"]["model"]["param_groups"][0].pop("params"), r"of a training run, got"),
        (lambda c: c["trained"].pop("precision"), r"must be a checkpoint of a training run, got .*'precision'"),
        (lambda c: c["state"].pop("best") and c["state"].update(worst=1), r"of a training run, got .*worst"),
        (lambda c: c.pop("drawn"), r"must be a checkpoint of a training run, got .*'drawn'"),
        (lambda c: c["drawn"].clear(), r"must be a checkpoint of a training run, got"),
        (lambda c: c.pop("history"), r"must be a checkpoint of a training run, got .*'history'"),
        (lambda c: c["epoch"].update({"device": "cuda"}), r"with the same device, got one with 'cuda' .* has 'cpu'"),
        (lambda c: c["epoch"].update({"number of processes": 2}), r"with the same number of processes, got one with 2"),
        (lambda c: c.clear(), r"must be a checkpoint of a training run, got"),
    ],
)
def test_a_checkpoint_with_missing_or_foreign_parts_is_refused(
    toy: Any, written: Path, tmp_path: Path, change: Any, message: str
) -> None:
    tampered(written, tmp_path, change)
    refused(toy, tmp_path, best_of_averages_and_plateau, message, out=tmp_path, resume_from=tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(toy: Any, written: Path, tmp_path: Path, share: float) -> None:
    content = (written / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: int(share * len(content))])
    message = r"`resume_from` must be a complete checkpoint"
    refused(toy, tmp_path, best_of_averages_and_plateau, message, out=tmp_path, resume_from=tmp_path)


def test_a_missing_checkpoint_is_refused(toy: Any, tmp_path: Path) -> None:
    new = tmp_path / "new"
    for missing in (tmp_path, tmp_path / "missing", tmp_path / CHECKPOINT):
        refused(toy, tmp_path, arrays, r"`resume_from` must be a complete checkpoint", out=new, resume_from=missing)
    assert not new.exists()


def test_what_no_checkpoint_can_hold_is_refused_before_training(toy: Any, tmp_path: Path) -> None:
    trainer, _, _ = arrays(toy)
    scheduler = StepLR(trainer.classifier.optimizer, 1)
    scheduler.note = object()  # type: ignore[attr-defined]
    before = everything(trainer)
    with pytest.raises(TypeError, match=r"`state\['scheduler'\]\['note'\]` must be .*, got object"):
        trainer.fit(toy.x(), toy.y(), scheduler=scheduler, out=tmp_path / "new")
    assert everything(trainer) == before
    assert files(tmp_path) == {}


def test_fewer_epochs_than_the_checkpoint_has_are_refused(toy: Any, written: Path) -> None:
    message = r"`nb_epochs` must be at least the 2 of the checkpoint, got 1"
    refused(toy, written, best_of_averages_and_plateau, message, resume_from=written, nb_epochs=1)


def other_beta(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    trainer, source, options = trades(toy)
    trainer.beta = 0.5
    return trainer, source, options


def other_radius(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    trainer, source, options = trades(toy)
    trainer.attack.set_params(eps=0.2)
    return trainer, source, options


def other_attack(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    art = classifier(toy)
    return TRADESTrainer(art, LangevinMonteCarlo(art, eps=0.1, verbose=False), verbose=False), None, {}


def swapped(toy: Any) -> tuple[Any, Any, dict[str, Any]]:
    return dale(toy, swapped=True)


@pytest.mark.parametrize("steps", [4, 6], ids=["at the end of an epoch", "in the middle of one"])
@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (trades, other_beta, r"with the same beta, got one with 6\.0 where this run has 0\.5"),
        (trades, other_radius, r"with the same attack's eps, got one with 0\.1 where this run has 0\.2"),
        (trades, other_attack, r"with the same attack, got one with 'Proj.*' where this run has 'LangevinMonteCarlo'"),
        (dale, swapped, r"with the same swapped, got one with False where this run has True"),
        (arrays, other_seed, r"with the same random_state, got one with 0 where this run has 1"),
        (arrays, other_batches, r"with the same number of batches, got one with 4 where this run has 5"),
    ],
)
def test_a_run_of_other_settings_is_refused(
    toy: Any, tmp_path: Path, steps: int, first: Any, second: Any, message: str
) -> None:
    with pytest.raises(KilledError):
        fit(toy, first, steps=steps, out=tmp_path, checkpoint_every=2)
    refused(toy, tmp_path, second, message, out=tmp_path, resume_from=tmp_path)


@pytest.mark.parametrize("part", ["x", "y"])
def test_a_run_on_other_data_is_refused(toy: Any, tmp_path: Path, part: str) -> None:
    fit(toy, arrays, out=tmp_path, nb_epochs=1)
    data = {"x": toy.x(SAMPLES), "y": toy.y(SAMPLES)}
    data[part] = data[part][::-1].copy()
    with pytest.raises(ValueError, match=r"with the same data, got one with 'digest .*' where this run has 'digest"):
        arrays(toy)[0].fit(**data, batch_size=BATCH, nb_epochs=EPOCHS, resume_from=tmp_path)


def test_what_an_older_release_did_not_keep_is_not_asked_for(toy: Any, tmp_path: Path) -> None:
    expected = everything(fit(toy, arrays))
    with pytest.raises(KilledError):
        fit(toy, arrays, steps=6, out=tmp_path)
    tampered(tmp_path, tmp_path, lambda content: content.pop("settings"))
    assert everything(fit(toy, arrays, resume_from=tmp_path)) == expected
