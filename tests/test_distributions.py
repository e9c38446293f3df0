from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from art_mi.distributions import (
    additive_uniform_information,
    binary_entropy,
    empirical_sign_worst_case,
    floor_worst_case,
    gaussian_information,
    linear_gaussian_information,
    linear_sign_worst_case,
    problems,
    student_information,
    table_information,
    theorem_3_2_bounds,
    two_point_gaussian_information,
    two_point_uniform_information,
    vulnerability_problems,
    zero_inflated_poisson_information,
)
from art_mi.distributions.mixtures import plane_mixture_information

LOG_2 = math.log(2.0)
PROBLEMS = problems()


def test_the_catalogue_has_at_least_forty_problems_with_names_of_their_own() -> None:
    assert len(PROBLEMS) >= 40
    assert len({p.name for p in PROBLEMS}) == len(PROBLEMS)
    assert max(p.sample(2)[0].shape[1] for p in PROBLEMS) == 32


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_samples_are_finite_repeatable_and_of_the_right_shape(problem) -> None:  # type: ignore[no-untyped-def]
    x, z = problem.sample(50, 3)
    assert x.shape[0] == z.shape[0] == 50
    assert x.ndim == z.ndim == 2
    assert np.isfinite(x).all()
    assert np.isfinite(z).all()
    again = problem.sample(50, np.random.default_rng(3))
    np.testing.assert_array_equal(x, again[0])
    np.testing.assert_array_equal(z, again[1])
    assert problem.mi >= 0


def test_a_sample_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="`n` must be at least 1, got 0"):
        PROBLEMS[0].sample(0)


def test_gaussian_information_of_two_variables_is_the_textbook_formula() -> None:
    for rho, expected in ((0.5, 0.143841), (0.9, 0.830366)):
        assert gaussian_information([[1, rho], [rho, 1]], 1) == pytest.approx(expected, abs=1e-6)


def test_a_linear_gaussian_channel_agrees_with_its_joint_covariance() -> None:
    a = np.random.default_rng(0).standard_normal((3, 6))
    joint = np.block([[np.eye(6), a.T], [a, a @ a.T + 0.49 * np.eye(3)]])
    assert linear_gaussian_information(a, 0.7) == pytest.approx(gaussian_information(joint, 6), abs=1e-10)


@pytest.mark.parametrize(("dim_x", "dim_z", "df"), [(1, 1, 1), (2, 3, 2), (3, 3, 5)])
def test_student_information_agrees_with_the_mean_log_ratio(dim_x: int, dim_z: int, df: int) -> None:
    d = dim_x + dim_z
    dispersion = 0.7 * np.eye(d) + 0.3
    samples = stats.multivariate_t(shape=dispersion, df=df, seed=0).rvs(200_000)

    def log_pdf(s: slice) -> np.ndarray:
        return np.asarray(stats.multivariate_t(shape=dispersion[s, s], df=df).logpdf(samples[:, s]))

    ratio = log_pdf(slice(0, d)) - log_pdf(slice(0, dim_x)) - log_pdf(slice(dim_x, d))
    exact = student_information(dispersion, dim_x, df)
    assert ratio.mean() == pytest.approx(exact, abs=5 * ratio.std() / math.sqrt(len(ratio)))


def test_student_information_tends_to_the_gaussian_one() -> None:
    dispersion = 0.5 * np.eye(4) + 0.5
    assert student_information(dispersion, 2, 1e6) == pytest.approx(gaussian_information(dispersion, 2), abs=1e-5)


@pytest.mark.parametrize("e", [0.1, 0.5, 0.75, 2.0])
def test_additive_uniform_information_is_the_entropy_of_the_sum_less_that_of_the_noise(e: float) -> None:
    grid = np.linspace(-e, 1 + e, 400_001)
    density = np.clip(np.minimum.reduce([grid + e, 1 + e - grid, np.full_like(grid, min(1, 2 * e))]), 0, None) / (2 * e)
    entropy = -integrate.trapezoid(density * np.log(np.clip(density, 1e-300, None)), grid)
    assert additive_uniform_information(e) == pytest.approx(entropy - math.log(2 * e), abs=1e-4)


def test_two_point_gaussian_information_has_the_published_values() -> None:
    for t, expected in ((1.5, 0.52678), (1.0, 0.33683), (0.5, 0.11142), (0.0, 0.0)):
        assert two_point_gaussian_information(t) == pytest.approx(expected, abs=1e-5)
    assert two_point_gaussian_information(12.0) == pytest.approx(LOG_2)
    assert two_point_gaussian_information(-1.0) == two_point_gaussian_information(1.0)


