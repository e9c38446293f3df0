from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest

from art_mi.report.tables import text_table, verdict
from art_mi.results import Flag, MIEstimate, RepresentationVulnerability


@dataclass(frozen=True)
class Measured:
    value: float
    confidence_interval: tuple[float, float]


def estimate(value, low, high, **changes):
    return replace(MIEstimate(value, (low, high), "noisy channel", "two-sided", 2000, 7), **changes)


def result(drop, low, high, **changes):
    found = RepresentationVulnerability(
        normal=estimate(2.875, 2.85, 3.0),
        worst_case=estimate(2.875 - drop, 0.5, 0.75),
        vulnerability=estimate(drop, low, high),
        accuracy_ceiling=0.2143,
        ceilings={"exact": 0.2143},
        ceiling_direction="upper bound",
        method="noisy",
        layer="avgpool",
        flags=(),
        settings={"norm": math.inf, "eps": 0.031},
    )
    return replace(found, **changes)


PAIR = {"plain": result(2.25, 2.125, 2.375), "robust": result(0.5, 0.375, 0.625, measured_accuracy=0.1234)}
ACCURACIES = {"plain": {"clean accuracy": Measured(0.952, (0.94, 0.96)), "PGD-20": Measured(0.004, (0.0, 0.01))}}


def test_the_table_shows_every_number_with_its_interval_and_unit():
    lines = {line[:24].strip(): line[24:].split() for line in text_table(PAIR, ACCURACIES).splitlines()}
    assert lines["clean accuracy"] == ["95.2", "[94.0,", "96.0]", "%", "-"]
    assert lines["PGD-20"] == ["0.4", "[0.0,", "1.0]", "%", "-"]
    assert lines["normal information"] == ["2.875", "[2.850,", "3.000]", "nats"] * 2
    assert lines["vulnerability"] == ["2.250", "[2.125,", "2.375]", "nats", "0.500", "[0.375,", "0.625]", "nats"]
    assert lines["accuracy ceiling"] == ["21.4", "%", "21.4", "%"]
    assert lines["accuracy measured there"] == ["-", "12.3", "%"]
    assert lines["flags"] == ["none", "none"]


def test_two_models_fit_a_hundred_columns_whatever_their_names_and_flags():
    loud = {"m" * 80: result(2, 1, 3, flags=tuple(Flag)), "n " * 60: result(2, -math.inf, math.inf)}
    assert max(map(len, text_table(loud).splitlines())) <= 100
    assert all(str(flag) in text_table(loud) for flag in Flag)


def test_control_characters_in_a_name_do_not_reach_the_terminal():
    assert "\x1b" not in text_table({"\x1b[2Jred": PAIR["plain"]})


def test_an_order_is_claimed_where_the_intervals_are_apart():
    sentence = verdict(PAIR)
    assert "the representation of robust loses less information than that of plain: 0.500 nats" in sentence
    assert "[2.125, 2.375]" in sentence


def test_no_order_is_claimed_where_the_intervals_overlap():
    sentence = verdict({"a": result(2.0, 1.5, 2.5), "b": result(1.0, 0.5, 1.5)})
    assert sentence.startswith("The 95 % intervals overlap, so no order")
    assert "less information" not in sentence


def test_three_models_are_ordered_only_where_their_intervals_are_apart():
    sentence = verdict({"c": result(3, 2.9, 3.1), "b": result(1.1, 1, 1.2), "a": result(1, 0.9, 1.1)})
    assert (
        "of a loses less information than that of c; the representation of b loses less information than that of c"
        in sentence
    )
    assert sentence.endswith("no other order is claimed.")


@pytest.mark.parametrize("flag", [Flag.ZERO_GRADIENT, Flag.CONTRADICTION])
def test_a_model_whose_attack_failed_is_never_the_less_vulnerable_one(flag):
    sentence = verdict({"plain": PAIR["plain"], "masked": replace(PAIR["robust"], flags=(flag,))})
    assert sentence.startswith("No order of vulnerability is claimed")
    assert "the flags of masked say that more may be lost" in sentence


def test_models_measured_differently_are_not_compared():
    other = replace(PAIR["robust"], settings={"norm": math.inf, "eps": 0.1})
    assert verdict({"plain": PAIR["plain"], "robust": other}).startswith("The models were measured differently (eps)")


def test_units_are_brought_together_before_the_models_are_compared():
    plain, robust = result(1.0, 0.9, 1.1), result(0.8, 0.75, 0.85).in_unit("bits")
    assert robust.vulnerability.value > plain.vulnerability.value
    assert "of robust loses less information than that of plain: 0.800 nats" in verdict(
        {"plain": plain, "robust": robust}
    )


def test_one_model_is_described_and_not_compared():
    assert verdict({"plain": PAIR["plain"]}).endswith(
        "of plain loses 2.250 nats [2.125, 2.375] of information (95 % interval in brackets)."
    )


@pytest.mark.parametrize("report", [text_table, verdict])
def test_no_model_at_all_is_an_error(report):
    with pytest.raises(ValueError, match="at least one model"):
        report({})


def test_accuracies_of_an_unknown_model_are_an_error():
    with pytest.raises(ValueError, match=r"must name models of `results` \(plain, robust\), got \['other'\]"):
        text_table(PAIR, {"other": {}})
