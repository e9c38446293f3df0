from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from art_mi.rules import BOOLEAN, NON_NEGATIVE, POSITIVE, PROPORTION, Rule, check, integer, one_of, or_none


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (NON_NEGATIVE, 0),
        (NON_NEGATIVE, np.float32(0.5)),
        (POSITIVE, 1e-300),
        (PROPORTION, 0),
        (PROPORTION, np.float32(1)),
        (BOOLEAN, False),
        (integer(0), np.int64(0)),
        (integer(2), 2),
        (one_of(("a", "b")), "b"),
        (or_none(POSITIVE), None),
        (or_none(POSITIVE), 2),
    ],
)
def test_what_keeps_its_rule_passes(rule: Rule, value: Any) -> None:
    assert check("value", value, rule) is value


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        (NON_NEGATIVE, -0.1, "a non-negative number, got -0.1"),
        (NON_NEGATIVE, math.nan, "a non-negative number, got nan"),
        (NON_NEGATIVE, math.inf, "a non-negative number, got inf"),
        (NON_NEGATIVE, True, "a non-negative number, got True"),
        (NON_NEGATIVE, "1", "a non-negative number, got '1'"),
        (POSITIVE, 0, "a positive number, got 0"),
        (PROPORTION, 1.5, r"a number between 0 and 1, got 1\.5"),
        (PROPORTION, math.nan, "a number between 0 and 1, got nan"),
        (BOOLEAN, 1, "True or False, got 1"),
        (integer(1), 0, "an integer of at least 1, got 0"),
        (integer(1), 2.0, r"an integer of at least 1, got 2\.0"),
        (integer(0), True, "an integer of at least 0, got True"),
        (one_of(("a", "b")), "c", "one of 'a', 'b', got 'c'"),
        (one_of(("a", "b")), ["a"], r"one of 'a', 'b', got \['a'\]"),
        (or_none(POSITIVE), 0, "None or a positive number, got 0"),
    ],
)
def test_a_breach_names_argument_rule_and_value(rule: Rule, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"`value` must be {message}"):
        check("value", value, rule)
