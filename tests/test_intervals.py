from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from art_mi import intervals
from art_mi.intervals import bootstrap, percentile_interval


def test_intervals_of_a_normal_mean_cover_it_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for repetition in range(300):
        sample = random.normal(2.0, 3.0, 80)
        replicates = bootstrap(sample.mean(), sample, random_state=repetition, nb_bootstrap=400)
        low, high = percentile_interval(replicates)
        covered += low <= 2.0 <= high
    assert 0.9 <= covered / 300 <= 0.98


def test_replicates_spread_like_the_standard_error_of_the_mean() -> None:
    sample = np.random.default_rng(1).exponential(size=500)
    replicates = bootstrap(sample.mean(), sample, random_state=0, nb_bootstrap=4000)
    assert replicates.shape == (4000,)
    assert replicates.std() == pytest.approx(sample.std() / np.sqrt(500), rel=0.05)
    assert replicates.mean() == pytest.approx(sample.mean(), abs=0.005)


def test_many_samples_are_resampled_in_parts_to_the_same_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = np.concatenate([np.zeros(150), np.random.default_rng(1).exponential(size=350) + 3])
    whole = bootstrap(0.0, sample, random_state=0, nb_bootstrap=4000)
    monkeypatch.setattr(intervals, "PART", 100)
    parts = bootstrap(0.0, sample, random_state=0, nb_bootstrap=4000)
    assert parts.mean() == pytest.approx(0.0, abs=0.005)
    assert parts.std() == pytest.approx(sample.std() / np.sqrt(500), rel=0.05)
    np.testing.assert_allclose(np.quantile(parts, [0.025, 0.975]), np.quantile(whole, [0.025, 0.975]), rtol=0.08)


def test_replicates_are_means_of_resampled_samples() -> None:
    replicates = bootstrap(0.5, np.array([0.0, 1.0]), random_state=0)
    assert set(replicates) == {0.0, 0.5, 1.0}


def test_equal_seeds_give_equal_resamples_and_others_do_not() -> None:
    sample = np.random.default_rng(2).normal(size=50)
    first = bootstrap(0.0, sample, random_state=7)
    np.testing.assert_array_equal(first, bootstrap(0.0, sample, random_state=7))
    assert not np.array_equal(first, bootstrap(0.0, sample, random_state=8))


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    sample = np.arange(20.0)
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = bootstrap(0.0, sample, random_state=1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(bootstrap(0.0, sample, random_state=1), first)


def test_the_difference_of_two_correlated_estimates_has_a_tighter_interval_than_either() -> None:
    random = np.random.default_rng(3)
    common = random.normal(size=400)
    first, second = common + 0.1 * random.normal(size=400), common + 0.1 * random.normal(size=400) - 0.5
    replicates = [bootstrap(s.mean(), s, random_state=5) for s in (first, second)]
    widths = [np.diff(percentile_interval(r))[0] for r in (*replicates, replicates[0] - replicates[1])]
    assert widths[2] < 0.3 * min(widths[:2])
    paired = bootstrap(first.mean() - second.mean(), first - second, random_state=5)
    np.testing.assert_allclose(replicates[0] - replicates[1], paired, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-100, 100)), st.floats(-10, 10))
def test_replicates_move_with_the_value_and_not_with_the_mean_of_the_influences(
    influence: np.ndarray, value: float
) -> None:
    base = bootstrap(0.0, influence, random_state=0, nb_bootstrap=50)
    np.testing.assert_allclose(
        bootstrap(value, influence + 3, random_state=0, nb_bootstrap=50), base + value, atol=1e-9
    )
    low, high = percentile_interval(base)
    assert base.min() <= low <= high <= base.max()


def test_an_estimate_that_no_sample_influences_has_an_interval_without_width() -> None:
    assert percentile_interval(bootstrap(1.5, np.full(10, 4.0), random_state=0)) == (1.5, 1.5)


def test_the_interval_holds_the_central_95_percent() -> None:
    assert percentile_interval(np.linspace(0, 1, 1001)) == pytest.approx((0.025, 0.975))
