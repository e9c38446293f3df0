from __future__ import annotations

import json
import math
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from art_mi.results import Flag, MIEstimate, ModelRecord, RepresentationVulnerability, conversion


def estimate(value: float = 1.25, **changes: Any) -> MIEstimate:
    made = MIEstimate(
        value=value,
        confidence_interval=(value - 0.1, value + 0.2),
        estimator="info_nce",
        bias="low: a lower bound",
        nb_samples=500,
        random_state=7,
        ceiling=math.log(500),
        bounds={"donsker_varadhan": 1.5},
        settings={"norm": math.inf, "batch": np.int64(32), "weights": np.arange(2), "nothing": None},
        replicates=np.linspace(1, 2, 5),
    )
    return replace(made, **changes)


def vulnerability(**changes: Any) -> RepresentationVulnerability:
    made = RepresentationVulnerability(
        normal=estimate(1.5),
        worst_case=estimate(0.5),
        vulnerability=estimate(1.0),
        accuracy_ceiling=0.625,
        ceilings={"exact": 0.625, "published": 0.75},
        ceiling_direction="An upper bound & nothing else.",
        method="noisy",
        layer="features.3",
        flags=(Flag.SATURATED, Flag.UNDERSAMPLED),
        settings={"norm": math.inf, "eps": 0.3, "seed": 7, "schedule": (0.1, 0.2)},
        measured_accuracy=0.5,
        own_critic=estimate(0.25, lower=0.2, upper=0.3),
        sweep=(),
    )
    return replace(made, **changes)


def test_a_nat_has_1_44_bits() -> None:
    assert conversion("nats", "bits") == pytest.approx(1.4426950408889634)
    assert conversion("bits", "nats") == pytest.approx(math.log(2))
    assert conversion("bits", "bits") == 1.0


