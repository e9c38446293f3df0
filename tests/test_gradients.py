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
        lambda x: x + x.roll(1, 1).detach(),  # half of it
        lambda x: torch.where(x[:, :1] < 0.2, 2 * x.detach() - x, x),  # on a fifth of the samples
        lambda x: x.detach().sign() + x.flip(1) - x.flip(1).detach(),  # moves that it foresees do not come
        lambda x: (x - 0.5).sign() + 1e-3 * x.flip(1),  # true of small moves, a leak beside steps
    ],
)
def test_the_gradient_of_another_function_misleads(function: Callable[[Tensor], Tensor]) -> None:
    assert checked(function, vectors(200)).flags == {Flag.MISLEADING_GRADIENT}
    assert checked(function, vectors(200), eps=0.0).flags == set()


def test_slopes_at_the_inputs_alone_are_not_enough() -> None:
    x = (vectors(200) * 50).round() / 50

    def plateaus(v: Tensor) -> Tensor:
        nearest = (v * 50).round() / 50
        return nearest + (v - nearest).clamp(-1e-4, 1e-4)

    found = checked(plateaus, x, eps=0.1)
    assert found.blind > 180
    assert Flag.ZERO_GRADIENT in found.flags


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, torch.nn.functional.silu])
def test_an_honest_network_raises_nothing(activation: Callable[[Tensor], Tensor], norm: float) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(5, 40, generator=generator), torch.randn(40, 3, generator=generator)
    bias = torch.randn(40, generator=generator)
    for eps in (0.01, 0.1, 0.3):
        ball = NormBall(norm, eps, (0.0, 1.0))
        found = check_gradients(lambda x: activation(x @ first + bias) @ second, vectors(400), ball, 64, 0)
        assert found.flags == set(), (eps, found)


@pytest.mark.parametrize("constant", [0.0, -1e9])
def test_a_constant_column_of_large_values_hides_nothing(constant: float) -> None:
    def beside(z: Tensor) -> Tensor:
        return torch.cat([z, torch.full_like(z[:, :1], constant)], 1)

    generator = torch.Generator().manual_seed(0)
    assert Flag.MISLEADING_GRADIENT in checked(lambda x: beside(2 * x.detach() - x), vectors(200)).flags
    noisy = checked(lambda x: beside(x + 0.1 * torch.randn(x.shape, generator=generator)), vectors(200))
    assert Flag.RANDOM_OUTPUT in noisy.flags


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),  # the same in every call
        lambda x: torch.nn.functional.batch_norm(x, None, None, training=True),
    ],
)
def test_an_answer_that_hangs_on_the_other_samples_is_seen(function: Callable[[Tensor], Tensor]) -> None:
    assert Flag.RANDOM_OUTPUT in checked(function, vectors(200)).flags


def test_noise_in_a_representation_is_seen_and_rounding_is_not() -> None:
    generator = torch.Generator().manual_seed(0)

    def noisy(strength: float) -> Callable[[Tensor], Tensor]:
        return lambda x: x + strength * torch.randn(x.shape, generator=generator)

    assert Flag.RANDOM_OUTPUT in checked(noisy(0.01), vectors(200)).flags
    assert Flag.RANDOM_OUTPUT in checked(noisy(0.01), vectors(200), eps=0.0).flags
    assert checked(noisy(1e-6), vectors(200)).flags == set()


def test_counts_of_two_sets_of_samples_add_up() -> None:
    assert GradientCheck(5, 1, 2, 3, 4, 6) + GradientCheck(10, 20, 30, 40, 50, 60) == GradientCheck(
        15, 21, 32, 43, 54, 66
    )
    assert check_gradients(torch.relu, vectors(10), NormBall(2, 1.0), 3, 0).nb_samples == 10
