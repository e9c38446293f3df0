from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from art_mi.attacks.ascent import ascend, best_of, falling
from art_mi.threat import NormBall

DUAL = {math.inf: 1.0, 2: 2.0, 1: math.inf}
WEIGHTS = torch.tensor([3.0, -2.0, 1.0, -0.5, 0.25], dtype=torch.float64)


def linear(x: Tensor) -> Tensor:
    return x @ WEIGHTS


def inputs(n: int = 6) -> Tensor:
    return 0.2 + 0.6 * torch.rand(n, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
@pytest.mark.parametrize("eps", [0.01, 0.3, 20.0])
def test_a_linear_objective_rises_by_the_radius_times_the_dual_norm(norm: float, eps: float) -> None:
    x = inputs()
    x_adv = ascend(linear, x, NormBall(norm, eps), eps_step=eps / 4, max_iter=10)
    gain = linear(x_adv) - linear(x)
    assert gain.tolist() == pytest.approx([eps * WEIGHTS.norm(p=DUAL[norm]).item()] * 6, rel=1e-9)


def test_in_a_box_an_l_inf_attack_reaches_the_corner_of_ball_and_box_exactly() -> None:
    x, eps = inputs(), 0.3
    x_adv = ascend(linear, x, NormBall(math.inf, eps, (0.0, 1.0)), eps_step=0.1, max_iter=10)
    expected = (x + eps * WEIGHTS.sign()).clamp(0, 1)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-12)


def knapsack(x: Tensor, eps: float) -> list[float]:
    """Most a linear objective can rise in the l_1 ball and the unit box: heaviest weights first, each up to the box."""
    gains = []
    for row in x:
        room, gain = eps, 0.0
        for j in WEIGHTS.abs().argsort(descending=True).tolist():
            reach = float(1 - row[j] if WEIGHTS[j] > 0 else row[j])
            gain += float(WEIGHTS[j].abs()) * min(room, reach)
            room -= min(room, reach)
        gains.append(gain)
    return gains


@pytest.mark.parametrize("eps", [0.1, 0.7, 1.5])
def test_in_a_box_an_l1_attack_fills_the_heaviest_coordinates_first(eps: float) -> None:
    x = inputs()
    x_adv = ascend(linear, x, NormBall(1, eps, (0.0, 1.0)), eps_step=lambda step: 0.2 * 0.9**step, max_iter=250)
    gain = linear(x_adv) - linear(x)
    assert gain.tolist() == pytest.approx(knapsack(x, eps), abs=1e-6)


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
def test_the_attack_stays_in_the_ball_at_every_step_and_leaves_its_inputs_alone(norm: float) -> None:
    x = inputs()
    before, ball = x.clone(), NormBall(norm, 0.2, (0.0, 1.0))
    seen: list[Tensor] = []

    def objective(x_adv: Tensor) -> Tensor:
        seen.append(x_adv.detach().clone())
        return (x_adv**3).sum(1)

    x_adv = ascend(objective, x, ball, eps_step=0.15, max_iter=7)
    assert len(seen) == 7
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert x.grad is None
    assert not x_adv.requires_grad
    for point in (*seen, x_adv):
        assert (torch.linalg.vector_norm(point - x, ord=norm, dim=1) <= 0.2 * (1 + 1e-9)).all()
        assert point.min() >= 0
        assert point.max() <= 1


def test_weights_receive_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    before = [p.detach().clone() for p in model.parameters()]
    x = inputs()
    x_adv = ascend(model, x, NormBall(2, 0.3), eps_step=0.1, max_iter=5)
    assert (model(x_adv) > model(x)).all()
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert parameter.grad is None
        assert parameter.requires_grad
        assert torch.equal(parameter, value)


def test_an_objective_may_couple_the_samples_of_the_batch() -> None:
    x = torch.tensor([[0.0], [0.1], [1.0]])

    def spread(x_adv: Tensor) -> Tensor:
        return x_adv.var()

    x_adv = ascend(spread, x, NormBall(math.inf, 0.5), eps_step=0.1, max_iter=20)
    torch.testing.assert_close(x_adv, torch.tensor([[-0.5], [-0.4], [1.5]]))


def test_one_value_and_one_value_a_sample_move_alike() -> None:
    x, ball = inputs(), NormBall(2, 0.3)
    one = ascend(lambda x: linear(x).sum(), x, ball, eps_step=0.1, max_iter=5)
    assert torch.equal(one, ascend(linear, x, ball, eps_step=0.1, max_iter=5))


