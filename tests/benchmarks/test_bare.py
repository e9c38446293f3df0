"""The comparison is fair: from equal weights, batches and draws a bare loop ends where our trainer ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from art_mi.losses import class_mutual_information
from benchmarks import bare
from benchmarks.methods import OURS, TRAINERS, Task, bare_step, ours, trainer, variants
from benchmarks.nets import SMALL, TINY, Net, optimizer

STEPS: dict[str, Callable[[bare.PGD], bare.Step]] = {  # each a little off
    "Madry": bare.madry,
    "TRADES": lambda pgd: bare.trades(pgd, beta=5.8),
    "MIMAE": lambda pgd: bare.mimae(pgd, beta=0.8),
    "DALE": lambda pgd: bare.dale(pgd, temperature=0.0),
}


def certain(net: Net) -> Net:
    """The same network with larger logits, so that predictions differ and every term counts."""

    def layers() -> nn.Module:
        model = net.layers()
        with torch.no_grad():
            list(model.parameters())[-2].mul_(10.0)
        return model

    return replace(net, layers=layers)


def apart(method: str, net: Net, step: Callable[[bare.PGD], bare.Step] | None = None) -> float:
    """The largest distance between weights after two batches, relative to how far they have moved."""
    task = Task(net, batches=2, batch_size=16, max_iter=3)
    made, batches = trainer(method, task), list[Any]()
    of_batch = made.step

    def watched(x: Tensor, y: Tensor | None) -> Any:
        batches.append((x, y))
        return of_batch(x, y)

    made.step = watched  # type: ignore[method-assign]
    ours(made, task)()
    assert len(batches) == 2
    model, generator = net.model(), torch.Generator().manual_seed(made.generator.initial_seed())
    start = {name: value.clone() for name, value in model.state_dict().items()}
    chosen = bare_step(method, task, generator) if step is None else step(bare.PGD(**task.attack, generator=generator))
    bare.fit(chosen, model, optimizer(model), batches)
    ends = made.classifier.model.state_dict(), model.state_dict()
    return max(float((ends[0][k] - ends[1][k]).norm() / (ends[0][k] - start[k]).norm()) for k in start)


@pytest.mark.parametrize("net", [TINY, SMALL], ids=lambda net: net.name)
@pytest.mark.parametrize("method", TRAINERS)
def test_a_bare_loop_makes_the_weights_that_the_trainer_makes(method: str, net: Net) -> None:
    assert apart(method, certain(net)) < 1e-4  # rounding turns the sign of gradients that are almost zero


@pytest.mark.parametrize("method", TRAINERS)
def test_a_bare_loop_of_another_method_would_be_noticed(method: str) -> None:
    assert apart(method, certain(TINY), STEPS[method]) > 1e-3


def test_the_bare_mutual_information_is_that_of_the_losses() -> None:
    generator = torch.Generator().manual_seed(1)
    model, x, y = nn.Linear(10, 10), torch.rand(64, 10, generator=generator), torch.arange(64) % 10
    with torch.no_grad():
        model.weight.copy_(3 * torch.randn(10, 10, generator=generator))
    pgd = bare.PGD(eps=0.1, eps_step=0.1, max_iter=1)
    drawn = [torch.Generator().manual_seed(0) for _ in range(3)]
    without, once = (
        bare.mimae(replace(pgd, generator=generator), lamb=lamb)(model, x, y)
        for lamb, generator in zip((0.0, 1.0), drawn, strict=False)
    )
    x_adv = bare.against_labels(replace(pgd, start_std=0.001, generator=drawn[2]), model, x, y)
    information = class_mutual_information(model(x).softmax(1), model(x_adv).softmax(1))
    assert information > 0.1
    torch.testing.assert_close(without - once, information, rtol=1e-3, atol=0)


@pytest.mark.parametrize("method", TRAINERS)
def test_every_variant_trains(method: str) -> None:
    timed = variants(method, Task(TINY, batches=1, batch_size=4, max_iter=1))
    assert OURS in timed
    for variant in timed.values():
        variant()