@pytest.mark.parametrize(("arguments", "name"), [(("nats", "hartleys"), "to"), (("hartleys", "nats"), "unit")])
def test_other_units_are_refused(arguments: tuple[str, str], name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be one of 'nats', 'bits', got 'hartleys'"):
        conversion(*arguments)
    with pytest.raises(ValueError, match="`unit` must be one of 'nats', 'bits', got 'hartleys'"):
        estimate().in_unit("hartleys")
    with pytest.raises(ValueError, match="`unit` must be one of 'nats', 'bits', got 'hartleys'"):
        vulnerability().in_unit("hartleys")


def test_bits_convert_every_amount_of_information_and_nothing_else() -> None:
    nats = estimate(lower=1.0, upper=2.0)
    bits = nats.in_unit("bits")
    factor = 1 / math.log(2)
    assert bits.unit == "bits"
    assert bits.value == pytest.approx(1.25 * factor)
    assert bits.confidence_interval == pytest.approx((1.15 * factor, 1.45 * factor))
    assert (bits.lower, bits.upper) == pytest.approx((factor, 2 * factor))
    assert bits.ceiling == pytest.approx(math.log2(500))
    assert bits.bounds["donsker_varadhan"] == pytest.approx(1.5 * factor)
    np.testing.assert_allclose(bits.replicates, nats.replicates * factor)
    assert (bits.nb_samples, bits.random_state, bits.settings) == (500, 7, nats.settings)


def test_there_and_back_again_is_the_same_estimate() -> None:
    nats = estimate()
    back = nats.in_unit("bits").in_unit("nats")
    assert back.value == pytest.approx(nats.value)
    assert back.confidence_interval == pytest.approx(nats.confidence_interval)
    assert back.lower is None
    assert back.upper is None
    assert nats.in_unit("nats") == nats


def test_a_result_converts_all_its_estimates_and_keeps_its_accuracies() -> None:
    nats = vulnerability(sweep=(vulnerability(),))
    bits = nats.in_unit("bits")
    assert bits.unit == "bits"
    parts = [bits.normal, bits.worst_case, bits.vulnerability, bits.own_critic, bits.sweep[0].normal]
    assert {part.unit for part in parts if part} == {"bits"}
    assert bits.vulnerability.value == pytest.approx(bits.normal.value - bits.worst_case.value)
    assert (bits.accuracy_ceiling, bits.measured_accuracy, bits.ceilings) == (0.625, 0.5, nats.ceilings)
    assert vulnerability(own_critic=None).in_unit("bits").own_critic is None


def test_dictionaries_are_plain_and_leave_the_replicates_out() -> None:
    plain = estimate(flags=(Flag.NEGATIVE,)).to_dict()
    assert plain["settings"] == {"norm": "inf", "batch": 32, "weights": [0, 1], "nothing": None}
    assert type(plain["settings"]["batch"]) is int
    assert plain["flags"] == ["NEGATIVE"]
    assert type(plain["flags"][0]) is str
    assert plain["confidence_interval"] == [1.15, 1.45]
    assert "replicates" not in plain


def test_json_of_a_whole_result_is_valid_and_equals_its_dictionary(tmp_path: Path) -> None:
    result = vulnerability(sweep=(vulnerability(normal=estimate(upper=math.inf, lower=1.0)),))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = result.to_json(tmp_path / "result.json")
    assert json.loads(text, parse_constant=refuse) == result.to_dict()
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8")) == result.to_dict()
    assert result.to_dict()["settings"]["norm"] == "inf"
    assert result.to_dict()["sweep"][0]["normal"]["upper"] == "inf"
    assert "replicates" not in text
    assert json.loads(estimate().to_json(str(tmp_path / "one.json"))) == estimate().to_dict()
    assert (tmp_path / "one.json").exists()


def test_the_text_of_an_estimate_gives_value_unit_interval_and_flags() -> None:
    text = str(estimate(flags=(Flag.SATURATED, Flag.NEGATIVE)))
    assert text == (
        "1.2500 nats, 95 % interval [1.1500, 1.4500] (info_nce, 500 samples, seed 7, flags: SATURATED, NEGATIVE)"
    )
    assert "between 1.0000 and 2.0000" in str(estimate(lower=1.0, upper=2.0))
    assert "flags" not in str(estimate())
    assert "bits" in str(estimate().in_unit("bits"))


def test_sides_are_written_as_far_as_there_are_any() -> None:
    assert ", between 1.0000 and 2.0000 (" in str(estimate(lower=1.0, upper=2.0))
    assert ", at least 1.0000 (" in str(estimate(lower=1.0))
    assert "1.4500] (" in str(estimate())


def test_the_text_of_a_result_gives_everything_needed_to_judge_it() -> None:
    text = str(vulnerability())
    for part in (
        "layer features.3",
        "method noisy",
        "1.5000 nats  95 % interval [1.4000, 1.7000]",
        "0.6250",
        "An upper bound & nothing else.",
        "accuracy measured there",
        "500 samples, seed 7, norm inf, eps 0.3",
        "bias: low: a lower bound",
        Flag.SATURATED.meaning,
        Flag.UNDERSAMPLED.meaning,
        "worst case by its own critic",
    ):
        assert part in text, part
    bare = str(vulnerability(layer=None, measured_accuracy=None, own_critic=None, flags=()))
    assert "of the output" in bare
    assert "measured" not in bare
    assert "own critic" not in bare
    assert "SATURATED" not in bare


def test_notebooks_show_the_numbers_and_the_flags() -> None:
    html = vulnerability()._repr_html_()
    for part in ("1.5000", "[1.4000, 1.7000]", "0.6250", "nats", "<strong>SATURATED</strong>"):
        assert part in html
    assert "An upper bound &amp; nothing else." in html


def test_notebooks_never_run_what_a_result_says() -> None:
    hostile = "<script>alert('x')</script><img src=x onerror=alert(1)>"
    html = vulnerability(
        ceiling_direction=hostile, layer=hostile, method=hostile, settings={hostile: hostile}
    )._repr_html_()
    assert "&lt;script&gt;" in html
    assert set(re.findall(r"<(/?\w+)", html)) <= {
        *("table", "tr", "th", "td", "p", "strong"),
        *("/table", "/tr", "/th", "/td", "/p", "/strong"),
    }


@pytest.mark.parametrize("flag", list(Flag))
def test_a_flag_equals_its_name_and_explains_itself(flag: Flag) -> None:
    assert flag == flag.name
    assert str(flag) == flag.name
    assert f"{flag}" == flag.name
    assert flag in (flag.name,)
    assert len(flag.meaning) > 20
    assert json.dumps(flag) == f'"{flag.name}"'


def test_results_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        estimate().value = 2.0  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        vulnerability().layer = "other"  # type: ignore[misc]


def test_equal_estimates_compare_equal_whatever_their_replicates() -> None:
    settings = {"norm": 2}
    assert estimate(settings=settings) == estimate(settings=settings, replicates=np.zeros(3))
    assert estimate(settings=settings) != estimate(1.0, settings=settings)


def test_rows_are_named_in_reading_order() -> None:
    names = [name for name, _ in vulnerability().rows()]
    assert names[:3] == ["normal information", "worst-case information", "representation vulnerability"]
    assert len(names) == 4
    assert len(vulnerability(own_critic=None).rows()) == 3


def test_images_that_are_no_numbers_are_not_kept(tmp_path: Path) -> None:
    record = ModelRecord("model", images={"x": np.zeros((2, 3)), "y": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match=r"`images\['y'\]\.dtype` must be that of numbers, got dtype\('O'\)"):
        record.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def nested(levels: int) -> Any:
    return [] if levels == 0 else [nested(levels - 1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"history": [{"epoch": "x", "loss": 1.0}]}, "`history epoch` must be a number from 0 to 1e100, got 'x'"),
        ({"history": [{"epoch": 1e308}]}, "`history epoch` must be a number from 0 to 1e100, got 1e\\+308"),
        ({"history": [{"epoch": -1e308}]}, "`history epoch` must be a number from 0 to 1e100, got -1e\\+308"),
        ({"history": [{"loss": -1e308}]}, "`history loss` must be a number from -1e100 to 1e100, got -1e\\+308"),
        ({"history": [{"loss": math.nan}]}, "`history loss` must be a number from -1e100 to 1e100, got nan"),
        ({"settings": {"a": nested(99)}}, "`content` must be nested at most 100 deep"),
        (
            {"representation": {**vulnerability().to_dict(), "ceilings": {"published": 1.0}}},
            "got invalid value @ ModelRecord.representation",
        ),
    ],
)
def test_a_record_that_no_page_could_be_made_of_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    record = ModelRecord("model", vulnerability(), history=({"epoch": 1.0, "loss": 0.5, "note": "ä"},))
    record.save(tmp_path)
    path = tmp_path / "results.json"
    assert ModelRecord.load(tmp_path).history == record.history
    path.write_text(json.dumps({**record.to_dict(), **change}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"`folder` must hold the record of a model, got .*{message}"):
        ModelRecord.load(tmp_path)


def test_a_result_has_its_exact_ceiling() -> None:
    with pytest.raises(ValueError, match=r"`ceilings` must hold 'exact', got \['published'\]"):
        vulnerability(ceilings={"published": 1.0})