def test_two_point_gaussian_information_is_the_entropy_of_the_output_less_that_of_the_noise() -> None:
    grid = np.linspace(-12, 12, 20_001)
    density = 0.5 * stats.norm.pdf(grid - 0.8) + 0.5 * stats.norm.pdf(grid + 0.8)
    entropy = -integrate.trapezoid(density * np.log(density), grid)
    expected = entropy - 0.5 * math.log(2 * math.pi * math.e)
    assert two_point_gaussian_information(0.8) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("m", "h", "eps", "expected"),
    [(0.6, 1, 0, 0.41589), (0.6, 1, 0.25, 0.24260), (1.5, 1, 0.25, 0.69315), (0.6, 1, 0.6, 0.0)],
)
def test_two_point_uniform_information_has_the_published_values(
    m: float, h: float, eps: float, expected: float
) -> None:
    assert two_point_uniform_information(max(m - eps, 0), h) == pytest.approx(expected, abs=1e-5)


def test_table_information_of_known_tables() -> None:
    assert table_information(np.eye(4)) == pytest.approx(math.log(4))
    assert table_information(np.outer([1, 2, 3], [4, 5])) == pytest.approx(0.0, abs=1e-12)
    assert table_information([[0.45, 0.05], [0.05, 0.45]]) == pytest.approx(LOG_2 - binary_entropy(0.1))


def test_zero_inflated_poisson_information_agrees_with_a_sum_over_a_fine_grid() -> None:
    assert zero_inflated_poisson_information(0.0) == pytest.approx(0.30124, abs=1e-4)
    edges = stats.expon.ppf(np.linspace(0, 1, 4001)[:-1] + 1 / 8000)
    table = (1 - 0.15) * stats.poisson.pmf(np.arange(60), edges[:, None])
    table[:, 0] += 0.15
    assert zero_inflated_poisson_information(0.15) == pytest.approx(table_information(table), abs=1e-3)
    assert zero_inflated_poisson_information(0.15) < 0.85 * zero_inflated_poisson_information(0.0)


def test_the_integral_over_the_plane_is_exact_for_one_gaussian_and_agrees_with_a_mean_log_ratio() -> None:
    one = plane_mixture_information([1], [[0, 0]], [[[1, 0.6], [0.6, 1]]])
    assert one == pytest.approx(-0.5 * math.log(1 - 0.36), abs=1e-6)
    crossing = next(p for p in PROBLEMS if p.name.startswith("crossing"))
    x, z = crossing.sample(100_000, 0)
    pairs = np.hstack([x, z])
    parts = [stats.multivariate_normal(cov=[[1, r], [r, 1]]).pdf(pairs) for r in (0.9, -0.9)]
    ratio = np.log(np.mean(parts, 0)) - stats.norm.logpdf(x[:, 0]) - stats.norm.logpdf(z[:, 0])
    assert ratio.mean() == pytest.approx(crossing.mi, abs=5 * ratio.std() / math.sqrt(len(ratio)))


VECTORS = [
    (1, 0.25, 0.68581144, 0.00733574, 0.06797210, 0.00231189, 0.00926909),
    (1, 0.5, 0.66363900, 0.02950818, 0.14988228, 0.01127479, 0.04562770),
    (1, 1, 0.57449028, 0.11865690, 0.34134475, 0.05944573, 0.25571394),
    (2, 0.5, 0.69131002, 0.00183716, 0.04405707, 0.00097083, 0.00388709),
    (0, 0.5, 0.61792552, 0.07522166, 0.19146246, 0.01844260, 0.07522166),
    (1, 2, 0.27877566, 0.41437152, 0.68268949, 0.25571394, LOG_2),
]


@pytest.mark.parametrize(("a", "e", "worst", "rv", "gap", "low", "up"), VECTORS)
def test_the_worst_case_of_a_sign_has_the_tabulated_values(
    a: float, e: float, worst: float, rv: float, gap: float, low: float, up: float
) -> None:
    exact = linear_sign_worst_case(a, 1.0, e)
    assert exact.normal == pytest.approx(LOG_2)
    assert exact.worst_case == pytest.approx(worst, abs=1e-7)
    assert exact.vulnerability == pytest.approx(rv, abs=1e-7)
    assert exact.adversarial_gap == pytest.approx(gap, abs=1e-7)
    assert theorem_3_2_bounds(gap) == pytest.approx((low, up), abs=1e-7)


def test_the_worst_case_of_a_sign_with_bias_has_the_tabulated_value() -> None:
    m, r = 0.3 * math.sqrt(10), 0.1 * math.sqrt(10)
    assert linear_sign_worst_case(m, 1.0, r).worst_case == pytest.approx(0.6802, abs=5e-5)
    biased = linear_sign_worst_case(m, 1.0, r, bias=0.4)
    assert biased.normal == pytest.approx(0.6724, abs=5e-5)
    assert biased.worst_case == pytest.approx(0.6268, abs=5e-5)


