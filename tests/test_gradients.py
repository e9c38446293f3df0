from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from art_mi.gradients import GradientCheck, check_gradients
from art_mi.results import Flag
from art_mi.threat import NormBall


def vectors(n: int = 7) -> Tensor:
    return torch.rand(n, 5, generator=torch.Generator().manual_seed(1))


def checked(function: Callable[[Tensor], Tensor], x: Tensor, eps: float = 0.3) -> GradientCheck:
    return check_gradients(function, x, NormBall(math.inf, eps), 64, 0)


def test_no_gradient_passes_a_sign_and_every_gradient_a_linear_map() -> None:
    weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    for function, share in ((lambda x: torch.sign(x @ weight), 1.0), (lambda x: x @ weight, 0.0)):
        assert checked(function, vectors()).blind == share * len(vectors())
    assert checked(lambda x: x.detach(), vectors()).flags == {Flag.ZERO_GRADIENT}


def test_only_the_samples_behind_a_dead_unit_are_blind() -> None:
    x = torch.tensor([[-1.0], [-2.0], [3.0], [4.0], [5.0]])
    assert checked(torch.relu, x).blind == 2
    assert not x.requires_grad


@pytest.mark.parametrize("eps", [1e-6, 0.3, 10.0])
def test_a_gradient_foresees_every_move_of_a_linear_map_and_none_is_misled(eps: float) -> None:
    x = vectors(300)
    found = checked(lambda x: 100 + x @ torch.ones(5, 2), x, eps)  # of tiny moves rounding leaves nothing to compare
    assert (found.misled, found.unrepeated, found.flags) == (0, 0, set())
    assert found.foreseen > (290 if eps > 1e-3 else -1)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.detach() + 1e-3 * x.flip(1),  # what is seen of it is another path
        lambda x: 2 * x.detach() - x,
        lambda x: x + 0.1 * torch.sin(1000 * x),
    ],
)
def test_the_gradient_of_another_function_misleads(function: Callable[[Tensor], Tensor]) -> None:
    assert checked(function, vectors(200)).flags == {Flag.MISLEADING_GRADIENT}
    assert checked(function, vectors(200), eps=0.0).flags == set()


def test_noise_in_a_representation_is_seen_and_rounding_is_not() -> None:
    generator = torch.Generator().manual_seed(0)

    def noisy(strength: float) -> Callable[[Tensor], Tensor]:
        return lambda x: x + strength * torch.randn(x.shape, generator=generator)

    assert Flag.RANDOM_OUTPUT in checked(noisy(0.01), vectors(200)).flags
    assert Flag.RANDOM_OUTPUT in checked(noisy(0.01), vectors(200), eps=0.0).flags
    assert checked(noisy(1e-6), vectors(200)).flags == set()


def test_counts_of_two_sets_of_samples_add_up() -> None:
    assert GradientCheck(5, 1, 2, 3, 4) + GradientCheck(10, 20, 30, 40, 50) == GradientCheck(15, 21, 32, 43, 54)
    assert check_gradients(torch.relu, vectors(10), NormBall(2, 1.0), 3, 0).nb_samples == 10
