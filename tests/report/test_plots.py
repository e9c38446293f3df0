from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from art_mi.report.plots import figure_svg, information_bars, sweep_curve
from art_mi.results import MIEstimate, RepresentationVulnerability


def estimate(value, low, high):
    return MIEstimate(value, (low, high), "noisy channel", "two-sided", 2000, 7, lower=value, upper=value + 0.1)


def result(normal=3.0, worst=1.0, level=0.5, **changes):
    found = RepresentationVulnerability(
        normal=estimate(normal, normal - 0.2, normal + 0.3),
        worst_case=estimate(worst, worst - 0.2, worst + 0.3),
        vulnerability=estimate(normal - worst, normal - worst - 0.5, normal - worst + 0.5),
        accuracy_ceiling=0.2,
        ceilings={},
        ceiling_direction="upper bound",
        method="noisy",
        layer=None,
        flags=(),
        settings={"noise_std": level},
    )
    return replace(found, **changes)


def horizontal_spans(axes):
    return [tuple(line.get_xdata()) for line in axes.lines]


def test_bars_show_every_value_interval_and_pair_of_bounds():
    spans = horizontal_spans(information_bars({"plain": result()}))
    for e in (result().normal, result().worst_case):
        assert (e.value,) in spans
        assert e.confidence_interval in spans
        assert (e.lower, e.upper) in spans


def test_the_axis_carries_the_unit_of_the_first_model_and_the_others_follow_it():
    axes = information_bars({"first": result().in_unit("bits"), "second": result()})
    assert axes.get_xlabel() == "information (bits)"
    markers = [span[0] for span in horizontal_spans(axes) if len(span) == 1]
    assert markers == pytest.approx([3 / math.log(2), 1 / math.log(2)] * 2)


def test_an_unbounded_interval_is_drawn_inside_the_axes():
    open_ended = replace(result(), normal=replace(result().normal, confidence_interval=(2.8, math.inf), upper=math.inf))
    axes = information_bars({"plain": open_ended})
    assert all(math.isfinite(x) for span in horizontal_spans(axes) for x in span)
    assert ">" in [line.get_marker() for line in axes.lines]
    figure_svg(axes.figure)


def test_a_sweep_is_drawn_in_order_of_its_noise_level():
    sweep = (result(1.0, 0.3, level=2.0), result(4.0, 2.0, level=0.25), result(3.0, 1.0, level=0.5))
    axes = sweep_curve({"plain": result(sweep=sweep), "not swept": result()})
    normal, worst = axes.lines
    assert list(normal.get_xdata()) == [0.25, 0.5, 2.0]
    assert list(normal.get_ydata()) == [4.0, 3.0, 1.0]
    assert list(worst.get_ydata()) == [2.0, 1.0, 0.3]
    assert axes.get_ylabel() == "information (nats)"
    assert "standard deviations" in axes.get_xlabel()


def test_a_sweep_with_a_level_of_zero_or_an_unbounded_interval_is_drawn():
    endless = replace(result().normal, confidence_interval=(2.8, math.inf))
    axes = sweep_curve({"plain": result(sweep=(result(level=0.0, normal=endless.value), result(level=1.0)))})
    assert axes.get_xscale() == "linear"
    broken = replace(result(), normal=endless)
    figure_svg(sweep_curve({"plain": result(sweep=(broken, result(level=1.0)))}).figure)


def test_given_axes_are_drawn_in_and_global_state_is_left_alone():
    before = dict(mpl.rcParams)
    axes = Figure().add_subplot()
    assert information_bars({"plain": result()}, ax=axes) is axes
    figure_svg(axes.figure)
    assert dict(mpl.rcParams) == before


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="at least one model"):
        information_bars({})
    with pytest.raises(ValueError, match="a sweep over noise levels"):
        sweep_curve({"plain": result()})


def test_an_image_is_the_same_every_time_transparent_and_in_the_colour_of_the_page():
    first, second = (figure_svg(information_bars({"plain": result()}).figure) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert "currentColor" in first
    assert "<metadata" not in first
    assert "#ffffff" not in first
    assert "#000000" not in first


def test_two_images_share_no_identifier_and_every_reference_is_met():
    images = [ElementTree.fromstring(figure_svg(information_bars({n: result()}).figure)) for n in ("a", "b")]
    names = [{node.get("id") for node in image.iter() if node.get("id")} for image in images]
    assert not names[0] & names[1]
    links = {node.get("{http://www.w3.org/1999/xlink}href") for node in images[0].iter()} - {None}
    assert links <= {f"#{name}" for name in names[0]}


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", r"$\frac{", "模型 🦜", 'id="x"', "", "long " * 40])
def test_any_name_is_drawn_as_plain_text(name):
    swept = result(sweep=(result(level=0.5), result(level=1.0)))
    for axes in (information_bars({name: swept}), sweep_curve({name: swept})):
        svg = figure_svg(axes.figure)
        assert "<script" not in svg
        text = " ".join("".join(ElementTree.fromstring(svg).itertext()).split())
        assert " ".join(name.split()[:1]) in text