def test_the_corrected_theorem_holds_for_random_settings() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        exact = linear_sign_worst_case(rng.uniform(0, 3), rng.uniform(0.3, 2), rng.uniform(0, 3))
        low, up = theorem_3_2_bounds(exact.adversarial_gap)
        assert low - 1e-9 <= exact.vulnerability <= up + 1e-9


@pytest.mark.parametrize(
    ("cells", "eps", "truth"),
    [(1, 0.3, 0.0), (2, 0.25, 0.66156), (3, 0.25, 1.02818), (4, 0.25, 1.30510), (4, 0.1, 1.37372), (4, 0.5, 0.97431)],
)
def test_the_worst_case_of_a_floor_has_the_tabulated_values(cells: int, eps: float, truth: float) -> None:
    assert floor_worst_case(cells, eps) == pytest.approx(truth, abs=1e-5)
    assert floor_worst_case(cells, 0.0) == pytest.approx(math.log(cells))


def test_vulnerabilities_have_names_of_their_own_and_span_none_to_all_there_is() -> None:
    known = vulnerability_problems()
    assert len({problem.name for problem in known}) == len(known) >= 20
    lost = [1 - problem.worst_case / problem.normal for problem in known]
    assert (min(lost), max(lost)) == (0.0, 1.0)
    for problem in known:
        x = problem.sample(200, 3)
        assert len(x) >= 200
        assert x.shape[1] == problem.weight.shape[1]
        np.testing.assert_array_equal(x, problem.sample(200, 3))
    with pytest.raises(ValueError, match="`n` must be at least 1, got 0"):
        known[0].sample(0)


def test_worst_cases_of_perfect_codes_are_what_the_volume_of_the_ball_leaves() -> None:
    """A ball of k flips in d bits holds V codes, and a perfect code leaves d log 2 - log V."""
    for problem in vulnerability_problems():
        if problem.name.startswith("corners") and problem.settings["norm"] == 2:
            dim, flips = len(problem.weight), round((problem.settings["eps"] / 0.505) ** 2)
            volume = sum(math.comb(dim, k) for k in range(flips + 1))
            assert problem.worst_case == pytest.approx(dim * LOG_2 - math.log(volume))


def test_the_worst_case_of_a_sample_tends_to_the_closed_form_and_follows_reach_per_point() -> None:
    rng = np.random.default_rng(0)
    scores = rng.choice([-1.0, 1.0], 100_000) + rng.standard_normal(100_000)
    assert empirical_sign_worst_case(scores, 0.5) == pytest.approx(0.663639, abs=3e-3)
    assert empirical_sign_worst_case([-1.0, -0.1, 0.2, 1.0], [0.0, 0.1, 0.0, 0.0]) == pytest.approx(
        binary_entropy(0.75)
    )


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: binary_entropy(1.1), r"`p` must be a number between 0 and 1, got 1.1"),
        (lambda: gaussian_information(np.eye(2), 2), "`dim_x` must be an integer from 1 to 1, got 2"),
        (lambda: gaussian_information([[1, 2], [2, 1]], 1), "`covariance` must be positive definite"),
        (lambda: linear_gaussian_information([[1.0]], 0.0), "`noise_std` must be a positive number, got 0.0"),
        (lambda: student_information(np.eye(2), 1, 0), "`df` must be a positive number, got 0"),
        (lambda: table_information([[-1.0, 2.0]]), "`table` must hold non-negative weights"),
        (lambda: additive_uniform_information(0.0), "`half_width` must be a positive number, got 0.0"),
        (lambda: two_point_uniform_information(1.0, 0.0), "`h` must be a positive number, got 0.0"),
        (lambda: zero_inflated_poisson_information(1.0), r"`p` must be a number of at least 0 and below 1, got 1.0"),
        (lambda: linear_sign_worst_case(1.0, 0.0, 1.0), "`s` must be a positive number, got 0.0"),
        (lambda: linear_sign_worst_case(1.0, 1.0, -1.0), "`reach` must be a non-negative number, got -1.0"),
        (lambda: floor_worst_case(0, 0.1), "`cells` must be an integer of at least 1, got 0"),
        (lambda: floor_worst_case(2, 0.6), "`eps` must be a number between 0 and 1/2, got 0.6"),
        (lambda: theorem_3_2_bounds(1.5), r"`adversarial_gap` must be a number between 0 and 1, got 1.5"),
    ],
)
def test_values_outside_the_domain_are_refused(call, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        call()
