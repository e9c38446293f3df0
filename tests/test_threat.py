from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor

from art_mi.threat import NormBall

NORMS = [math.inf, 2, 1]
SHAPES = [(1, 1), (3, 5), (2, 200), (2, 1, 3, 3), (2, 3, 4, 4)]

norms = st.sampled_from(NORMS)
radii = st.one_of(st.sampled_from([0.0, 1e-30, 1e-6, 8 / 255, 0.3, 1e3]), st.floats(1e-30, 1e3))
dtypes = st.sampled_from([torch.float32, torch.float64])
boxes = st.sampled_from(["none", "scalar", "array"])
sizes = st.sampled_from([0.0, 1e-45, 1e-39, 1e-25, 1e-6, 1.0, 1e3, 1e10, 1e25, 1e38])
seeds = st.integers(0, 2**31)


def clip_values(kind: str, shape: tuple[int, ...]) -> tuple[Any, Any] | None:
    if kind == "none":
        return None
    if kind == "scalar":
        return (0.0, 1.0)
    features = (shape[1],) + (1,) * (len(shape) - 2)
    low = np.linspace(-0.3, 0.1, shape[1]).reshape(features)
    return (low, low + np.linspace(0.05, 2.0, shape[1]).reshape(features))


def centres(kind: str, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Points of the box, some of them on its faces, some coordinates exactly zero where it allows."""
    x = torch.rand(shape, generator=generator, dtype=dtype) * 3 - 1
    x = x * (torch.rand(shape, generator=generator) < 0.7)
    clip = clip_values(kind, shape)
    if clip is None:
        return x
    low, high = (torch.as_tensor(v, dtype=dtype) for v in clip)
    return torch.minimum(torch.maximum(x, low), high)


def assert_inside(x_adv: Tensor, x: Tensor, ball: NormBall) -> None:
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert torch.isfinite(x_adv).all()
    if ball.norm == math.inf:
        assert ((x_adv - x).abs() <= torch.tensor(ball.eps, dtype=x.dtype)).all()
    else:
        moved = (x_adv.double() - x.double()).flatten(1)
        largest = moved.abs().amax(1).clamp_min(1e-300)
        length = (moved / largest[:, None]).norm(p=float(ball.norm), dim=1) * largest
        assert (length <= ball.eps * (1 + 1e-6)).all()
    if ball.clip_values is not None:
        low, high = (torch.as_tensor(v, dtype=x.dtype) for v in ball.clip_values)
        assert (x_adv >= low).all()
        assert (x_adv <= high).all()


@settings(max_examples=300, deadline=None)
@given(norms, radii, st.sampled_from(SHAPES), dtypes, boxes, sizes, seeds)
def test_whatever_is_projected_lands_in_the_ball_and_in_the_box(
    norm: float, eps: float, shape: tuple[int, ...], dtype: torch.dtype, box: str, size: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = centres(box, shape, dtype, generator)
    ball = NormBall(norm, eps, clip_values(box, shape))
    direction = 2 * torch.rand(shape, generator=generator, dtype=dtype) - 1
    for step in (direction, direction.sign(), 1 + 1e-3 * direction):
        assert_inside(ball.project(x + size * step, x), x, ball)


@settings(max_examples=150, deadline=None)
@given(norms, radii, st.sampled_from(SHAPES), dtypes, boxes, seeds)
def test_every_random_start_lies_in_the_ball_and_in_the_box(
    norm: float, eps: float, shape: tuple[int, ...], dtype: torch.dtype, box: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = centres(box, shape, dtype, generator)
    ball = NormBall(norm, eps, clip_values(box, shape))
    assert_inside(ball.random_start(x, generator), x, ball)


@settings(max_examples=60, deadline=None)
@given(norms, st.sampled_from(SHAPES), dtypes, boxes, sizes, seeds)
def test_a_ball_of_radius_zero_returns_its_centre_exactly(
    norm: float, shape: tuple[int, ...], dtype: torch.dtype, box: str, size: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = centres(box, shape, dtype, generator)
    ball = NormBall(norm, 0.0, clip_values(box, shape))
    assert torch.equal(ball.project(x + size * torch.randn(shape, generator=generator, dtype=dtype), x), x)
    assert torch.equal(ball.random_start(x, generator), x)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip", [None, (0.0, 1.0)])
def test_points_of_the_ball_and_box_stay_where_they_are(norm: float, clip: tuple[float, float] | None) -> None:
    x = torch.randint(64, 192, (20, 6), generator=torch.Generator().manual_seed(0)) / 256
    delta = torch.randint(-8, 9, (20, 6), generator=torch.Generator().manual_seed(1)) / 256
    assert torch.equal(NormBall(norm, 0.2, clip).project(x + delta, x), x + delta)


@pytest.mark.parametrize("norm", NORMS)
def test_projecting_twice_is_projecting_once(norm: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(50, 12, generator=generator)
    ball = NormBall(norm, 0.4, (0.0, 1.0))
    once = ball.project(x + torch.randn(50, 12, generator=generator), x)
    torch.testing.assert_close(ball.project(once, x), once, rtol=0, atol=1e-6)


def nearest_in_l1(delta: np.ndarray, radius: float) -> np.ndarray:
    """By the optimality condition: one soft threshold, found by root finding."""
    size = np.abs(delta)
    if size.sum() <= radius:
        return delta
    threshold = brentq(lambda t: np.maximum(size - t, 0).sum() - radius, 0, size.max(), xtol=1e-15)
    return np.sign(delta) * np.maximum(size - threshold, 0)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.floats(1e-3, 10.0), st.floats(1e-3, 10.0), seeds)
def test_the_l1_projection_is_the_nearest_point_of_the_ball(d: int, eps: float, scale: float, seed: int) -> None:
    delta = scale * torch.randn(3, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    projected = NormBall(1, eps).project(delta, torch.zeros_like(delta))
    expected = np.stack([nearest_in_l1(row, eps) for row in delta.numpy()])
    np.testing.assert_allclose(projected.numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, 1e10, 1e38])
def test_the_l2_projection_keeps_the_direction_at_every_size(size: float) -> None:
    direction = torch.tensor([[3.0, -4.0]])
    projected = NormBall(2, 1e-3 * size).project(size * (direction / 4), torch.zeros(1, 2))
    torch.testing.assert_close(projected, direction / 5 * (1e-3 * size), rtol=1e-5, atol=0)


def test_projections_onto_the_three_balls_by_hand() -> None:
    x, x_adv = torch.zeros(1, 2), torch.tensor([[3.0, -4.0]])
    for norm, expected in ((math.inf, [[1.0, -1.0]]), (2, [[0.6, -0.8]]), (1, [[0.0, -1.0]])):
        torch.testing.assert_close(NormBall(norm, 1.0).project(x_adv, x), torch.tensor(expected), rtol=0, atol=1e-5)


def unit_steps(norm: float, n: int, d: int, generator: torch.Generator) -> Tensor:
    steps = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return steps / steps.norm(p=float(norm), dim=1, keepdim=True)


@settings(max_examples=60, deadline=None)
@given(norms, st.integers(1, 12), st.sampled_from([1e-300, 1e-20, 1.0, 1e20, 1e300]), seeds)
def test_the_steepest_step_has_norm_one_and_rises_more_than_any_other(
    norm: float, d: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(1, d, generator=generator, dtype=torch.float64)
    step = NormBall(norm, 1.0).steepest(scale * direction)
    assert step.norm(p=float(norm)).item() == pytest.approx(1.0, abs=1e-12)
    others = unit_steps(norm, 300, d, generator)
    assert (direction * step).sum() >= (others @ direction.T).max() - 1e-12


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4, 4)])
def test_a_zero_gradient_gives_a_zero_step(norm: float, shape: tuple[int, ...]) -> None:
    assert torch.equal(NormBall(norm, 1.0).steepest(torch.zeros(shape)), torch.zeros(shape))


@pytest.mark.parametrize("norm", NORMS)
def test_the_smallest_gradients_still_give_a_step_of_norm_one(norm: float) -> None:
    step = NormBall(norm, 1.0).steepest(torch.tensor([[1e-44, 0.0, 0.0]]))
    torch.testing.assert_close(step, torch.tensor([[1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_that_are_not_finite_never_reach_the_input(norm: float) -> None:
    grad = torch.tensor([[math.nan, 1.0], [math.inf, 1.0], [-math.inf, math.nan], [math.nan, math.nan]])
    ball = NormBall(norm, 0.3, (0.0, 1.0))
    x = torch.full((4, 2), 0.5)
    step = ball.steepest(grad, x)
    assert torch.isfinite(step).all()
    assert step[0].tolist() == [0.0, 1.0]
    assert step[1, 0] == 1.0
    assert step[2].tolist() == [-1.0, 0.0]
    assert step[3].tolist() == [0.0, 0.0]
    assert_inside(ball.project(x + step, x), x, ball)


@pytest.mark.parametrize("norm", [2, 1])
def test_a_steepest_step_that_weighs_components_against_each_other_never_points_out_of_the_box(norm: float) -> None:
    x = torch.tensor([[0.0, 1.0, 0.5, 0.0, 1.0]])
    grad = torch.tensor([[-9.0, 8.0, 1.0, 2.0, -3.0]])
    step = NormBall(norm, 1.0, (0.0, 1.0)).steepest(grad, x)
    assert step[0, :2].tolist() == [0.0, 0.0]
    assert step.flatten().norm(p=float(norm)).item() == pytest.approx(1.0)
    # The largest component that the box allows is the last one.
    assert step[0, 4] == step.min() < 0


@pytest.mark.parametrize("norm", NORMS)
def test_a_steepest_step_leads_nowhere_where_the_box_forbids_every_direction(norm: float) -> None:
    ball, x = NormBall(norm, 1.0, (0.0, 1.0)), torch.tensor([[0.0, 1.0]])
    step = ball.steepest(torch.tensor([[-1.0, 2.0]]), x)
    assert torch.equal(ball.project(x + step, x), x)
    if norm != math.inf:
        assert step.tolist() == [[0.0, 0.0]]


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_a_sign_step_projected_is_one_without_what_the_box_forbids(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = centres("scalar", (4, 30), torch.float32, generator)
    grad = torch.randn(4, 30, generator=generator)
    ball = NormBall(math.inf, 0.2, (0.0, 1.0))
    allowed = torch.where(((x == 1) & (grad > 0)) | ((x == 0) & (grad < 0)), 0.0, grad.sign())
    assert torch.equal(ball.project(x + 0.1 * ball.steepest(grad, x), x), ball.project(x + 0.1 * allowed, x))


@settings(max_examples=100, deadline=None)
@given(norms, radii, dtypes, boxes, sizes, seeds)
def test_a_projection_onto_balls_around_fixed_centres_is_the_same_again_and_again(
    norm: float, eps: float, dtype: torch.dtype, box: str, size: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = centres(box, (2, 3, 4, 4), dtype, generator)
    ball = NormBall(norm, eps, clip_values(box, x.shape))
    project = ball.around(x)
    for _ in range(2):
        point = x + size * torch.randn(x.shape, generator=generator, dtype=dtype)
        assert torch.equal(project(point), ball.project(point, x))


@pytest.mark.parametrize(("norm", "power"), [(math.inf, 3), (2, 3), (1, 3)])
def test_random_starts_fill_the_ball_uniformly(norm: float, power: int) -> None:
    x = torch.zeros(4000, power, dtype=torch.float64)
    start = NormBall(norm, 2.0).random_start(x, torch.Generator().manual_seed(0))
    share = (start.norm(p=float(norm), dim=1) / 2) ** power  # uniform on [0, 1] where the points are in the ball
    assert share.mean().item() == pytest.approx(0.5, abs=0.02)
    assert share.var().item() == pytest.approx(1 / 12, abs=0.005)
    assert start.mean(0).abs().max() < 0.08


def test_random_starts_repeat_with_their_generator() -> None:
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    first, second = (NormBall(2, 0.3).random_start(x, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("norm", NORMS)
def test_inputs_and_gradients_are_not_written_to(norm: float) -> None:
    x, grad = torch.full((2, 3), 0.5), torch.tensor([[1.0, -2.0, math.nan]] * 2)
    ball = NormBall(norm, 0.1, (0.0, 1.0))
    before = grad.clone()
    ball.project(x + ball.steepest(grad, x), x)
    ball.random_start(x, torch.Generator().manual_seed(0))
    assert torch.equal(x, torch.full((2, 3), 0.5))
    assert torch.equal(grad[:, :2], before[:, :2])
    assert grad[:, 2].isnan().all()


def test_the_norm_may_be_spelt_out() -> None:
    assert NormBall("inf", 1).norm == math.inf
    assert NormBall(np.inf, 1).norm == math.inf
    assert NormBall("inf", 1) == NormBall(math.inf, 1.0)


@pytest.mark.parametrize("norm", [0, 3, "2", -math.inf, math.nan])
def test_other_norms_are_refused(norm: float | str) -> None:
    with pytest.raises(ValueError, match="`norm` must be inf, 2 or 1, got"):
        NormBall(norm, 0.1)


@pytest.mark.parametrize("eps", [-0.1, math.inf, math.nan])
def test_other_radii_are_refused(eps: float) -> None:
    with pytest.raises(ValueError, match="`eps` must be a non-negative number, got"):
        NormBall(2, eps)


# --- what no number of the dtype can hold ---


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("clip", [None, (-math.inf, math.inf), (np.full(4, -math.inf), np.full(4, math.inf))])
@pytest.mark.parametrize("eps", [0.1, 1e300])
def test_radii_boxes_and_points_beyond_the_largest_number_leave_finite_points(
    norm: float, dtype: torch.dtype, clip: Any, eps: float
) -> None:
    largest = torch.finfo(dtype).max
    x = torch.tensor([[0.0, 1.0, largest, -largest]] * 3, dtype=dtype)
    ball = NormBall(norm, eps, clip)
    for point in (x + math.inf, x - math.inf, x * 2, -x):
        assert_inside(ball.project(point, x), x, ball)
    start = ball.random_start(x, torch.Generator().manual_seed(0))
    assert torch.isfinite(start).all()
    assert (start[:, :2] != x[:, :2]).any()


@pytest.mark.parametrize("norm", [2, 1])
@pytest.mark.parametrize("d", [40, 40_000])
def test_the_sums_of_long_rows_in_float64_stay_within_the_radius(norm: float, d: int) -> None:
    generator = torch.Generator().manual_seed(0)
    far = 1 + 1e-3 * torch.randn(2, d, generator=generator, dtype=torch.float64)
    moved = NormBall(norm, 0.3).project(far, torch.zeros_like(far)).numpy().astype(np.longdouble)
    length = (np.abs(moved) ** norm).sum(1) ** (1 / np.longdouble(norm))
    assert (length <= 0.3).all()
    assert (length >= 0.3 * (1 - 1e-10)).all()


def test_radii_among_the_smallest_numbers_of_float64_shrink_to_numbers() -> None:
    x = torch.zeros(1, 3, dtype=torch.float64)
    for norm in (2, 1):
        moved = NormBall(norm, 5e-324).project(torch.tensor([[0.0, 2.5e-323, 5e-324]], dtype=torch.float64), x)
        assert moved.abs().sum() <= 5e-324


@pytest.mark.parametrize("norm", [2, 1])
@pytest.mark.parametrize(("dtype", "eps"), [(torch.float16, 3e-7), (torch.float16, 3e-6), (torch.float32, 3e-44)])
def test_moves_among_the_smallest_numbers_round_towards_the_centre(norm: float, dtype: torch.dtype, eps: float) -> None:
    x = torch.zeros(200, 40, dtype=dtype)
    start = NormBall(norm, eps).random_start(x, torch.Generator().manual_seed(0)).double()
    assert ((start / eps).norm(p=norm, dim=1) <= 1).all()
    assert start.any()
