from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from art_mi.bounds import BOUNDS, MovingAverageDV, donsker_varadhan, info_nce, jensen_shannon, nwj, split_pairs

ALL = [donsker_varadhan, nwj, info_nce, jensen_shannon]


def random_scores(n: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_joint_pairs_are_the_diagonal_and_independent_pairs_all_the_rest() -> None:
    joint, independent = split_pairs(torch.arange(9.0).view(3, 3))
    assert joint.tolist() == [0.0, 4.0, 8.0]
    assert independent.flatten().tolist() == [1.0, 2.0, 3.0, 5.0, 6.0, 7.0]


def test_values_agree_with_a_two_by_two_example_by_hand() -> None:
    scores = torch.tensor([[2.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    e = math.e
    assert donsker_varadhan(scores).item() == pytest.approx(2.5 - math.log((1 + e) / 2))
    assert nwj(scores).item() == pytest.approx(2.5 - (1 + e) / 2 + 1)
    rows = [2 - math.log((e**2 + 1) / 2), 3 - math.log((e + e**3) / 2)]
    assert info_nce(scores).item() == pytest.approx(sum(rows) / 2)

    def softplus(t: float) -> float:
        return math.log1p(math.exp(t))

    expected = 2 * math.log(2) - (softplus(-2) + softplus(-3)) / 2 - (softplus(0) + softplus(1)) / 2
    assert jensen_shannon(scores).item() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [2, 3, 17, 256])
@pytest.mark.parametrize("constant", [0.0, -3.3, 0.1, 1e4, -1e4])
def test_a_constant_critic_gives_exactly_zero(constant: float, n: int, dtype: torch.dtype) -> None:
    scores = torch.full((n, n), constant, dtype=dtype)
    assert donsker_varadhan(scores).item() == 0.0
    assert info_nce(scores).item() == 0.0
    assert MovingAverageDV()(scores).item() == 0.0
    assert nwj(torch.zeros_like(scores)).item() == 0.0


@given(n=st.integers(2, 12), seed=st.integers(0, 10**6), shift=st.floats(-50, 50))
@settings(max_examples=50, deadline=None)
def test_donsker_varadhan_and_info_nce_do_not_see_a_constant(n: int, seed: int, shift: float) -> None:
    scores = random_scores(n, seed)
    assert donsker_varadhan(scores + shift).item() == pytest.approx(donsker_varadhan(scores).item(), abs=1e-9)
    assert info_nce(scores + shift).item() == pytest.approx(info_nce(scores).item(), abs=1e-9)


@given(n=st.integers(2, 12), seed=st.integers(0, 10**6), scale=st.floats(0.1, 20))
@settings(max_examples=50, deadline=None)
def test_the_bounds_keep_their_order_and_ceilings(n: int, seed: int, scale: float) -> None:
    scores = random_scores(n, seed, scale)
    assert nwj(scores) <= donsker_varadhan(scores) + 1e-9
    assert info_nce(scores) <= math.log(n) + 1e-9
    assert jensen_shannon(scores) <= 2 * math.log(2) + 1e-9


@given(n=st.integers(2, 8), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_the_order_of_samples_does_not_matter(n: int, seed: int) -> None:
    scores = random_scores(n, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    for bound in ALL:
        assert bound(scores[order][:, order]).item() == pytest.approx(bound(scores).item(), abs=1e-10)


def test_the_diagonal_does_not_leak_into_the_partition() -> None:
    scores = torch.full((64, 64), -6.0)
    scores.fill_diagonal_(1.0)
    assert donsker_varadhan(scores).item() == pytest.approx(7.0, abs=1e-5)


def test_a_stack_pools_the_negatives_of_its_squares() -> None:
    stack = torch.stack([random_scores(5, seed) for seed in range(3)])
    joint, independent = split_pairs(stack)
    expected = joint.mean() - independent.exp().mean().log()
    assert donsker_varadhan(stack).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("bound", ALL)
def test_gradients_agree_with_finite_differences(bound: object) -> None:
    scores = random_scores(5, 0).requires_grad_()
    assert torch.autograd.gradcheck(bound, (scores,))


@pytest.mark.parametrize("bound", [*ALL, MovingAverageDV()])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_large_scores_overflow_neither_forward_nor_backward(bound: object, sign: float) -> None:
    scores = (sign * 1e4 * torch.eye(8) - sign * 1e4 * torch.ones(8, 8).tril(-1)).requires_grad_()
    value = bound(scores)  # type: ignore[operator]
    value.backward()
    assert value.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_the_moving_average_keeps_the_value_and_replaces_the_partition_in_the_gradient() -> None:
    bound = MovingAverageDV(rate=0.25)
    first, second = random_scores(4, 0), random_scores(4, 1).requires_grad_()
    bound(first)
    value = bound(second)
    value.backward()
    assert value.item() == pytest.approx(donsker_varadhan(second).item())
    partitions = [split_pairs(s)[1].exp().mean().item() for s in (first, second.detach())]
    average = 0.75 * partitions[0] + 0.25 * partitions[1]
    assert second.grad is not None
    assert second.grad[0, 1].item() == pytest.approx(-math.exp(second[0, 1].item()) / 12 / average)
    assert second.grad[2, 2].item() == pytest.approx(0.25)


def test_a_rate_of_one_is_the_plain_gradient() -> None:
    plain, moving = random_scores(4, 1).requires_grad_(), random_scores(4, 1).requires_grad_()
    bound = MovingAverageDV(rate=1.0)
    bound(random_scores(4, 0))
    bound(moving).backward()
    donsker_varadhan(plain).backward()
    assert plain.grad is not None
    assert moving.grad is not None
    torch.testing.assert_close(plain.grad, moving.grad)


@pytest.mark.parametrize("bound", [*ALL, MovingAverageDV()])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4,), ()])
def test_scores_that_are_not_square_are_refused(bound: object, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="`scores` must be square with at least 2 rows, got shape"):
        bound(torch.zeros(shape))  # type: ignore[operator]


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5])
def test_a_rate_outside_the_unit_interval_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"`rate` must be a number above 0, at most 1, got"):
        MovingAverageDV(rate)


def test_the_bounds_that_are_information_values_are_listed_by_name() -> None:
    assert set(BOUNDS) == {"donsker_varadhan", "nwj", "info_nce"}
