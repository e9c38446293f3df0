from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from art_mi.codes import entropy, miller_madow, minimum_entropy_cover

LOG2 = math.log(2)


def test_entropies_by_hand() -> None:
    assert entropy(np.array([1, 1, 0, 2])) == pytest.approx(1.5 * LOG2)
    assert entropy(np.array([[5, 0], [0, 5]])) == pytest.approx(LOG2)
    assert entropy(np.array([7])) == 0.0
    assert math.copysign(1, entropy(np.array([7, 0]))) == 1
    assert miller_madow(np.array([1, 1, 0, 2])) == pytest.approx(1.5 * LOG2 + 2 / 8)
    assert miller_madow(np.array([9])) == 0.0


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any))
def test_entropy_lies_between_zero_and_log_of_the_codes_seen(counts: list[int]) -> None:
    array = np.array(counts)
    assert -1e-12 <= entropy(array) <= math.log(np.count_nonzero(array)) + 1e-12
    assert miller_madow(array) >= entropy(array)


def random_reach(seed: int) -> NDArray[np.bool_]:
    random = np.random.default_rng(seed)
    n, k = random.integers(6, 9), random.integers(2, 6)
    reachable = random.random((n, k)) < random.uniform(0.2, 0.8)
    reachable[np.arange(n), random.integers(0, k, n)] = True
    return reachable


def least_entropy(reachable: NDArray[np.bool_]) -> float:
    """Over every assignment there is: which code counts occur, one sample after the other."""
    counts = {(0,) * reachable.shape[1]}
    for row in reachable:
        counts = {(*c[:j], c[j] + 1, *c[j + 1 :]) for c in counts for j in np.flatnonzero(row)}
    return min(entropy(np.array(c)) for c in counts)


def assert_valid(cover_assignment: NDArray[np.intp], value: float, reachable: NDArray[np.bool_]) -> None:
    assert reachable[np.arange(len(reachable)), cover_assignment].all()
    assert entropy(np.bincount(cover_assignment)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("seed", range(100))
def test_covers_agree_with_every_assignment_tried(seed: int) -> None:
    reachable = random_reach(seed)
    least = least_entropy(reachable)
    exact, greedy = minimum_entropy_cover(reachable), minimum_entropy_cover(reachable, exact_up_to=0)
    assert exact.entropy == pytest.approx(least, abs=1e-9)
    assert exact.lower == exact.entropy
    assert least - 1e-12 <= greedy.entropy <= least + 1
    assert greedy.lower <= least + 1e-12
    assert greedy.lower <= greedy.entropy
    for cover in (exact, greedy):
        assert_valid(cover.assignment, cover.entropy, reachable)


def test_the_brute_force_itself_agrees_with_a_plain_product() -> None:
    reachable = random_reach(1)[:6]
    choices = itertools.product(*(np.flatnonzero(row) for row in reachable))
    assert least_entropy(reachable) == pytest.approx(min(entropy(np.bincount(c)) for c in choices))


def hypercube(d: int, flips: int) -> NDArray[np.bool_]:
    codes = np.array(list(itertools.product([0, 1], repeat=d)))
    return (codes[:, None] != codes[None]).sum(-1) <= flips


@pytest.mark.parametrize(("d", "flips", "truth"), [(3, 1, LOG2), (5, 2, LOG2), (7, 1, 4 * LOG2), (7, 3, LOG2)])
def test_perfect_codes_cover_the_hypercube(d: int, flips: int, truth: float) -> None:
    cover = minimum_entropy_cover(hypercube(d, flips))
    assert cover.entropy == pytest.approx(truth, abs=1e-9)
    assert cover.lower == pytest.approx(truth, abs=1e-9)


@pytest.mark.parametrize(("d", "flips"), [(4, 1), (6, 1), (6, 2)])
def test_without_a_perfect_code_the_ball_volume_still_bounds_from_below(d: int, flips: int) -> None:
    volume = sum(math.comb(d, i) for i in range(flips + 1))
    cover = minimum_entropy_cover(hypercube(d, flips))
    assert cover.entropy >= d * LOG2 - math.log(volume) - 1e-12
    assert cover.lower >= d * LOG2 - math.log(volume) - 1e-12


@pytest.mark.parametrize(
    ("cells", "eps", "truth"),
    [(2, 0.25, 0.66156), (3, 0.25, 1.02818), (4, 0.25, 1.30510), (4, 0.1, 1.37372), (4, 0.5, 0.97431)],
)
def test_strips_at_the_steps_of_a_floor_go_to_one_side_each(cells: int, eps: float, truth: float) -> None:
    x = (np.arange(20_000) + 0.5) * cells / 20_000
    codes = np.arange(cells)
    reachable = (np.floor(x - eps)[:, None] <= codes) & (codes <= np.floor(x + eps)[:, None])
    assert minimum_entropy_cover(reachable).entropy == pytest.approx(truth, abs=1e-3)


def test_samples_that_reach_one_code_only_stay_there() -> None:
    codes = np.array([0, 2, 2, 1, 0, 2])
    cover = minimum_entropy_cover(codes[:, None] == np.arange(4))
    np.testing.assert_array_equal(cover.assignment, codes)
    assert cover.entropy == pytest.approx(entropy(np.bincount(codes)))


@pytest.mark.parametrize("exact_up_to", [0, 12])
def test_a_code_that_everyone_reaches_leaves_no_information(exact_up_to: int) -> None:
    reachable = np.eye(5, dtype=bool)
    reachable[:, 3] = True
    cover = minimum_entropy_cover(reachable, exact_up_to=exact_up_to)
    assert (cover.entropy, cover.lower) == (0.0, 0.0)
    assert (cover.assignment == 3).all()


def test_a_sample_without_any_code_is_refused() -> None:
    reachable = np.eye(3, dtype=bool)
    reachable[1] = False
    with pytest.raises(ValueError, match="`reachable` must hold a code for every sample"):
        minimum_entropy_cover(reachable)


def test_codes_that_another_one_includes_are_not_counted() -> None:
    """Of fifteen codes three are needed, few enough for the exact search; of two alike the first is taken."""
    needed = hypercube(2, 1)[:, :3]
    included = needed[:, :, None] & np.random.default_rng(0).integers(0, 2, (4, 1, 4)).astype(bool)
    cover = minimum_entropy_cover(np.hstack([needed, included.reshape(4, 12)]))
    assert cover.lower == cover.entropy == pytest.approx(least_entropy(needed))
    assert set(cover.assignment) <= {0, 1, 2}
    assert_valid(cover.assignment, cover.entropy, needed)