def test_a_schedule_is_asked_for_the_size_of_every_step() -> None:
    asked: list[int] = []

    def schedule(step: int) -> float:
        asked.append(step)
        return 0.5**step

    x = torch.zeros(1, 1)
    x_adv = ascend(lambda x: x.sum(), x, NormBall(math.inf, 10.0), eps_step=schedule, max_iter=4)
    assert asked == [0, 1, 2, 3]
    assert x_adv.item() == pytest.approx(1.875)


def test_no_steps_give_the_start_back() -> None:
    x = inputs()

    def never(x: Tensor) -> Tensor:
        raise AssertionError("the objective is not needed")

    unmoved = ascend(never, x, NormBall(2, 0.3), eps_step=0.1, max_iter=0)
    assert torch.equal(unmoved, x)
    assert unmoved.data_ptr() != x.data_ptr()
    start = x + 0.01
    assert torch.equal(ascend(never, x, NormBall(2, 0.3), eps_step=0.1, max_iter=0, start=start), start)


def test_the_attack_begins_where_it_is_told() -> None:
    x = torch.zeros(1, 1)
    start = torch.tensor([[-0.2]])
    x_adv = ascend(lambda x: (x**2).sum(), x, NormBall(math.inf, 0.5), eps_step=0.1, max_iter=10, start=start)
    assert x_adv.item() == pytest.approx(-0.5)
    assert start.item() == pytest.approx(-0.2)
    stuck = ascend(lambda x: (x**2).sum(), x, NormBall(math.inf, 0.5), eps_step=0.1, max_iter=10)
    assert stuck.item() == 0.0


def test_inputs_that_require_a_gradient_are_attacked_like_any_others() -> None:
    x = inputs()
    expected = ascend(linear, x, NormBall(2, 0.3), eps_step=0.1, max_iter=3)
    x_adv = ascend(linear, inputs().requires_grad_(), NormBall(2, 0.3), eps_step=0.1, max_iter=3)
    assert torch.equal(x_adv, expected)
    assert not x_adv.requires_grad


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
def test_a_gradient_that_is_not_a_number_leaves_its_sample_where_it_is(norm: float) -> None:
    x = torch.tensor([[0.0], [0.4]])
    x_adv = ascend(lambda x: x * x.sqrt(), x, NormBall(norm, 0.1), eps_step=0.1, max_iter=3)  # 0 times infinity at 0
    torch.testing.assert_close(x_adv, torch.tensor([[0.0], [0.5]]))


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
@pytest.mark.parametrize("eps_step", [1e300, lambda step: math.inf])
def test_steps_beyond_the_largest_number_do_not_move_what_has_no_gradient(norm: float, eps_step: Any) -> None:
    x = torch.zeros(1, 2)
    x_adv = ascend(lambda x_adv: x_adv[:, 0], x, NormBall(norm, 0.5), eps_step=eps_step, max_iter=3)
    torch.testing.assert_close(x_adv, torch.tensor([[0.5, 0.0]]))


