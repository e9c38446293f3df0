from __future__ import annotations

import math

import numpy as np
import pytest

from art_mi.report.cells import accuracy_cell, ball, estimate_cell, listed, measured_cell, number, percent_cell, setting
from art_mi.results import Accuracy, MIEstimate


def test_numbers_have_fixed_decimals_and_no_negative_zero():
    assert (number(-0.0001), number(math.inf), number(-math.inf), number(2.0, 1)) == ("0.000", "∞", "-∞", "2.0")


def test_numbers_come_with_interval_and_unit():
    estimate = MIEstimate(1.5, (1.25, math.inf), "info_nce", "low", 500, 3)
    assert str(estimate_cell(estimate)) == "1.500 [1.250, ∞] nats"
    assert str(accuracy_cell(Accuracy(0.5, (0.4, 0.6135), 20))) == "50.0 [40.0, 61.4] %"
    assert str(percent_cell(0.25)) == "25.0 %"


def test_what_was_not_measured_is_a_dash():
    assert {str(cell) for cell in (percent_cell(None), accuracy_cell(None), measured_cell(None, 9))} == {"-"}


def test_an_accuracy_known_by_value_gets_the_interval_of_its_samples():
    assert measured_cell(0.75, 8) == accuracy_cell(Accuracy.of(np.arange(8) < 6))


@pytest.mark.parametrize(
    ("norm", "eps", "words"),
    [
        (math.inf, 8 / 255, "l_inf, eps 8/255 = 0.03137"),
        ("inf", 0.12, "l_inf, eps 0.12"),
        (2, 0.5, "l_2, eps 0.5"),
        (1.0, "per pixel", "l_1, eps per pixel"),
    ],
)
def test_a_ball_is_named_by_norm_and_radius(norm, eps, words):
    assert ball(norm, eps) == words


def test_settings_are_words():
    assert setting({"a": None, "b": [0.5, 1e-7], "c": (True, "x")}) == "a not set, b 0.5, 1e-07, c True, x"


def test_names_are_joined_as_in_a_sentence():
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
