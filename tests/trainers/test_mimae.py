"""MIMAE's step against numbers worked out by hand, term by term."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from art_mi.trainers import MIMAETrainer, crafting

LOGITS = torch.tensor([[2, 0, -1], [0.5, 1.5, 0], [-1, 0, 1]], dtype=torch.float64)
LOGITS_ADV = torch.tensor([[1, 0.5, -1], [0.2, 0.8, 0.4], [0, 0, 0.5]], dtype=torch.float64)
Y = torch.tensor([0, 1, 2])
CE, BCE = 0.7154832247516906, 1.0848021342670597
MI, MI_PLAIN = 0.030116827279755867, 0.03582401475027111
MAE, MAE_SUM = 0.4888888888888888, 1.4666666666666668
SQUARES = (LOGITS_ADV - LOGITS).square()


class Identity(nn.Module):
    """Inputs are logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


def step(toy: Any, **options: Any) -> tuple[dict[str, float], dict[str, Tensor]]:
    art = toy.classifier(Identity(), input_shape=(3,), clip_values=None, preprocessing=None)
    trainer = toy.trainer(MIMAETrainer, art, **options)
    trainer.craft = lambda x, y, **_: LOGITS_ADV
    terms = trainer.step(LOGITS, Y)
    return {name: value.item() for name, value in terms.items()}, terms


def test_the_step_equals_the_vector_worked_out_by_hand(toy: Any) -> None:
    found, _ = step(toy)
    expected = {"loss": 1.561644292244046, "adversarial": BCE, "mi": MI, "distance": MAE}
    assert found == pytest.approx(expected, abs=1e-12, rel=0)


@pytest.mark.parametrize(
    ("options", "changed", "loss"),
    [
        ({"reduction": "sum"}, {"distance": MAE_SUM}, 2.539422070021824),
        ({"symmetric": False}, {"mi": MI_PLAIN}, BCE - 0.4 * MI_PLAIN + MAE),
        ({"adversarial_loss": "cross_entropy"}, {"adversarial": CE}, CE - 0.4 * MI + MAE),
        ({"distance": "mse"}, {"distance": float(SQUARES.mean())}, BCE - 0.4 * MI + float(SQUARES.mean())),
        (
            {"distance": "mse", "reduction": "sum"},
            {"distance": float(SQUARES.sum(1).mean())},
            BCE - 0.4 * MI + float(SQUARES.sum(1).mean()),
        ),
        ({"lamb": 0.0}, {}, BCE + MAE),
        ({"lamb": 2.0}, {}, BCE - 2 * MI + MAE),
        ({"beta": 0.0}, {}, BCE - 0.4 * MI),
        ({"beta": 3.0}, {}, BCE - 0.4 * MI + 3 * MAE),
    ],
)
def test_each_switch_changes_its_own_term(
    toy: Any, options: dict[str, Any], changed: dict[str, float], loss: float
) -> None:
    found, _ = step(toy, **options)
    expected = {"adversarial": BCE, "mi": MI, "distance": MAE, **changed, "loss": loss}
    assert found == pytest.approx(expected, abs=1e-12, rel=0)


def test_clean_and_adversarial_branch_both_carry_a_gradient(toy: Any) -> None:
    art = toy.classifier(toy.network().double())
    trainer = toy.trainer(MIMAETrainer, art)
    x, y = torch.from_numpy(toy.x()).double(), torch.from_numpy(toy.y())
    x_adv = x + 0.05
    trainer.craft = lambda *_, **__: x_adv
    found = torch.autograd.grad(trainer.step(x, y)["loss"], list(art.model.parameters()))
    p, q = art.model(x).softmax(1), art.model(x_adv).softmax(1)
    joint = (p.T @ q + q.T @ p) / (2 * len(x))
    mi = (joint * (joint / (joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))).log()).sum()
    rival = q.masked_fill(torch.eye(3, dtype=torch.bool)[y], 0).amax(1)
    adversarial = cross_entropy(art.model(x_adv), y) - (1 - rival).log().mean()
    loss = adversarial - 0.4 * mi + (art.model(x_adv) - art.model(x)).abs().mean()
    expected = torch.autograd.grad(loss, list(art.model.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_inputs_are_crafted_on_plain_cross_entropy_from_a_noisy_start(toy: Any) -> None:
    art, called = toy.classifier(), {}
    attack = toy.attack(art, eps_step=0.02)  # so short that the noise at the start shows at the end
    trainer = toy.trainer(MIMAETrainer, art, attack=attack, start_std=0.002)
    x, y = torch.from_numpy(toy.x()), torch.from_numpy(toy.y())
    original = trainer.craft
    trainer.craft = lambda x, y, **options: called.setdefault("x_adv", original(x, y, **options))
    trainer.step(x, y)
    expected = crafting.craft(art, attack, x, y, torch.Generator().manual_seed(0), start_std=0.002)
    assert torch.equal(called["x_adv"], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({name: -0.1}, rf"`{name}` must be a non-negative number, got -0\.1") for name in ("lamb", "beta")),
        ({"lamb": np.nan}, r"`lamb` must be a non-negative number, got nan"),
        ({"start_std": "0.1"}, r"`start_std` must be a non-negative number, got '0\.1'"),
        ({"adversarial_loss": "bce"}, r"`adversarial_loss` must be one of 'boosted', 'cross_entropy', got 'bce'"),
        ({"distance": "l1"}, r"`distance` must be one of 'mae', 'mse', got 'l1'"),
        ({"reduction": "none"}, r"`reduction` must be one of 'mean', 'sum', got 'none'"),
        ({"symmetric": 1}, r"`symmetric` must be True or False, got 1"),
    ],
)
def test_a_bad_argument_is_refused_by_name(toy: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy.trainer(MIMAETrainer, **options)


def test_a_misspelt_keyword_is_refused(toy: Any) -> None:
    with pytest.raises(TypeError, match="lambda_"):
        toy.trainer(MIMAETrainer, lambda_=0.4)