def test_an_objective_may_keep_what_it_was_asked_about() -> None:
    kept: list[Tensor] = []
    copies: list[Tensor] = []

    def keeping(x_adv: Tensor) -> Tensor:
        kept.append(x_adv)
        copies.append(x_adv.detach().clone())
        return linear(x_adv)

    ascend(keeping, inputs(), NormBall(math.inf, 0.3), eps_step=0.1, max_iter=3)
    assert all(torch.equal(one, other) for one, other in zip(kept, copies, strict=True))


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
def test_a_move_takes_the_place_of_the_steepest_step(norm: float) -> None:
    x, ball = inputs(), NormBall(norm, 0.3, (0.0, 1.0))
    asked: list[tuple[Tensor, float]] = []

    def steepest(grad: Tensor, x_adv: Tensor, size: float) -> Tensor:
        asked.append((grad, size))
        return size * ball.steepest(grad, x_adv)

    expected = ascend(linear, x, ball, eps_step=lambda k: 0.1 / (k + 1), max_iter=3)
    moved = ascend(linear, x, ball, eps_step=lambda k: 0.1 / (k + 1), max_iter=3, move=steepest)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-15)  # the steepest step is scaled and added in one
    assert [size for _, size in asked] == [0.1, 0.05, 0.1 / 3]
    assert all(torch.equal(grad, WEIGHTS.expand(6, 5)) and not grad.requires_grad for grad, _ in asked)
    assert torch.equal(ascend(linear, x, ball, eps_step=0.1, max_iter=3, move=lambda g, x, s: 0 * g), x)
    far = ascend(linear, x, ball, eps_step=0.1, max_iter=1, move=lambda g, x, s: torch.full_like(g, 100.0))
    torch.testing.assert_close(far, ball.project(x + 100, x))


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
@pytest.mark.parametrize("per_sample", [True, False])
def test_masked_features_keep_their_value_exactly_and_the_others_use_the_whole_ball(
    norm: float, per_sample: bool
) -> None:
    x, ball = inputs(), NormBall(norm, 0.3)
    mask = torch.tensor([0.0, 1.0, 0.0, 0.5, 1.0])
    if per_sample:
        mask = torch.stack([mask.roll(k) for k in range(6)])
    fixed = (mask == 0).expand(6, 5)
    start, nudge = ball.project(x + 0.05, x), torch.full_like(x, 0.01)

    def noisy(grad: Tensor, x_adv: Tensor, size: float) -> Tensor:
        return size * ball.steepest(grad, x_adv) + nudge

    for options in ({}, {"start": start}, {"move": noisy}, {"start": start, "max_iter": 0}):
        x_adv = ascend(linear, x, ball, **{"eps_step": 0.1, "max_iter": 10, **options}, mask=mask)  # type: ignore[arg-type]
        assert torch.equal(x_adv[fixed], x[fixed])
        assert (x_adv != x)[~fixed].any()
    x_adv = ascend(linear, x, ball, eps_step=0.1, max_iter=10, mask=mask)
    free = WEIGHTS.expand(6, 5).masked_fill(fixed, 0)
    gain = linear(x_adv) - linear(x)
    assert gain.tolist() == pytest.approx((0.3 * free.norm(p=DUAL[norm], dim=1)).tolist(), rel=1e-9)


def test_a_mask_of_ones_changes_nothing_and_one_of_zeros_everything() -> None:
    x, ball = inputs(), NormBall(2, 0.3)
    expected = ascend(linear, x, ball, eps_step=0.1, max_iter=3)
    assert torch.equal(
        ascend(linear, x, ball, eps_step=0.1, max_iter=3, mask=torch.ones(1, dtype=torch.bool)), expected
    )
    assert torch.equal(ascend(linear, x, ball, eps_step=0.1, max_iter=3, mask=torch.zeros(5)), x)


# --- several starts, falling steps ---


def test_each_sample_keeps_its_best_run() -> None:
    runs = [
        torch.tensor([[1.0], [5.0], [2.0]]),
        torch.tensor([[3.0], [4.0], [2.0]]),
        torch.tensor([[2.0], [9.0], [0.0]]),
    ]
    assert best_of(lambda x: x[:, 0], runs).tolist() == [[3.0], [9.0], [2.0]]
    assert best_of(lambda x: -x[:, 0], (run for run in runs)).tolist() == [[1.0], [4.0], [0.0]]


def test_an_objective_of_one_value_chooses_for_the_whole_batch() -> None:
    runs = [torch.tensor([[1.0], [5.0]]), torch.tensor([[9.0], [2.0]]), torch.tensor([[5.0], [5.0]])]
    assert torch.equal(best_of(lambda x: x.sum(), runs), runs[1])


def test_a_single_run_is_returned_unseen_and_runs_are_made_one_at_a_time() -> None:
    events: list[str] = []

    def objective(x: Tensor) -> Tensor:
        events.append("look")
        assert not torch.is_grad_enabled()
        return x.sum()

    def run() -> Tensor:
        events.append("run")
        return torch.zeros(2, 1)

    best_of(objective, [run()])
    assert events == ["run"]
    best_of(objective, (run() for _ in range(3)))
    assert events[1:] == ["run", "run", "look", "look", "run", "look", "look"]


@pytest.mark.parametrize("max_iter", [1, 10, 40])
def test_steps_fall_from_five_mean_steps_towards_zero(max_iter: int) -> None:
    sizes = [falling(0.3, max_iter)(step) for step in range(max_iter)]
    assert sizes[0] == pytest.approx(5 * 0.3 / max_iter)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == pytest.approx(sizes[0] / max_iter)
    assert sum(sizes) == pytest.approx(2.5 * 0.3 * (max_iter + 1) / max_iter)
