from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from art_mi.report import card, verdict
from art_mi.report.tables import comparison_rows
from art_mi.results import (
    Accuracy,
    AttackedAccuracy,
    Flag,
    MIEstimate,
    ModelRecord,
    RepresentationVulnerability,
    RobustnessResult,
)


def estimate(value, low, high):
    return MIEstimate(value, (low, high), "noisy channel", "two-sided", 2000, 7)


def represented(name, drop, low, high, *, unit="nats", **changes):
    found = RepresentationVulnerability(
        normal=estimate(2.875, 2.85, 3.0),
        worst_case=estimate(2.875 - drop, 0.5, 0.75),
        vulnerability=estimate(drop, low, high),
        accuracy_ceiling=0.2143,
        ceilings={"exact": 0.2},
        ceiling_direction="upper bound",
        method="noisy",
        layer=None,
        flags=(),
        settings={"norm": "inf", "eps": 0.031},
    )
    return ModelRecord(name, representation=replace(found, **changes).in_unit(unit))


def attacked(name, hits, **changes):
    clean, worst = (Accuracy.of(np.arange(1000) < n) for n in (950, hits))
    attacks = {"PGD-20": AttackedAccuracy(worst, 2.0, 0.5, 1.0)}
    return ModelRecord(
        name, robustness=replace(RobustnessResult(clean, attacks, worst, 2.0, 0.5, {}, (), 0), **changes)
    )


def said(*records):
    return " ".join(verdict(records)).replace("\N{NO-BREAK SPACE}", " ")


PLAIN, ROBUST = represented("plain", 2.25, 2.125, 2.375), represented("robust", 0.5, 0.375, 0.625)


def test_an_order_is_claimed_where_the_intervals_are_apart():
    assert said(PLAIN, ROBUST) == (
        "Under the worst perturbations found, the representation of robust loses less information than that of plain: "
        "0.500 nats [0.375, 0.625] against 2.250 nats [2.125, 2.375]."
    )
    assert said(attacked("weak", 300), attacked("strong", 600)) == (
        "strong withstands the attacks better than weak: 60.0 % [56.9, 63.0] against 30.0 % [27.2, 32.9]; worst of "
        "1 attack, l_2, eps 0.5."
    )


def test_no_order_is_claimed_where_the_intervals_overlap():
    found = said(represented("a", 2.0, 1.5, 2.5), represented("b", 1.0, 0.5, 1.5))
    assert found.startswith(
        "Under the worst perturbations found, the 95 % intervals overlap, so no order of vulnerability is claimed: a"
    )
    found = said(attacked("a", 500), attacked("b", 510))
    assert found.startswith("The 95 % intervals overlap, so no order of robustness is claimed: a keeps 50.0 %")


def test_three_models_are_ordered_only_where_their_intervals_are_apart():
    found = said(represented("c", 3, 2.9, 3.1), represented("b", 1.1, 1, 1.2), represented("a", 1, 0.9, 1.1))
    assert found == (
        "Under the worst perturbations found, the representation of a loses less information than that of c; "
        "the representation of b loses less information than that of c; no other order is claimed."
    )
    assert said(attacked("c", 100), attacked("b", 400), attacked("a", 700)) == (
        "a withstands the attacks better than b and c; b withstands the attacks better than c; worst of 1 attack, l_2, "
        "eps 0.5."
    )


@pytest.mark.parametrize("flag", [Flag.ZERO_GRADIENT, Flag.CONTRADICTION, Flag.SATURATED])
def test_a_model_of_which_too_little_is_known_is_never_the_less_vulnerable_one(flag):
    doubtful = replace(ROBUST, representation=replace(ROBUST.representation, flags=(flag,)))
    found = said(PLAIN, doubtful)
    assert found.startswith("Under the worst perturbations found, no order of vulnerability is claimed")
    assert "the flags of robust say that more may be lost" in found


def test_a_model_whose_loss_has_no_limit_above_is_never_the_less_vulnerable_one():
    assert said(PLAIN, represented("cut off", 0.0, 0.0, float("inf"))).startswith(
        "Under the worst perturbations found, the 95 % intervals overlap, so no order of vulnerability is claimed: "
        "plain loses 2.250 nats [2.125, 2.375], cut off loses 0.000 nats [0.000, \N{INFINITY}]"
    )


