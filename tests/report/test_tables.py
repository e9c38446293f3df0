from __future__ import annotations

import math
from dataclasses import replace

import pytest

from art_mi.report import text_table
from art_mi.report.tables import comparison_rows
from art_mi.results import Flag, ModelRecord


def lines(records):
    return {line[:24].strip(): line[24:].split() for line in text_table(records).splitlines()}


def test_the_table_shows_every_number_with_its_interval_and_unit(records):
    found = lines(records)
    assert found["clean"] == ["97.2", "[95.4,", "98.3]", "%", "97.4", "[95.6,", "98.5]", "%"]
    assert found["worst in the ball"][:4] == ["33.2", "[29.2,", "37.4]", "%"]
    assert found["adversarial gap"][:4] == ["64.0", "[59.7,", "68.1]", "%"]
    assert found["vulnerability"] == ["1.076", "[1.046,", "1.106]", "nats", "0.570", "[0.540,", "0.600]", "nats"]
    assert found["accuracy ceiling"] == ["78.3", "%", "92.0", "%"]
    assert found["flags"] == ["UNDERSAMPLED,", "BLACK_BOX_STRONGER", "none"]


def test_what_a_model_lacks_is_a_dash(records):
    plain, robust = records
    found = lines([replace(plain, robustness=None), replace(robust, representation=None)])
    assert found["clean"] == ["-", "97.4", "[95.6,", "98.5]", "%"]
    assert found["vulnerability"] == ["1.076", "[1.046,", "1.106]", "nats", "-"]
    assert list(lines([ModelRecord("nothing")]))[2:3] == ["flags"]


def test_the_worst_case_stands_below_every_attack_of_every_model(records):
    plain, robust = records
    other = replace(robust.robustness, attacks={"Square": robust.robustness.attacks["FGSM"]})
    labels = [row.label for row in comparison_rows([plain, replace(robust, robustness=other)])]
    assert labels.index("Square") < labels.index("worst in the ball")
    assert labels.index("APGD-DLR") < labels.index("worst in the ball")


def test_a_bias_is_given_once_where_all_share_it_and_pointed_to_where_not(records):
    def notes(rows):
        return next(row.notes for row in rows if row.label == "vulnerability")

    plain, robust = records
    assert notes(comparison_rows(records)) == (plain.representation.vulnerability.bias,)
    drop = replace(robust.representation.vulnerability, bias="low")
    other = replace(robust, representation=replace(robust.representation, vulnerability=drop))
    assert notes(comparison_rows([plain, other])) == ("differs between models, see below",)


def test_two_models_fit_a_hundred_columns_whatever_their_names_and_flags(records):
    plain, robust = records
    endless = replace(robust.representation.vulnerability, confidence_interval=(-math.inf, math.inf))
    loud = [
        replace(plain, name="m" * 80, representation=replace(plain.representation, flags=tuple(Flag))),
        replace(robust, name="n " * 60, representation=replace(robust.representation, vulnerability=endless)),
    ]
    assert max(map(len, text_table(loud).splitlines())) <= 100
    assert all(str(flag) in text_table(loud) for flag in Flag)


def test_control_characters_in_a_name_do_not_reach_the_terminal(records):
    assert "\x1b" not in text_table([replace(records[0], name="\x1b[2Jred")])


def test_no_model_and_two_of_one_name_are_errors(records):
    with pytest.raises(ValueError, match="at least one model"):
        text_table([])
    with pytest.raises(ValueError, match="must have different names, got 'standard' twice"):
        text_table([records[0], records[0]])
