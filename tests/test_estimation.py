from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from art_mi.bounds import MovingAverageDV, donsker_varadhan, info_nce, nwj
from art_mi.copula import copula_critic
from art_mi.critics import SumCritic, separable_critic
from art_mi.datasets import load
from art_mi.distributions import Problem, problems
from art_mi.estimation import (
    BoundReading,
    block_scores,
    cross_splits,
    default_critic,
    estimate_mutual_information,
    fit_critic,
    read_bound,
    split_samples,
)
from art_mi.fitting import supported
from art_mi.reading import scores_by_block
from art_mi.results import Flag

PROBLEMS = {p.name: p for p in problems()}
QUICK = {"max_steps": 20, "nb_folds": 1, "nb_bootstrap": 200}


def tensors(problem: Problem, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    x, z = problem.sample(n, seed)
    return torch.tensor(x).float(), torch.tensor(z).float()


@given(n=st.integers(20, 300), copies=st.integers(1, 3), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_splits_are_disjoint_cover_everything_and_keep_equal_rows_together(n: int, copies: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((n, 2)).repeat(copies, 0)
    split = split_samples(rows, random_state=seed)
    parts = [split.fit.tolist(), split.select.tolist(), split.report.tolist()]
    assert sorted(parts[0] + parts[1] + parts[2]) == list(range(len(rows)))
    groups = [set(np.asarray(part) // copies) for part in parts]
    assert groups[0].isdisjoint(groups[1] | groups[2])
    assert groups[1].isdisjoint(groups[2])


def test_the_rows_of_a_discrete_variable_are_split_freely() -> None:
    x = np.random.default_rng(0).integers(0, 3, 1000)
    split = split_samples(x[:, None], random_state=0)
    assert [len(split.fit), len(split.select), len(split.report)] == [600, 150, 250]
    assert set(x[split.report.numpy()]) == {0, 1, 2}


def test_the_report_parts_of_four_folds_are_a_partition() -> None:
    x = np.random.default_rng(0).standard_normal((1000, 3))
    splits = cross_splits(x, random_state=1, fractions=(0.65, 0.1, 0.25), nb_folds=4)
    assert sorted(torch.cat([s.report for s in splits]).tolist()) == list(range(1000))
    for split in splits:
        assert sorted(torch.cat([split.fit, split.select, split.report]).tolist()) == list(range(1000))


def test_fractions_that_are_not_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="`fractions` must be three positive numbers with sum 1"):
        split_samples(np.zeros((10, 1)), random_state=0, fractions=(0.6, 0.6, -0.2))


def test_global_random_state_is_neither_used_nor_changed() -> None:
    x, z = PROBLEMS["bivariate 0.75"].sample(600, 0)
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = estimate_mutual_information(x, z, **QUICK)  # type: ignore[arg-type]
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002
    assert states[2] == random.getstate()
    torch.rand(3)
    second = estimate_mutual_information(x, z, **QUICK)  # type: ignore[arg-type]
    assert first.value == second.value
    np.testing.assert_array_equal(first.replicates, second.replicates)


def test_squares_of_pairs_hold_joint_pairs_on_their_diagonals_and_every_sample() -> None:
    x, z = tensors(PROBLEMS["dense 2x2"], 50)
    critic = copula_critic(x.double().numpy(), z.double().numpy())
    with torch.no_grad():
        stack, whole = block_scores(critic, x, z, 16), critic(x, z)
    assert stack.shape == (4, 16, 16)
    torch.testing.assert_close(stack[0], whole[:16, :16], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(stack[-1], whole[-16:, -16:], atol=1e-4, rtol=1e-4)


class Dot(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.scale * x @ z.mT


def test_any_module_of_two_arguments_is_a_critic() -> None:
    x, z = tensors(PROBLEMS["two pairs 3x3"], 2000)
    split = split_samples(x, random_state=0)
    critic = fit_critic(Dot(), x, z, split, max_steps=100, lr=0.05)
    value = read_bound(critic, x, z, split.report, nb_bootstrap=10).values["donsker_varadhan"]
    assert 0.3 < value < PROBLEMS["two pairs 3x3"].mi


@pytest.mark.parametrize("bound", [donsker_varadhan, nwj, info_nce, MovingAverageDV(0.1)])
def test_fitting_raises_the_bound_on_pairs_it_has_not_seen(bound: object) -> None:
    x, z = tensors(PROBLEMS["two points, Gaussian noise 1.0, dim 1"], 2000)
    split = split_samples(x, random_state=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = separable_critic(1, 1, width=32, dim=8)
    before = read_bound(critic, x, z, split.report, nb_bootstrap=10).values["donsker_varadhan"]
    fit_critic(critic, x, z, split, bound=bound, max_steps=150)  # type: ignore[arg-type]
    after = read_bound(critic, x, z, split.report, nb_bootstrap=10).values["donsker_varadhan"]
    assert before == 0.0
    assert after > 0.2


def test_the_best_state_on_the_select_split_is_restored() -> None:
    x, z = tensors(PROBLEMS["independent 5x5"], 400)
    split = split_samples(x, random_state=0)
    history: list[float] = []
    critic = default_critic(x, z, split.fit)
    fit_critic(critic, x, z, split, max_steps=60, lr=0.02, progress=lambda step, value: history.append(value))
    kept = read_bound(critic, x, z, split.select, nb_bootstrap=1).values["donsker_varadhan"]
    assert kept >= max(history) - 1e-5


def test_a_perturbation_replaces_batches_and_validation_pairs() -> None:
    x, z = tensors(PROBLEMS["bivariate 0.95"], 800)
    split = split_samples(x, random_state=0)
    seen: set[int] = set()

    def perturb(index: Tensor, critic: nn.Module) -> tuple[Tensor, Tensor]:
        seen.update(index.tolist())
        return x[index], torch.zeros_like(z[index]) + z[index].flip(0)

    critic = fit_critic(default_critic(x, z, split.fit), x, z, split, max_steps=40, batch_size=128, perturb=perturb)
    assert seen <= set(split.fit.tolist()) | set(split.select.tolist())
    assert set(split.select.tolist()) <= seen
    assert read_bound(critic, x, z, split.report, nb_bootstrap=1).values["donsker_varadhan"] < 0.3


def test_a_fitted_critic_is_bent_and_shrunk_and_can_be_fitted_again() -> None:
    x, z = tensors(PROBLEMS["independent 5x5"], 600)
    split = split_samples(x, random_state=0)
    critic = default_critic(x, z, split.fit)
    fit_critic(critic, x, z, split, max_steps=20)
    assert 0.0 <= critic.factor < 0.5
    fit_critic(critic, x, x, split, max_steps=60)
    low, high = critic.low.clone(), critic.high.clone()
    with torch.no_grad():
        assert donsker_varadhan(critic(x, x)) > 1.0
        critic.release()
        expected = supported(scores_by_block(critic, x[split.select], x[split.select]))
    torch.testing.assert_close((low.double(), high.double()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_two_samples_hold_at_most_half_of_the_partition(scale: float) -> None:
    scores = scale * torch.randn(40, 40, generator=torch.Generator().manual_seed(0)).double()
    scores[3, 5] = scores[5, 3] = 100.0  # twins
    low, high = supported([scores])
    either = torch.maximum(scores, scores.T)[tuple(torch.triu_indices(40, 40, 1))].clamp(max=high)
    partition = either.logsumexp(0)
    assert either.amax() <= partition - math.log(2) + 1e-6
    torch.testing.assert_close(high, partition - math.log(2))
    torch.testing.assert_close((low + high) / 2, partition - math.log(len(either)))


def injective(seed: int) -> tuple[Tensor, Tensor]:
    """Noise of 80 columns through random weights, or digits, whose columns take few values."""
    generator = torch.Generator().manual_seed(seed)
    if seed < 5:
        x, weight = torch.rand(400, 80, generator=generator) - 0.5, torch.randn(80, 50, generator=generator)
    else:
        digits = torch.from_numpy(load("digits").x_train[:500]).flatten(1)
        x, weight = digits - 0.3, torch.randn(64, 64, generator=generator) / 8
    return x, torch.relu(x @ weight)


@pytest.mark.parametrize("seed", [1, 5, 6])
def test_no_single_pair_decides_what_is_read_of_an_injective_map(seed: int) -> None:
    x, z = injective(seed)
    split = split_samples(x, random_state=seed)
    estimate = estimate_mutual_information(x, z, split=split, max_steps=100, random_state=seed)
    assert estimate.value > 0.9 * math.log(len(split.report))
    assert estimate.confidence_interval[0] > 0.7 * math.log(len(split.report))
    assert Flag.SATURATED in estimate.flags


def test_no_steps_leave_the_critic_as_it_is() -> None:
    x, z = tensors(PROBLEMS["bivariate 0.75"], 400)
    split = split_samples(x, random_state=0)
    critic = default_critic(x, z, split.fit)
    before = [p.clone() for p in critic.parameters()]
    fit_critic(critic, x, z, split, max_steps=0)
    assert all(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))


def test_readings_agree_with_the_bounds_on_one_block() -> None:
    x, z = tensors(PROBLEMS["dense 2x2"], 120)
    critic = default_critic(x, z, torch.arange(120))
    with torch.no_grad():
        scores = critic(x[20:80], z[20:80]).double()
    reading = read_bound(critic, x, z, torch.arange(20, 80), nb_bootstrap=5, log_partition=0.3)
    assert reading.values["donsker_varadhan"] == pytest.approx(donsker_varadhan(scores).item(), abs=1e-5)
    assert reading.values["nwj"] == pytest.approx(nwj(scores - 0.3).item(), abs=1e-5)
    assert reading.values["info_nce"] == pytest.approx(info_nce(scores).item(), abs=1e-5)


def test_a_replicate_is_the_bound_of_the_resampled_pairs_without_a_sample_against_itself() -> None:
    x, z = tensors(PROBLEMS["dense 2x2"], 60)
    critic = default_critic(x, z, torch.arange(60))
    reading = read_bound(critic, x, z, torch.arange(60), nb_bootstrap=3, random_state=7)
    counts = np.random.default_rng(7).multinomial(60, np.full(60, 1 / 60), size=3)
    with torch.no_grad():
        scores = critic(x, z).double().numpy()
    for replicate, w in zip(reading.replicates["donsker_varadhan"], counts, strict=True):
        chosen = np.repeat(np.arange(60), w)
        other = chosen[:, None] != chosen[None]
        partition = np.exp(scores[np.ix_(chosen, chosen)][other]).mean()
        assert replicate == pytest.approx(scores.diagonal()[chosen].mean() - math.log(partition), abs=1e-5)


def test_equal_seeds_pair_the_replicates_of_two_readings() -> None:
    x, z = tensors(PROBLEMS["two pairs 3x3"], 1000)
    critic = default_critic(x, z, torch.arange(500))
    report = torch.arange(500, 1000)
    first, again = (read_bound(critic, x, z, report, random_state=3) for _ in range(2))
    moved = read_bound(critic, x, z + 0.01, report, random_state=3)
    name = "donsker_varadhan"
    np.testing.assert_array_equal(first.replicates[name], again.replicates[name])
    assert (first.replicates[name] - moved.replicates[name]).std() < 0.2 * first.replicates[name].std()


def test_an_unknown_bound_is_refused_when_reading() -> None:
    x, z = tensors(PROBLEMS["dense 2x2"], 20)
    with pytest.raises(ValueError, match=r"`bounds` must be one of .*, got 'mine'"):
        read_bound(Dot(), x, z, torch.arange(20), bounds=("mine",))


@pytest.mark.parametrize("name", ["independent 1x1", "independent 5x5"])
def test_independent_variables_share_nothing(name: str) -> None:
    x, z = PROBLEMS[name].sample(3000, 5)
    estimate = estimate_mutual_information(x, z, max_steps=60)
    assert estimate.confidence_interval[0] <= 0.0 <= estimate.confidence_interval[1]
    assert abs(estimate.value) < 0.01


@pytest.mark.parametrize(("correlation", "silent"), [(0.0, (8, 12)), (0.24, (0, 0))])
def test_no_fold_of_dependent_pairs_is_silenced_and_most_of_independent_ones_are(
    correlation: float, silent: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weak dependence is not significant on the select pairs of each fold, but is on those of all."""
    factors: list[float] = []

    def read(critic: SumCritic, *args: Any, **kwargs: Any) -> BoundReading:
        factors.append(float(critic.factor))
        return read_bound(critic, *args, **kwargs)

    monkeypatch.setattr("art_mi.estimation.read_bound", read)
    for seed in range(3):
        x, noise = np.random.default_rng(seed).standard_normal((2, 1000))
        z = correlation * x + math.sqrt(1 - correlation**2) * noise
        estimate = estimate_mutual_information(x, z, max_steps=4, nb_bootstrap=100, random_state=seed)
        if not any(factors[-4:]):
            assert estimate.value == pytest.approx(0.0, abs=1e-9)
    assert silent[0] <= factors.count(0.0) <= silent[1]


@pytest.mark.parametrize(
    "name", ["two pairs 5x5", "table 3x4", "half-cube 1x1", "two points, Gaussian noise 1.5, dim 10"]
)
def test_estimates_are_near_the_truth(name: str) -> None:
    problem = PROBLEMS[name]
    estimate = estimate_mutual_information(*problem.sample(4000, 2), random_state=2, max_steps=100)
    assert estimate.value == pytest.approx(problem.mi, abs=max(0.1, 0.1 * problem.mi))
    assert estimate.confidence_interval[0] < estimate.value < estimate.confidence_interval[1]
    assert estimate.bounds["nwj"] <= estimate.value + 1e-9
    assert estimate.bounds["info_nce"] == pytest.approx(estimate.value, abs=0.1)


def test_scale_order_and_constant_columns_do_not_matter() -> None:
    x, z = PROBLEMS["two pairs 3x3"].sample(2000, 0)
    base = estimate_mutual_information(x, z, **QUICK).value  # type: ignore[arg-type]
    for other in (1e-3 * z, 1e3 * z, np.hstack([z, np.ones((2000, 1))])):
        assert estimate_mutual_information(x, other, **QUICK).value == pytest.approx(base, abs=0.02)  # type: ignore[arg-type]


def test_images_vectors_integers_and_tensors_are_accepted() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(500, 1, 8, 8)).astype(np.float32)
    z = images.mean((1, 2, 3)) + 0.01 * rng.standard_normal(500)
    assert estimate_mutual_information(images, z, **QUICK).nb_samples >= 120  # type: ignore[arg-type]
    labels = rng.integers(0, 3, 500)
    estimate = estimate_mutual_information(torch.tensor(images), labels, **QUICK)  # type: ignore[arg-type]
    assert estimate.value < 0.3
    wide = rng.standard_normal((500, 3, 30))
    assert math.isfinite(estimate_mutual_information(wide, wide[:, 0, 0] > 0, **QUICK).value)  # type: ignore[arg-type]


def test_a_given_split_is_used_once_and_a_given_critic_is_trained_in_place() -> None:
    x, z = tensors(PROBLEMS["two pairs 3x3"], 1000)
    split = split_samples(x, random_state=4)
    critic = Dot()
    before = critic.scale.item()
    estimate = estimate_mutual_information(x, z, split=split, critic=critic, max_steps=50)
    assert estimate.nb_samples == len(split.report)
    assert critic.scale.item() != before


def test_bits_are_nats_over_log_two() -> None:
    x, z = PROBLEMS["bivariate 0.95"].sample(600, 0)
    nats = estimate_mutual_information(x, z, **QUICK)  # type: ignore[arg-type]
    bits = estimate_mutual_information(x, z, unit="bits", **QUICK)  # type: ignore[arg-type]
    assert bits.value == pytest.approx(nats.value / math.log(2))


def test_flags_say_what_is_weak() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 4))
    same = estimate_mutual_information(x, x, **QUICK)  # type: ignore[arg-type]
    assert Flag.SATURATED in same.flags
    assert Flag.UNDERSAMPLED in same.flags
    noise = estimate_mutual_information(x, rng.standard_normal((600, 4)), **QUICK)  # type: ignore[arg-type]
    assert Flag.SATURATED not in noise.flags
    assert (Flag.NEGATIVE in noise.flags) == (noise.value < 0)
    wide = estimate_mutual_information(
        rng.standard_normal((600, 60)), rng.standard_normal((600, 60)), critic=_Memory(), max_steps=0, nb_bootstrap=50
    )
    assert Flag.CRITIC_OVERFIT not in wide.flags


class _Memory(nn.Module):
    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return x[:, :1] * 0 + z[:, 0] * 0


def test_a_critic_that_knows_its_fitting_pairs_by_heart_is_flagged() -> None:
    rng = np.random.default_rng(0)
    x, z = torch.tensor(rng.standard_normal((600, 2))).float(), torch.tensor(rng.standard_normal((600, 2))).float()
    split = split_samples(x, random_state=0)

    class Heart(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            known_a = (a[:, None] == x[split.fit]).all(-1).float()
            known_b = (b[:, None] == z[split.fit]).all(-1).float()
            return 3.0 * known_a @ known_b.mT

    estimate = estimate_mutual_information(x, z, critic=Heart(), split=split, max_steps=0, nb_bootstrap=50)
    assert Flag.CRITIC_OVERFIT in estimate.flags
    assert estimate.value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "z", "options", "error", "match"),
    [
        (np.ones((500, 2)), np.zeros((499, 1)), {}, ValueError, "equal length, got 500 and 499"),
        (np.eye(500), np.ones(500), {}, ValueError, "`z` must not be constant"),
        (np.ones(500), np.arange(500), {}, ValueError, "`x` must not be constant"),
        (np.arange(500), np.full(500, np.nan), {}, ValueError, "`z` must be finite"),
        (np.full(500, np.inf), np.arange(500), {}, ValueError, "`x` must be finite"),
        (np.arange(500), np.zeros((500, 1, 8, 8)), {}, ValueError, r"`z` must have shape \(n, d\) or \(n,\)"),
        (np.float64(3), np.arange(5), {}, ValueError, "`x` must be real of shape"),
        (np.arange(300), np.arange(300), {}, ValueError, "at least 100 report pairs, got 75"),
        (np.arange(500), np.arange(500), {"bound": "mine"}, ValueError, "`bound` must be one of .*, got 'mine'"),
        (np.arange(500), np.arange(500), {"unit": "bans"}, ValueError, "`unit` must be one of .*, got 'bans'"),
        (
            np.arange(500),
            np.arange(500),
            {"nb_folds": 5},
            ValueError,
            "`nb_folds` must be an integer from 1 to 4, got 5",
        ),
        (
            np.arange(500),
            np.arange(500),
            {"nb_seeds": 0},
            ValueError,
            "`nb_seeds` must be an integer of at least 1, got 0",
        ),
        (np.array(["a"] * 500), np.arange(500), {}, TypeError, "`x` must be numeric, got dtype"),
    ],
)
def test_bad_input_is_refused_before_any_work(x, z, options, error, match) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=match):
        estimate_mutual_information(x, z, **options)


def test_data_sorted_by_class_reads_like_shuffled_data() -> None:
    rng = np.random.default_rng(0)
    x = np.sort(rng.integers(0, 4, 4000)).astype(float) * 3 + rng.standard_normal(4000)
    z = x + rng.standard_normal(4000)
    order = rng.permutation(4000)
    values = [estimate_mutual_information(a, b, **QUICK).value for a, b in ((x, z), (x[order], z[order]))]  # type: ignore[arg-type]
    assert values[0] == pytest.approx(values[1], abs=0.05)


def test_gradients_switched_off_outside_do_not_matter() -> None:
    x, z = PROBLEMS["bivariate 0.95"].sample(600, 0)
    with torch.no_grad():
        off = estimate_mutual_information(x, z, **QUICK).value  # type: ignore[arg-type]
    assert off == estimate_mutual_information(x, z, **QUICK).value  # type: ignore[arg-type]


def test_info_nce_is_saturated_near_the_logarithm_of_its_block() -> None:
    x = np.random.default_rng(0).standard_normal((2000, 4))
    estimate = estimate_mutual_information(x, x, bound="info_nce", **QUICK)  # type: ignore[arg-type]
    assert estimate.ceiling is not None
    assert estimate.value <= estimate.ceiling < math.log(500)
    assert Flag.SATURATED in estimate.flags


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    x, z = PROBLEMS["bivariate 0.95"].sample(600, 0)
    estimate_mutual_information(x, z, **QUICK)  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""
    estimate_mutual_information(x, z, verbose=True, **QUICK)  # type: ignore[arg-type]
    assert "fit a critic" in capsys.readouterr().err


def test_the_largest_seed_is_taken_and_the_next_is_not() -> None:
    x, z = tensors(PROBLEMS["bivariate 0.5"], 500)
    found = estimate_mutual_information(x, z, random_state=2**32 - 1, verbose=False, **{**QUICK, "nb_folds": 2})
    assert math.isfinite(found.value)
    with pytest.raises(ValueError, match=r"`random_state` must be an integer from 0 to 4294967295, got 4294967296"):
        estimate_mutual_information(x, z, random_state=2**32)
