from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_mi.bounds import donsker_varadhan
from art_mi.copula import GaussianRatio, copula_critic
from art_mi.critics import (
    ConvCritic,
    Critic,
    LocalCritic,
    SumCritic,
    joint_critic,
    mean_critic,
    separable_critic,
)
from art_mi.preprocessing import NB_WAVES, RankGaussian, SideFeatures, Sketch, features


def correlated(n: int = 400, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, 0.8 * x + 0.6 * rng.standard_normal((n, d))


def all_critics() -> list[tuple[str, Critic, Tensor, Tensor]]:
    x, z = correlated()
    rng = np.random.default_rng(1)
    images = {shape: rng.uniform(size=(40, *shape)) for shape in ((1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 4, 4))}
    cases: list[tuple[str, Critic, Tensor, Tensor]] = []
    vectors = torch.tensor(x[:40]).float(), torch.tensor(z[:40]).float()
    for residual in ("separable", "joint", "both"):
        cases.append((residual, copula_critic(x, z, residual=residual), *vectors))
    cases.append(("plain separable", separable_critic(3, 3), *vectors))
    cases.append(("plain joint", joint_critic(3, 3), *vectors))
    for shape, image in images.items():
        pair = torch.tensor(image).float(), vectors[1]
        cases.append((f"conv {shape}", ConvCritic(shape[0], 3), *pair))
        cases.append((f"copula {shape}", copula_critic(image, z[:40], residual="separable"), *pair))
    cases.append(("papers", LocalCritic(1, 3, width=64), torch.tensor(images[1, 8, 8]).float(), vectors[1]))
    wide = rng.standard_normal((40, 100))
    cases.append(("wide", copula_critic(wide, z[:40], residual="separable"), torch.tensor(wide).float(), vectors[1]))
    return cases


def shaken(critic: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return critic


CASES = all_critics()


@pytest.mark.parametrize(("critic", "x", "z"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_critics_score_all_pairs_and_can_be_attacked_through_both_arguments(
    critic: Critic, x: Tensor, z: Tensor
) -> None:
    critic = shaken(critic)  # type: ignore[assignment]
    x, z = x.clone().requires_grad_(), z.clone().requires_grad_()
    scores = critic(x, z)
    assert scores.shape == (len(x), len(z))
    donsker_varadhan(scores).backward()
    for side in (x, z):
        assert side.grad is not None
        assert side.grad.isfinite().all()
        assert (side.grad.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize(("critic", "x", "z"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_score_depends_on_its_own_pair_alone_and_sides_can_be_kept(critic: Critic, x: Tensor, z: Tensor) -> None:
    with torch.no_grad():
        whole = critic(x, z)
        torch.testing.assert_close(critic(x[3:7], z[2:9]), whole[3:7, 2:9], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            critic.scores(critic.x_side(x)[3:7], critic.z_side(z)[2:9]), whole[3:7, 2:9], atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("critic", [c[1] for c in CASES], ids=[c[0] for c in CASES])
def test_no_critic_has_batch_normalisation(critic: Critic) -> None:
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in critic.modules())


def test_the_gaussian_ratio_is_the_log_density_ratio_of_the_fitted_gaussian() -> None:
    x, z = correlated(2000, 2)
    critic = GaussianRatio(x, z, [0, 1], [0, 1])
    with torch.no_grad():
        scores = critic(torch.tensor(x[:20]).float(), torch.tensor(z[:20]).float()).double().numpy()
    joint = np.cov(np.hstack([x, z]), rowvar=False, ddof=0)
    precision = np.linalg.inv(joint)
    precision[:2, :2] -= np.linalg.inv(joint[:2, :2])
    precision[2:, 2:] -= np.linalg.inv(joint[2:, 2:])
    centre = np.hstack([x, z]).mean(0)
    pairs = np.stack([[np.hstack([a, b]) - centre for b in z[:20]] for a in x[:20]])
    expected = -0.5 * np.einsum("ijk,kl,ijl->ij", pairs, precision, pairs)
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_the_copula_start_answers_gaussian_data_before_any_step_whatever_the_margins() -> None:
    x, z = correlated(4000, 3)
    truth = -1.5 * np.log(1 - 0.64)
    for warp in (lambda v: v, np.sinh, lambda v: np.sign(v) * np.abs(v) ** 3):
        critic = copula_critic(warp(x), warp(z), residual="separable")
        fresh = correlated(2000, 3, seed=9)
        with torch.no_grad():
            scores = critic(*(torch.tensor(warp(side)).float() for side in fresh))
        assert donsker_varadhan(scores).item() == pytest.approx(truth, abs=0.12)


def test_rank_gaussian_margins_are_normal_monotone_and_never_flat() -> None:
    samples = np.random.default_rng(0).standard_cauchy((5000, 1))
    module = RankGaussian(samples)
    scores = module(torch.tensor(samples).float())
    assert scores.mean().abs() < 0.02
    assert scores.std().item() == pytest.approx(1.0, abs=0.02)
    grid = torch.linspace(-1e5, 1e5, 2001)[:, None].requires_grad_()
    values = module(grid)
    values.sum().backward()
    assert (values.diff(dim=0) > 0).all()
    assert grid.grad is not None
    assert (grid.grad > 0).all()
    assert values.abs().max() < 20


def test_features_drop_constant_columns_and_mark_discrete_levels() -> None:
    rng = np.random.default_rng(0)
    samples = np.column_stack(
        [rng.standard_normal(200), np.ones(200), rng.integers(0, 3, 200), rng.integers(0, 2, 200)]
    )
    module = SideFeatures(samples)
    out = module(torch.tensor(samples).float())
    assert out.shape == (200, module.dim)
    assert module.dim == 1 + 1 + 2 * NB_WAVES + 2 + 3
    indicator = torch.tensor(samples[:, 2])[:, None] == torch.arange(3.0)
    torch.testing.assert_close(out[:, -3:], indicator.float())


def test_a_sketch_is_white_on_its_fitting_sample() -> None:
    samples = np.random.default_rng(0).standard_normal((500, 80)) @ np.diag(np.linspace(0.1, 3, 80))
    out = Sketch(samples)(torch.tensor(samples).float()).double()
    torch.testing.assert_close(out.T @ out / 500, torch.eye(32, dtype=torch.float64), atol=1e-3, rtol=0)


def test_the_mean_of_critics_averages_their_scores() -> None:
    x, z = correlated()
    critics = [shaken(copula_critic(x, z, residual="both", seed=k)) for k in range(3)]
    a, b = torch.tensor(x[:9]).float(), torch.tensor(z[:9]).float()
    with torch.no_grad():
        torch.testing.assert_close(mean_critic(critics)(a, b), torch.stack([c(a, b) for c in critics]).mean(0))  # type: ignore[arg-type]
    assert mean_critic(critics[:1]) is critics[0]  # type: ignore[arg-type]


def test_building_a_critic_leaves_the_global_generator_alone_and_repeats() -> None:
    x, z = correlated()
    state = torch.random.get_rng_state()
    first, second, other = (copula_critic(x, z, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_an_unknown_residual_is_refused() -> None:
    with pytest.raises(ValueError, match="`residual` must be"):
        copula_critic(*correlated(), residual="deep")


def test_features_choose_by_the_shape_of_the_variable() -> None:
    rng = np.random.default_rng(0)
    assert isinstance(features(rng.standard_normal((50, 4))), SideFeatures)
    assert not isinstance(features(rng.standard_normal((50, 65))), SideFeatures)
    assert not isinstance(features(rng.standard_normal((50, 1, 4, 4))), SideFeatures)


def test_scores_between_the_limits_are_left_alone_and_bent_ones_keep_a_gradient() -> None:
    x, z = correlated()
    critic = copula_critic(x, z)
    a, b = torch.tensor(x[:50]).float(), torch.tensor(z[:50]).float().requires_grad_()
    before = critic(a, b).detach()
    low, high = before.quantile(0.3), before.median()
    critic.limit(low, high)
    scores = critic(a, b)
    inside = (low <= before) & (before <= high)
    assert torch.equal(scores[inside], before[inside])
    for beyond, end, sign in ((before > high, high, 1), (before < low, low, -1)):
        expected = end + sign * 0.1 * torch.log1p(sign * (before[beyond] - end))
        torch.testing.assert_close(scores[beyond].detach(), expected)
        (gradient,) = torch.autograd.grad(scores[beyond].sum(), b, retain_graph=True)
        assert gradient.abs().sum() > 0
    critic.limit(low, high, 0.5)
    torch.testing.assert_close(critic(a, b), 0.5 * scores)
    critic.release()
    assert torch.equal(critic(a, b).detach(), before)


def test_limits_are_of_the_weighted_sum() -> None:
    x, z = correlated()
    term = copula_critic(x, z)
    once, mean = (SumCritic(nn.Identity(), nn.Identity(), [term] * nb, weight=1 / nb) for nb in (1, 2))
    a, b = torch.tensor(x[:50]).float(), torch.tensor(z[:50]).float()
    for critic in (once, mean):
        critic.limit(-torch.inf, term(a, b).detach().median())
    torch.testing.assert_close(mean(a, b), once(a, b))
