from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor

from art_mi.channels import (
    ChannelReading,
    Moments,
    draw_noise,
    gaussian_parts,
    gaussian_ratios,
    label_information,
    lower_bound,
    overall_std,
    read_channel,
    uniform_ratios,
    upper_bound,
)
from art_mi.codes import entropy

LOG2 = math.log(2)
RATIOS: dict[str, Callable[[Tensor, list[Tensor]], Iterator[Tensor]]] = {
    "gaussian": gaussian_ratios,
    "uniform": uniform_ratios,
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def read(z: Tensor, noise_std: float = 1.0, *, seed: int = 0, **options: object) -> ChannelReading:
    return read_channel(z, noise_std, generator=generator(seed), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_ratios_are_differences_of_the_log_densities(noise: str) -> None:
    z, draw = normal(6, 3), draw_noise(noise, (6, 3), generator(1), normal(1))

    def log_density(e: Tensor) -> float:
        if noise == "gaussian":
            return float(-(e**2).sum() / 2)
        return 0.0 if float(e.abs().max()) <= math.sqrt(3) else -math.inf

    for sign, ratios in zip((1, -1), RATIOS[noise](z, [draw]), strict=True):
        e = sign * draw
        expected = [
            [log_density(z[i] + e[i] - z[j]) - log_density(e[i]) if i != j else -math.inf for j in range(6)]
            for i in range(6)
        ]
        torch.testing.assert_close(ratios, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_every_draw_is_followed_by_its_opposite(noise: str) -> None:
    z, draws = normal(7, 2), [normal(7, 2, seed=seed) for seed in (1, 2)]
    pairs = list(RATIOS[noise](z, draws))
    for number, draw in enumerate(draws):
        for place, signed in enumerate((draw, -draw)):
            torch.testing.assert_close(pairs[2 * number + place], next(RATIOS[noise](z, [signed])))


@pytest.mark.parametrize("strength", [0.1, 3.0])
def test_the_parts_of_ratios_scale_with_the_noise(strength: float) -> None:
    z, draw = normal(7, 3), normal(7, 3, seed=1)
    still, (tilt,) = gaussian_parts(z, [draw])
    torch.testing.assert_close(still / strength**2 + tilt / strength, next(gaussian_ratios(z / strength, [draw])))


def test_parts_of_a_few_samples_are_the_first_rows_of_all() -> None:
    z, draw = normal(7, 3), normal(7, 3, seed=1)
    still, (tilt,) = gaussian_parts(z, [draw])
    few, (few_tilt,) = gaussian_parts(z, [draw[:4]], 4)
    torch.testing.assert_close(few, still[:4])
    torch.testing.assert_close(few_tilt, tilt[:4])
    torch.testing.assert_close(lower_bound(few + few_tilt), lower_bound(still + tilt)[:4])


def test_gaussian_ratios_have_the_gradient_that_finite_differences_give() -> None:
    z, draw = normal(5, 2).requires_grad_(), normal(5, 2, seed=1)
    for bound in (lower_bound, upper_bound):
        assert torch.autograd.gradcheck(
            lambda z, bound=bound: torch.stack([bound(r) for r in gaussian_ratios(z, [draw])]).mean(), (z,)
        )


@pytest.mark.parametrize("d", [2, 4])
def test_the_two_bounds_enclose_the_information_of_a_linear_gaussian_channel(d: int) -> None:
    weights, sigma = normal(8, d, seed=1) / math.sqrt(8), 0.7
    truth = 0.5 * torch.logdet(torch.eye(d, dtype=torch.float64) + weights.T @ weights / sigma**2).item()
    reading = read(normal(2000, 8) @ weights, sigma, nb_noise=1)
    tolerance = 0.05  # about three standard errors of a mean over 2,000 samples
    assert reading.lower - tolerance <= truth <= reading.upper + tolerance
    assert reading.upper - reading.lower < 0.1


def two_point_information(t: float) -> float:
    """J(t): entropy of N(t, 1) / 2 + N(-t, 1) / 2 less that of N(0, 1), by quadrature."""

    def integrand(v: float) -> float:
        p = (math.exp(-((v - t) ** 2) / 2) + math.exp(-((v + t) ** 2) / 2)) / math.sqrt(8 * math.pi)
        return -p * math.log(p)

    return quad(integrand, -t - 12, t + 12)[0] - 0.5 * math.log(2 * math.pi * math.e)


def two_points(half_distance: float, n: int = 600) -> Tensor:
    return half_distance * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(n // 2)[:, None]


@pytest.mark.parametrize(("t", "truth"), [(1.5, 0.52678), (1.0, 0.33683), (0.5, 0.11142), (0.0, 0.0)])
def test_two_points_in_gaussian_noise_carry_what_quadrature_says(t: float, truth: float) -> None:
    assert two_point_information(t) == pytest.approx(truth, abs=1e-5)
    reading = read(two_points(0.4 * t), 0.4, nb_noise=3)
    assert reading.lower == pytest.approx(truth, abs=0.015)
    assert reading.upper == pytest.approx(truth, abs=0.015)


@pytest.mark.parametrize(("m", "truth"), [(0.6, 0.41589), (0.35, 0.24260), (1.5, LOG2), (0.0, 0.0)])
def test_two_points_in_uniform_noise_carry_log_2_times_their_distance(m: float, truth: float) -> None:
    assert truth == pytest.approx(LOG2 * min(1.0, m), abs=1e-5)
    reading = read(two_points(m), 1 / math.sqrt(3), noise="uniform", nb_noise=3)  # uniform on [-1, 1]
    assert reading.lower == pytest.approx(truth, abs=0.03)
    assert reading.upper == pytest.approx(truth, abs=0.03)
    assert np.isfinite(reading.lower_influence).all()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 20),
    st.integers(1, 5),
    st.sampled_from([0.0, 1e-3, 1.0, 1e3, 1e6]),
    st.sampled_from(["gaussian", "uniform"]),
    st.integers(0, 1000),
)
def test_the_lower_bound_is_below_the_upper_and_below_log_n(
    n: int, d: int, scale: float, noise: str, seed: int
) -> None:
    z = scale * normal(n, d, seed=seed)
    reading = read(z, seed=seed, noise=noise)
    assert reading.lower <= reading.upper + 1e-9
    assert reading.lower <= math.log(n) + 1e-9
    assert not math.isnan(reading.upper)
    for ratios in RATIOS[noise](z, [draw_noise(noise, (n, d), generator(seed), z)]):
        assert (lower_bound(ratios) <= math.log(n) + 1e-12).all()


def test_means_of_influences_are_the_bounds() -> None:
    reading = read(normal(100, 2))
    assert reading.lower_influence.mean() == pytest.approx(reading.lower)
    assert reading.upper_influence.mean() == pytest.approx(reading.upper)
    assert reading.label is None


def reweighted(ratios: Tensor, weights: Tensor, *, leave_out: bool) -> float:
    """The bound when sample i has mass `weights[i]`, in the outer mean and in everybody's mixture."""
    if not leave_out:
        ratios = ratios.clone().fill_diagonal_(0)
        return float(-(weights * (ratios + weights.log()[None, :]).logsumexp(1)).sum() / weights.sum()) + float(
            weights.sum().log()
        )
    own = torch.eye(len(ratios), dtype=torch.bool)
    mixture = (ratios + weights.log()[None, :]).masked_fill(own, -math.inf).logsumexp(1)
    rest = (weights.sum() - weights).log()
    return float((weights * (rest - mixture)).sum() / weights.sum())


@pytest.mark.parametrize("leave_out", [False, True])
def test_influences_are_the_derivatives_under_reweighting(leave_out: bool) -> None:
    n, seed, step = 60, 3, 1e-4
    z = 1.5 * normal(n, 2)
    reading = read(z, seed=seed, nb_noise=1)
    source = generator(seed)
    order = torch.randperm(n, generator=source)
    ratios = list(gaussian_ratios(z[order], [draw_noise("gaussian", (n, 2), source, z)]))
    base = sum(reweighted(r, torch.ones(n, dtype=z.dtype), leave_out=leave_out) for r in ratios) / 2
    assert base == pytest.approx(reading.upper if leave_out else reading.lower, abs=1e-9)

    numeric = np.empty(n)
    for i in range(n):
        weights = torch.ones(n, dtype=z.dtype)
        weights[i] += step
        changed = sum(reweighted(r, weights, leave_out=leave_out) for r in ratios) / 2
        numeric[order[i]] = (changed - base) * n / step
    influence = reading.upper_influence if leave_out else reading.lower_influence
    assert np.corrcoef(numeric, influence)[0, 1] > 0.99
    if not leave_out:
        np.testing.assert_allclose(numeric, influence - influence.mean(), atol=1e-2)


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_a_shift_and_a_common_scale_leave_the_information_unchanged(noise: str) -> None:
    z, y = normal(100, 3), torch.arange(100) % 4
    base = read(z, 0.5, noise=noise, y=y)
    for other in (read(z + 1e3, 0.5, noise=noise, y=y), read(1e-3 * z, 0.5e-3, noise=noise, y=y)):
        assert other.lower == pytest.approx(base.lower, abs=1e-9)
        assert other.upper == pytest.approx(base.upper, abs=1e-9)
        assert other.label == pytest.approx(base.label, abs=1e-9)


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_a_reading_is_the_mean_of_the_terms_of_both_bounds_and_of_the_labels(noise: str, scale: float) -> None:
    n, seed = 40, 5
    z, y = scale * normal(n, 2), torch.arange(n) % 3
    reading = read(z, seed=seed, noise=noise, y=y, nb_noise=1)
    source = generator(seed)
    order = torch.randperm(n, generator=source)
    pair = list(RATIOS[noise](z[order], [draw_noise(noise, (n, 2), source, z)]))
    assert reading.lower == pytest.approx(float(torch.stack([lower_bound(r) for r in pair]).mean()), abs=1e-12)
    assert reading.upper == pytest.approx(float(torch.stack([upper_bound(r) for r in pair]).mean()), abs=1e-12)
    assert reading.label == pytest.approx(
        float(torch.stack([label_information(r, y[order]) for r in pair]).mean()), abs=1e-12
    )


def test_blocks_read_close_to_one_mixture_of_all_samples() -> None:
    z = normal(800, 1)
    whole, parts = read(z), read(z, block=250)
    assert parts.lower == pytest.approx(whole.lower, abs=0.03)
    assert parts.upper == pytest.approx(whole.upper, abs=0.03)


def test_readings_of_parts_join_to_the_reading_of_all() -> None:
    y = torch.arange(600) % 2
    parts = [read(normal(n, 1, seed=n), y=y[:n]) for n in (200, 400)]
    both = ChannelReading.joined(parts)
    assert both.lower == pytest.approx((parts[0].lower + 2 * parts[1].lower) / 3)
    assert both.upper == pytest.approx((parts[0].upper + 2 * parts[1].upper) / 3)
    assert both.label == pytest.approx((parts[0].label + 2 * parts[1].label) / 3)  # type: ignore[operator]
    assert both.lower_influence.mean() == pytest.approx(both.lower)
    assert both.upper_influence.mean() == pytest.approx(both.upper)
    assert both.ceiling == pytest.approx((math.log(200) + 2 * math.log(400)) / 3)
    assert both.label_entropy == pytest.approx(math.log(2))
    assert ChannelReading.joined(parts[:1]) is parts[0]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.sampled_from([0.0, 1e6]), st.integers(0, 1000))
def test_moments_of_parts_add_up_to_those_of_all(sizes: list[int], shift: float, seed: int) -> None:
    z = (normal(sum(sizes), 3, seed=seed) + shift).float()
    first, *rest = z.split(sizes)
    added = sum(map(Moments.of, rest), start=Moments.of(first))
    expected = z.double().var(0, correction=0)
    assert added.n == len(z)
    torch.testing.assert_close(added.mean, z.double().mean(0))
    torch.testing.assert_close(added.variance, expected, rtol=1e-7, atol=1e-9 * (1 + shift))
    assert added.overall_std == pytest.approx(overall_std(z), rel=1e-7, abs=1e-5 * (1 if shift else 0) + 1e-9)


def test_readings_repeat_with_their_generator_and_leave_their_input_alone() -> None:
    z = normal(50, 2).float()
    before = z.clone()
    first, second = read(z), read(z)
    assert first.lower == second.lower
    np.testing.assert_array_equal(first.upper_influence, second.upper_influence)
    assert torch.equal(z, before)


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_labels_of_far_apart_classes_are_carried_whole(noise: str) -> None:
    y = torch.tensor([0] * 60 + [1] * 90 + [2] * 150)
    z = 50.0 * y[:, None] + normal(300, 2)
    reading = read(z, noise=noise, y=y)
    assert reading.label == pytest.approx(entropy(np.array([60, 90, 150])), abs=1e-9)


def test_labels_independent_of_the_representation_are_not_carried() -> None:
    y = torch.randint(0, 2, (1000,), generator=generator(5))
    reading = read(normal(1000, 1), y=y, nb_noise=1)
    assert reading.label == pytest.approx(0.0, abs=0.01)


def test_label_information_of_two_points_is_all_there_is() -> None:
    y = (two_points(1.0)[:, 0] > 0).long()
    reading = read(two_points(1.0), y=y, nb_noise=4)
    assert reading.label == pytest.approx(reading.lower, abs=1e-9)


def test_label_information_by_hand() -> None:
    ratios = torch.log(torch.tensor([[0.0, 0.5, 0.25], [0.5, 0.0, 1.0], [1.0, 0.5, 0.0]], dtype=torch.float64))
    terms = label_information(ratios, torch.tensor([0, 0, 1]))
    expected = [math.log(1.5 / 2 / (1.75 / 3)), math.log(1.5 / 2 / (2.5 / 3)), math.log(1 / (2.5 / 3))]
    assert terms.tolist() == pytest.approx(expected)
    assert lower_bound(ratios).tolist() == pytest.approx([math.log(3 / t) for t in (1.75, 2.5, 2.5)])
    assert upper_bound(ratios).tolist() == pytest.approx([math.log(2 / t) for t in (0.75, 1.5, 1.5)])


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_noise_has_mean_zero_and_standard_deviation_one(noise: str) -> None:
    draw = draw_noise(noise, (20000, 2), generator(), torch.zeros(1))
    assert draw.dtype == torch.float32
    assert draw.mean().item() == pytest.approx(0, abs=0.02)
    assert draw.std().item() == pytest.approx(1, abs=0.02)


def test_equal_samples_say_nothing_about_each_other_however_little_noise_there_is() -> None:
    z = torch.randn(48, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).repeat(2, 1)
    still, _ = gaussian_parts(1e4 * z, [])
    assert (still <= 0).all()
    lower = lower_bound(still).mean()
    assert lower == pytest.approx(math.log(48), abs=1e-2)


@pytest.mark.parametrize("nb_classes", [2, 100, 1000])
def test_label_information_of_blocks_is_at_most_the_entropy_of_the_labels_there(nb_classes: int) -> None:
    y = torch.randperm(4096, generator=torch.Generator().manual_seed(0)) % nb_classes
    reading = read(1e3 * y[:, None].double(), y=y)
    assert reading.label is not None
    assert reading.label_entropy is not None
    assert reading.label == pytest.approx(reading.label_entropy, abs=1e-9)  # the classes are apart
