"""When the constraint of an encoder counts as held: courses made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from experiments import tau

RESTING = [3.0] * 8
FALLING = [4.4 - 0.2 * epoch for epoch in range(8)]
SETTLING = [2.58 + 0.06 * epoch for epoch in range(8)]


def encoder(vulnerability: list[float], beta: float, seed: int) -> dict[str, Any]:
    history = [{"vulnerability": read, "beta": beta} for read in vulnerability]
    return {"setting": {"options": {"tau": 3.0}}, "seed": seed, "history": history}


@pytest.mark.parametrize(
    ("courses", "beta", "holds", "said"),
    [
        ([RESTING], 0.5, True, "of 8 epochs it was in 8, and at most that above it in 8"),
        ([[read + 1 for read in RESTING]], 0.5, False, "it was in 0, and at most that above it in 0"),
        ([[read + 1 for read in RESTING]], 1.0, False, "beta 1.00 (its limit)"),
        ([[read - 1 for read in RESTING]], 0.0, None, "slack"),
        ([[read - 1 for read in RESTING]], 0.5, False, "at most that above it in 8"),
        ([[*RESTING[:-2], 3.2, 3.05]], 0.5, None, "still moving"),
        ([FALLING], 0.5, None, "still moving; of 8 epochs it was in 1, and at most that above it in 1"),
        ([SETTLING], 0.5, True, "in 2, and at most that above it in 8"),
        ([RESTING, [read + 1 for read in RESTING]], 0.5, None, "runs differ"),
    ],
)
def test_a_constraint_is_held_where_the_reading_rests(
    courses: list[list[float]], beta: float, holds: bool | None, said: str
) -> None:
    rows = [encoder(course, beta, seed) for seed, course in enumerate(courses)]
    relation = tau._landed("tau 3", rows)
    assert relation.holds is holds
    assert said in relation.found
