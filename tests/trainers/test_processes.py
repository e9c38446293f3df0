"""Two processes train like one on the joint batch; `two_processes.py` runs the cases here under torchrun, once."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod
from art.data_generators import NumpyDataGenerator
from lightning_fabric import Fabric
from lightning_fabric.strategies import DataParallelStrategy
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

import art_mi
from art_mi.cli import main
from art_mi.trainers import (
    DALETrainer,
    MadryPGDTrainer,
    MARTTrainer,
    MIMAETrainer,
    StandardTrainer,
    TensorBoard,
    TRADESTrainer,
    WorstCaseMITrainer,
)
from art_mi.trainers.checkpoint import load_checkpoint
from art_mi.trainers.devices import check_fabric
from art_mi.trainers.processes import gather, gathered, mean, share

SAMPLES, BATCH = 24, 8


def outcome(trainer: Any) -> dict[str, Any]:
    """Weights, dual variables and records."""
    modules = {"model": trainer.classifier.model, **trainer.modules}
    return {
        "weights": {f"{name}.{k}": v.clone() for name, m in modules.items() for k, v in m.state_dict().items()},
        "duals": dict(trainer.duals),
        "history": trainer.history,
    }


def train(toy: Any, kind: Any, fabric: Any, *, art: Any = None, fit: Any = None, **options: Any) -> dict[str, Any]:
    art = toy.classifier() if art is None else art
    attack = options.pop("attack") if "attack" in options else toy.attack(art)
    if fabric is not None and fabric.global_rank:
        with torch.no_grad():  # the weights of the first process count
            art.model[0].weight.zero_()
    trainer = kind(art, attack, fabric=fabric, verbose=False, **options)
    for name, critic in trainer.modules.items():  # Adam makes steps of gradients that are zero but for rounding
        trainer.optimizers[name] = torch.optim.SGD(critic.parameters(), lr=0.1)
    trainer.fit(toy.x(SAMPLES), toy.y(SAMPLES), **{"batch_size": BATCH, "nb_epochs": 2, **(fit or {})})
    return outcome(trainer)


# Cases that must end as they do in one process


def madry(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    art = toy.classifier()
    scheduler = OneCycleLR(art.optimizer, max_lr=0.3, total_steps=6)
    options = {"scheduler": scheduler, "scheduler_interval": "step", "clip_grad_norm": 0.2, "ema_decay": 0.5}
    data = toy.x(40)[24:], toy.y(40)[24:]
    return train(toy, MadryPGDTrainer, fabric, art=art, fit={**options, "validation_data": data, "patience": 5})


def mimae(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    return train(toy, MIMAETrainer, fabric, start_std=0.0, lamb=2.0)


def trades(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    art = toy.classifier()
    return train(toy, TRADESTrainer, fabric, art=art, attack=FastGradientMethod(art, eps=0.1))


def mart(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    return train(toy, MARTTrainer, fabric, start_std=0.0)


def dale(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    return train(toy, DALETrainer, fabric, dual_lr=0.5)


def dale_by_batch(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    return train(toy, DALETrainer, fabric, dual_lr=0.5, dual_step="batch")


def encoder(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    return train(toy, WorstCaseMITrainer, fabric, layer="0", head=None, beta=0.5)


def encoder_and_head(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    options = {"layer": "0", "tau": 0.05, "dual_lr": 0.5, "bound": "info_nce", "head_epochs": 2}
    return train(toy, WorstCaseMITrainer, fabric, **options)


def command_line(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    """`art-mi train` on 24 of 32 samples, to one folder of all processes."""
    data, out = folder / f"{getattr(fabric, 'global_rank', 0)}.npz", folder / "command line"
    np.savez(data, x=toy.x(32).reshape(32, 1, 2, 2), y=toy.y(32))
    options = ["--data", str(data), "--out", str(out), "--validation-fraction", "0.25", "--optimizer", "SGD"]
    attack = ["--attack", "pgd", "--attack.eps", "0.1", "--attack.max_iter", "2"]
    no_gpu = patch("torch.cuda.is_available", return_value=False)  # one would not do for two processes
    with no_gpu, redirect_stdout(io.StringIO()) as said:
        assert main(["train", "--trainer", "madry", *options, *attack, "--batch-size", "8", "--nb-epochs", "2"]) == 0
    if fabric is not None:
        fabric.barrier()  # the first process writes the results by itself
    return {
        "weights": load_file(out / "model.safetensors"),
        "duals": {},
        "history": json.loads((out / "results.json").read_text())["history"],
        "processes": load_checkpoint(out / "checkpoint.safetensors")["epoch"]["number of processes"],
        "said": said.getvalue(),
    }


CASES = (madry, mimae, trades, mart, dale, dale_by_batch, encoder, encoder_and_head, command_line)


# Cases that are looked at by themselves, or have no counterpart in one process


def uneven(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    """Batches of 9 and 8 of 26 samples, and what each process was given of them."""
    trainer = MadryPGDTrainer(art := toy.classifier(), toy.attack(art), fabric=fabric, verbose=False)
    seen = watch(trainer)
    trainer.fit(toy.x(26), toy.y(26), batch_size=9, nb_epochs=1)
    return {**outcome(trainer), "seen": seen}


def batch_statistics(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    art = toy.classifier(toy.network(nn.BatchNorm1d(8), nn.Dropout(0.2)))
    return train(toy, TRADESTrainer, fabric, art=art, fit={"ema_decay": 0.5, "nb_epochs": 1})


def files(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    out = folder / "files" / str(fabric.global_rank)
    board = folder / "board" / str(fabric.global_rank)
    fit = {"out": out, "checkpoint_every": 1, "callbacks": [TensorBoard(board)]}
    found = train(toy, MadryPGDTrainer, fabric, fit=fit)
    return {**found, "written": written(out), "shown": EventAccumulator(str(board)).Reload().Tags()["scalars"]}


def loader(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    """A whole run, and one that is killed and resumed; random starts, so that what each process draws matters."""
    found: dict[str, Any] = {}
    for name, steps, resume in (("whole", None, False), ("killed", 4, False), ("resumed", None, True)):
        art = toy.classifier(toy.network(nn.Dropout(0.2)))
        trainer = MadryPGDTrainer(art, toy.attack(art, num_random_init=1), fabric=fabric, verbose=False)
        source = DataLoader(TensorDataset(torch.from_numpy(toy.x()), torch.from_numpy(toy.y())), 4, shuffle=True)
        seen = watch(trainer, steps)
        folder_of_loader = folder / "loader"
        try:
            options = {"resume_from": folder_of_loader} if resume else {"out": folder_of_loader, "checkpoint_every": 1}
            trainer.fit(source, nb_epochs=2, **options)
        except KeyboardInterrupt:
            fabric.barrier()
        found[name] = {**outcome(trainer), "seen": seen, "generator": trainer.generator.initial_seed()}
    return found


def decisions(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    """The first process ends the training, which the other would not, after an epoch that only it has a number for."""

    def end(trainer: Any, record: dict[str, Any]) -> bool:
        if fabric.global_rank == 0:
            record["noted"] = 1.0
        return bool(fabric.global_rank == 0)

    return train(toy, MadryPGDTrainer, fabric, fit={"callbacks": [end]})


def not_finite(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    """A loss that is not finite in the second process alone stops both."""
    trainer = StandardTrainer(toy.classifier(), fabric=fabric, verbose=False)
    step, made = trainer.step, count(1)

    def failing(x: Tensor, y: Tensor | None) -> Any:
        terms = step(x, y)
        return {"loss": terms["loss"] * (torch.nan if fabric.global_rank and next(made) == 2 else 1.0)}

    trainer.step = failing  # type: ignore[method-assign]
    try:
        trainer.fit(toy.x(), toy.y(), batch_size=BATCH, nb_epochs=2)
    except FloatingPointError as error:
        return {"message": str(error), **outcome(trainer)}
    return {}


def refused(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    trainer = StandardTrainer(toy.classifier(), fabric=fabric, verbose=False)
    try:
        trainer.fit_generator(NumpyDataGenerator(toy.x(), toy.y(), batch_size=8))
    except ValueError as error:
        return {"message": str(error)}
    return {}


def exchanged(toy: Any, fabric: Any, folder: Path) -> dict[str, Any]:
    """What the two processes hand each other, with the gradient in a common weight of a function of all rows."""
    rank, weight = fabric.global_rank, torch.ones((), requires_grad=True)
    joint = gather(fabric, weight * (torch.arange(4.0).reshape(2, 2) + 4 * rank))
    (joint.sum(0) ** 2).sum().backward()
    state = {"a": torch.full((2,), float(rank)), "b": torch.tensor(rank)}
    share(fabric, [state])
    return {
        "joint": joint.detach(),
        "gradient": mean(fabric, weight.grad),  # type: ignore[arg-type]
        "mean": mean(fabric, torch.tensor([float(rank), 2.0])),
        "values": gathered(fabric, {"rank": rank}),
        "shared": state,
    }


TOGETHER = (uneven, batch_statistics, files, loader, decisions, not_finite, refused, exchanged)


def watch(trainer: Any, steps: int | None = None) -> list[Tensor]:
    """Collects the inputs of all steps, and ends the training before step number `steps + 1`."""
    seen: list[Tensor] = []
    step = trainer.step

    def watched(x: Tensor, y: Tensor | None) -> Any:
        if len(seen) == steps:
            raise KeyboardInterrupt
        seen.append(x)
        return step(x, y)

    trainer.step = watched
    return seen


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What came of all cases in the first and in the second process."""
    folder = tmp_path_factory.mktemp("processes")
    env = {**os.environ, "PYTHONPATH": str(Path(art_mi.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    env["CUDA_VISIBLE_DEVICES"] = ""
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, folder]
    ran = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert ran.returncode == 0, ran.stderr[-5000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_like_one_on_the_joint_batch(
    toy: Any, both: list[dict[str, Any]], tmp_path: Path, case: Any
) -> None:
    one, (first, second) = case(toy, None, tmp_path), (found[case.__name__] for found in both)
    for part in ("weights", "duals"):
        assert one[part].keys() == first[part].keys()
        for name, value in one[part].items():
            torch.testing.assert_close(first[part][name], value, rtol=0, atol=1e-5)
            assert torch.equal(first[part][name], second[part][name])
    assert first["history"] == second["history"]
    for record, expected in zip(first["history"], one["history"], strict=True):
        assert record == pytest.approx(expected, abs=1e-5)


def test_the_command_line_trains_on_the_processes_that_torchrun_started(both: list[dict[str, Any]]) -> None:
    first, second = (found["command_line"] for found in both)
    assert first["processes"] == second["processes"] == 2
    assert first["said"].strip().endswith("results.json")
    assert second["said"] == ""


def test_equal_shares_leave_samples_out_where_a_batch_is_uneven(toy: Any, both: list[dict[str, Any]]) -> None:
    shares = [[len(batch) for batch in found["uneven"]["seen"]] for found in both]
    assert shares == [[4, 4, 4]] * 2
    rows = torch.cat([batch for found in both for batch in found["uneven"]["seen"]])
    assert len(rows.unique(dim=0)) == 24
    assert all((toy.x(26) == row.numpy()).all(1).any() for row in rows)


def test_batch_statistics_of_the_first_process_count(both: list[dict[str, Any]]) -> None:
    first, second = (found["batch_statistics"] for found in both)
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert first["history"] == second["history"]


def test_the_first_process_alone_writes(both: list[dict[str, Any]]) -> None:
    assert [found["files"]["written"] for found in both] == [["checkpoint.safetensors", "history.csv"], []]
    assert [found["files"]["shown"] for found in both] == [["lr", "loss"], []]


def test_processes_share_a_loader_and_draw_by_themselves(toy: Any, both: list[dict[str, Any]]) -> None:
    first, second = (found["loader"]["whole"] for found in both)
    orders = []
    for epoch in (slice(0, 3), slice(3, 6)):
        halves = [torch.cat(found["seen"][epoch]) for found in (first, second)]
        assert [len(half) for half in halves] == [12, 12]
        np.testing.assert_array_equal(torch.cat(halves).unique(dim=0), torch.from_numpy(toy.x()).unique(dim=0))
        orders.append(halves[0])
    assert not torch.equal(*orders)
    assert first["generator"] != second["generator"]


def test_processes_go_on_where_they_were_killed(both: list[dict[str, Any]]) -> None:
    for found in both:
        whole, resumed = found["loader"]["whole"], found["loader"]["resumed"]
        assert len(found["loader"]["killed"]["seen"]) == 4
        for seen, expected in zip(resumed["seen"], whole["seen"][4:], strict=True):
            assert torch.equal(seen, expected)
        assert all(torch.equal(value, resumed["weights"][name]) for name, value in whole["weights"].items())
        assert resumed["history"] == whole["history"]


def test_the_first_process_decides(both: list[dict[str, Any]]) -> None:
    for found in both:
        assert [record["noted"] for record in found["decisions"]["history"]] == [1.0]


def test_what_is_not_finite_in_one_process_stops_all(toy: Any, both: list[dict[str, Any]]) -> None:
    for found in both:
        assert "`loss` must stay finite, got nan in epoch 1, batch 2" in found["not_finite"]["message"]
        weights = found["not_finite"]["weights"]
        assert all(torch.equal(v, weights[f"model.{k}"]) for k, v in toy.network().state_dict().items())


def test_generators_that_cannot_be_shared_are_refused(both: list[dict[str, Any]]) -> None:
    for found in both:
        assert "`generator` must be a PyTorchDataGenerator, to be shared" in found["refused"]["message"]


def test_what_processes_exchange_by_hand(both: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(each["exchanged"] for each in both):
        assert torch.equal(found["joint"], torch.arange(8.0).reshape(4, 2))
        assert found["gradient"].tolist() == 2 * (12**2 + 16**2)  # of (12 weight)^2 + (16 weight)^2
        assert found["mean"].tolist() == [0.5, 2.0]
        assert found["values"] == [{"rank": 0}, {"rank": 1}]
        assert found["shared"]["a"].tolist() == [0.0, 0.0]
        assert found["shared"]["b"].tolist() == 0, rank


# --- what the trainers run on ---


def test_a_fabric_must_have_been_launched(toy: Any) -> None:
    with pytest.raises(ValueError, match=r"`fabric` must have been launched: call `fabric.launch\(\)` before"):
        StandardTrainer(toy.classifier(), fabric=Fabric(accelerator="cpu", devices=2, strategy="ddp"))


def test_a_fabric_must_have_a_strategy_precision_and_device_that_fit(toy: Any) -> None:
    cpu = torch.device("cpu")
    parallel = Fabric(accelerator="cpu", strategy=DataParallelStrategy(parallel_devices=[cpu]))
    with pytest.raises(ValueError, match=r"`fabric` must run on one device or by 'ddp', got DataParallelStrategy"):
        StandardTrainer(toy.classifier(), fabric=parallel)
    with pytest.raises(ValueError, match=r"`fabric` must have a precision of '32-true', .* got '64-true'"):
        StandardTrainer(toy.classifier(), fabric=Fabric(accelerator="cpu", devices=1, precision="64-true"))
    with pytest.raises(ValueError, match=r"`fabric` must run on the classifier's device, cuda:0, got cpu"):
        check_fabric(Fabric(accelerator="cpu", devices=1), torch.device("cuda:0"))
    with pytest.raises(TypeError, match=r"`fabric` must be a Lightning Fabric, got str"):
        check_fabric("ddp", cpu)


def test_a_fabric_of_one_device_trains_like_none(toy: Any, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    assert mimae(toy, fabric, tmp_path)["history"] == mimae(toy, None, tmp_path)["history"]