def test_a_model_with_masked_gradients_is_never_the_more_robust_one():
    found = said(attacked("honest", 300), attacked("masked", 600, flags=(Flag.BLACK_BOX_STRONGER,)))
    assert found.startswith("No order of robustness is claimed")
    assert "the flags of masked say that a better attack may leave less" in found
    found = said(attacked("honest", 600), attacked("masked", 300, flags=(Flag.BLACK_BOX_STRONGER,)))
    assert found.startswith("honest withstands the attacks better than masked")


def test_models_measured_differently_are_not_compared():
    other = represented("other", 0.5, 0.4, 0.6, settings={"norm": "inf", "eps": 0.1})
    assert said(PLAIN, other) == "Information was measured differently (eps), so it is not compared."
    wider = attacked("wider", 100, eps=0.6)
    assert said(attacked("a", 300), wider).startswith("The models were attacked differently")
    found = attacked("b", 300).robustness.attacks["PGD-20"]
    assert said(attacked("a", 300), attacked("b", 100, attacks={"FGSM": found})).startswith("The models were attacked")


def test_units_are_brought_together_before_the_models_are_compared():
    plain, robust = represented("plain", 1.0, 0.9, 1.1), represented("robust", 0.8, 0.75, 0.85, unit="bits")
    assert robust.representation.vulnerability.value > plain.representation.vulnerability.value
    assert "of robust loses less information than that of plain: 0.800 nats" in said(plain, robust)


def test_one_model_is_described_and_not_compared():
    assert said(PLAIN) == (
        "Under the worst perturbation found, the representation of plain loses 2.250 nats [2.125, 2.375] of "
        "information."
    )
    assert said(attacked("plain", 300)) == (
        "Under the worst of 1 attack (l_2, eps 0.5), plain keeps 30.0 % [27.2, 32.9] of 95.0 % [93.5, 96.2] accuracy."
    )


def test_nothing_measured_is_said_to_be_so():
    assert said(ModelRecord("plain")) == "Neither accuracy under attack nor information was measured."


def test_no_model_at_all_is_an_error():
    with pytest.raises(ValueError, match="at least one model"):
        verdict([])


def test_what_was_measured_with_other_effort_or_on_other_samples_is_not_ordered():
    weak = replace(PLAIN.representation, settings={**PLAIN.representation.settings, "max_iter": 1})
    assert "max_iter" in said(replace(PLAIN, name="weak", representation=weak), ROBUST)
    few = replace(PLAIN.representation, normal=replace(PLAIN.representation.normal, nb_samples=7))
    assert "number of samples" in said(replace(PLAIN, name="few", representation=few), ROBUST)
    other = attacked("strong", 600)
    stronger = {name: replace(found, settings={"max_iter": 99}) for name, found in other.robustness.attacks.items()}
    other = replace(other, robustness=replace(other.robustness, attacks=stronger))
    assert "attacked differently" in said(attacked("weak", 300), other)


def test_no_robustness_is_claimed_where_no_attack_was_within_the_ball():
    outside = attacked("a", 500)
    larger = {name: replace(found, eps=9.0) for name, found in outside.robustness.attacks.items()}
    assert said(replace(outside, robustness=replace(outside.robustness, attacks=larger))) == (
        "No attack was run within the threat model (l_2, eps 0.5)."
    )


def test_a_model_that_was_not_attacked_within_the_ball_has_no_worst_case_anywhere():
    outside = attacked("a", 500)
    larger = {name: replace(found, eps=9.0) for name, found in outside.robustness.attacks.items()}
    record = replace(outside, robustness=replace(outside.robustness, attacks=larger))
    assert record.robustness.nb_attacks == 0
    assert "worst in the ball" not in record.robustness.accuracies()
    rows = {row.label: [str(cell) for cell in row.cells] for row in comparison_rows([record])}
    assert rows["worst in the ball"] == rows["adversarial gap"] == ["-"]
    assert "worst of" not in card([record])
