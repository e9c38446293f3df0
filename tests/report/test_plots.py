from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from art_mi.report.plots import (
    accuracy_against_eps,
    accuracy_against_information,
    accuracy_rows,
    adversarial_examples,
    feature_histogram,
    figure_svg,
    gap_against_vulnerability,
    information_against_eps,
    information_bars,
    layer_information,
    layer_vulnerability,
    saliency_grid,
    sweep_curve,
    training_accuracies,
    training_losses,
)
from art_mi.results import FeatureProfile, LayerProfile, MIEstimate, RepresentationVulnerability, VulnerabilityCurve


def estimate(value, low, high):
    return MIEstimate(value, (low, high), "noisy channel", "two-sided", 2000, 7, lower=value, upper=value + 0.1)


def result(normal=3.0, worst=1.0, level=0.5, **changes):
    found = RepresentationVulnerability(
        normal=estimate(normal, normal - 0.2, normal + 0.3),
        worst_case=estimate(worst, worst - 0.2, worst + 0.3),
        vulnerability=estimate(normal - worst, normal - worst - 0.5, normal - worst + 0.5),
        accuracy_ceiling=0.2,
        ceilings={"exact": 0.2},
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


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def points(axes):
    drawn = (zip(*line.get_data(), strict=True) for line in axes.lines)
    return {(round(float(x), 6), round(float(y), 6)) for line in drawn for x, y in line}


def renamed(records, n):
    """As many models as wanted, each a little more vulnerable and less robust than the one before."""
    plain, _ = records
    attacked, found = plain.robustness, plain.representation
    gaps = [0.2, 0.3, 0.35, 0.5, 0.55][:n]
    return [
        replace(
            plain,
            name=f"model {index}",
            robustness=replace(attacked, worst_case=replace(attacked.worst_case, value=attacked.clean.value - gap)),
            representation=replace(found, vulnerability=estimate(0.1 + index, index, 0.2 + index)),
        )
        for index, gap in enumerate(gaps)
    ]


def test_accuracies_are_drawn_with_their_intervals_a_row_each(records):
    robustness = records[0].robustness
    axes = accuracy_rows({"plain": robustness.accuracies()})
    assert [text.get_text() for text in axes.get_yticklabels()] == list(robustness.accuracies())
    drawn = {tuple(np.round(line.get_xdata(), 6)) for line in axes.lines}
    for found in robustness.accuracies().values():
        assert (round(100 * found.value, 6),) in drawn
        assert tuple(round(100 * end, 6) for end in found.confidence_interval) in drawn


def test_the_gap_is_drawn_against_the_vulnerability_with_the_correlation_and_its_number_of_models(records):
    axes = gap_against_vulnerability(renamed(records, 5))
    assert axes.get_xlabel() == "representation vulnerability (nats)"
    assert {(0.1, 20.0), (1.1, 30.0), (4.1, 55.0)} <= points(axes)
    expected = np.corrcoef([0, 1, 2, 3, 4], [0.2, 0.3, 0.35, 0.5, 0.55])[0, 1]
    assert labels(axes)[-1].startswith(f"r = {expected:.2f} [")
    assert labels(axes)[-1].endswith("n = 5 models")


@pytest.mark.parametrize(
    ("n", "words"), [(1, "n = 1 model:"), (2, "n = 2 models: no correlation"), (3, "too few for an interval")]
)
def test_few_models_have_no_correlation_and_three_no_interval(records, n, words):
    assert words in labels(gap_against_vulnerability(renamed(records, n)))[-1]


def test_models_without_spread_have_no_correlation(records):
    same = [replace(records[0], name=str(index)) for index in range(4)]
    assert "no correlation" in labels(gap_against_vulnerability(same))[-1]


def test_accuracy_is_drawn_at_normal_and_worst_case_information_below_the_ceiling():
    found = result(3.0, 1.0, measured_accuracy=0.15)
    axes = accuracy_against_information({"plain": found, "unmeasured": result(2.0, 0.5, accuracy_ceiling=0.1)})
    assert {(3.0, 15.0), (1.0, 15.0)} <= points(axes)
    ceiling = axes.lines[0]
    assert list(ceiling.get_xdata()) == pytest.approx([0.6, 1.1])
    assert list(ceiling.get_ydata()) == [10.0, 20.0]
    assert labels(axes) == ["accuracy ceiling", "plain"]


def test_an_unbounded_estimate_has_its_ceiling_drawn_at_its_value():
    open_ended = replace(result().worst_case, upper=math.inf, confidence_interval=(0.9, math.inf))
    axes = accuracy_against_information({"plain": replace(result(), worst_case=open_ended)})
    assert list(axes.lines[0].get_xdata()) == [1.0]
    figure_svg(axes.figure)


def test_layers_are_drawn_from_the_first_down(records):
    profile = records[0].layers
    axes = layer_information(profile)
    assert [text.get_text() for text in axes.get_yticklabels()] == list(profile.layers)
    assert axes.yaxis_inverted()
    values = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert values == [e.value for found in profile.layers.values() for e in (found.normal, found.worst_case)]


def test_layers_of_several_models_share_a_row_where_they_share_a_name(records):
    other = LayerProfile({"features.7": result(), "extra": result().in_unit("bits")}, {})
    axes = layer_vulnerability({"plain": records[0].layers, "other": other})
    assert [text.get_text() for text in axes.get_yticklabels()] == [*records[0].layers.layers, "extra"]
    values = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert values[-2:] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("quantity", ["normal", "vulnerability"])
def test_units_are_counted_in_bins_that_models_share(records, quantity):
    profiles = {record.name: record.features for record in records}
    axes = feature_histogram(profiles, quantity)
    steps = [patch for patch in axes.patches if not patch.get_fill()]
    edges = [np.unique(np.round(patch.get_xy()[:, 0], 9)) for patch in steps]
    assert len(steps) == 2
    assert np.array_equal(*edges)
    assert labels(axes) == [f"{name}, {len(profile.units)} units" for name, profile in profiles.items()]
    counts = [patch.get_height() for patch in axes.patches if patch.get_fill()]
    assert sum(counts) == sum(len(profile.units) for profile in profiles.values())


def test_a_curve_is_drawn_at_its_radii_with_ceiling_and_measured_accuracies(records):
    curve = records[0].curve
    information, accuracies = information_against_eps(curve), accuracy_against_eps(curve)
    for axes in (information, accuracies):
        assert all(tuple(line.get_xdata()) == curve.eps for line in axes.lines)
        assert axes.get_xlabel() == "radius eps (l_inf, raw input units)"
    normal, worst = (list(line.get_ydata()) for line in information.lines)
    assert normal == [found.normal.value for found in curve.results]
    assert worst == [found.worst_case.value for found in curve.results]
    ceiling, behind, plain = (list(line.get_ydata()) for line in accuracies.lines)
    assert ceiling == [100 * found.accuracy_ceiling for found in curve.results]
    assert behind == [100 * found.measured_accuracy for found in curve.results]
    assert plain == [100 * found.value for found in curve.accuracies["PGD-20"]]


def test_training_is_drawn_epoch_by_epoch_and_what_is_missing_is_left_out():
    history = [
        {"epoch": 1, "lr": 0.1, "loss": 2.0, "robust_accuracy": 0.25},
        {"epoch": 2, "lr": 0.1, "loss": 1.0},
        {"epoch": 3, "lr": 0.1, "loss": 0.5, "robust_accuracy": 0.5, "note": "text", "dual": None},
    ]
    (accuracies,), (losses,) = training_accuracies(history).lines, training_losses(history).lines
    assert (list(accuracies.get_xdata()), list(accuracies.get_ydata())) == ([1, 3], [25, 50])
    assert (list(losses.get_xdata()), list(losses.get_ydata())) == ([1, 2, 3], [2.0, 1.0, 0.5])


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_show_the_pixels_as_they_are_and_wrong_predictions_stand_out(channels):
    x = np.random.default_rng(0).uniform(size=(2, channels, 4, 5))
    x_adv = np.clip(x + 0.1, 0, 1)
    axes = adversarial_examples({"x": x, "x_adv": x_adv, "y": np.array([3, 4]), "predicted_adv": np.array([3, 5])})
    clean, _, perturbed, _, change, _ = (image.get_array() for image in axes.images)
    for picture, pixels in ((clean, x[0]), (perturbed, x_adv[0])):
        assert np.allclose(picture[..., :3], np.broadcast_to(pixels.transpose(1, 2, 0), (4, 5, 3)))
    scaled = (x_adv - x).sum(1) / (x_adv - x).sum(1).max()
    assert np.allclose(change, mpl.colormaps["PuOr"](0.5 + 0.5 * scaled[0]))
    assert [text.get_text() for text in axes.texts] == ["as 3", "as 5"]
    assert [text.get_fontweight() for text in axes.texts] == ["normal", "bold"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "4"]


def test_no_change_and_no_gradient_are_white(records):
    x = records[0].images["x"]
    for axes in (adversarial_examples({"x": x, "x_adv": x}), saliency_grid({"x": x, "saliency_loss": 0 * x})):
        assert np.allclose(axes.images[-1].get_array()[..., :3], 0.967, atol=0.01)


def test_gradients_are_scaled_sample_by_sample():
    gradient = np.zeros((2, 1, 2, 2))
    gradient[0, 0, 0, 0], gradient[1, 0, 0, 0] = 1.0, -100.0
    axes = saliency_grid({"x": np.zeros((2, 1, 2, 2)), "saliency_information": gradient})
    assert np.allclose(axes.images[2].get_array()[0, 0], mpl.colormaps["PuOr"](1.0))
    assert np.allclose(axes.images[3].get_array()[0, 0], mpl.colormaps["PuOr"](0.0))


X = np.zeros((2, 1, 4, 4))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: information_bars({}), "`results` must hold at least one model"),
        (lambda: sweep_curve({"plain": result()}), "`results` must hold a result with a sweep over noise levels"),
        (lambda: accuracy_rows({"plain": {}}), "`accuracies` must hold at least one accuracy"),
        (lambda: gap_against_vulnerability([]), "`records` must hold a model with vulnerability and accuracy"),
        (lambda: accuracy_against_information({}), "`results` must hold at least one model"),
        (lambda: layer_information(LayerProfile({}, {})), "`profile` must hold at least one layer"),
        (lambda: layer_vulnerability({}), "`profiles` must hold at least one layer"),
        (lambda: feature_histogram({"plain": FeatureProfile(None, ())}), "`profiles` must hold at least one unit"),
        (lambda: feature_histogram({}, "worst"), "`quantity` must be one of 'normal', 'vulnerability', got 'worst'"),
        (lambda: information_against_eps(VulnerabilityCurve((), ())), "`curve` must hold at least one radius"),
        (lambda: training_accuracies([{"loss": 1.0}]), "`history` must hold `clean_accuracy` or `robust_accuracy`"),
        (lambda: training_losses([{"epoch": 1}]), "`history` must hold a loss"),
        (lambda: adversarial_examples({"x": X}), "`images` must hold `x_adv` of shape .* got none"),
        (lambda: adversarial_examples({"x": X[:, 0], "x_adv": X}), r"must hold `x` .* got shape \(2, 4, 4\)"),
        (lambda: saliency_grid({"x": X}), "`images` must hold 'saliency_information' or 'saliency_loss', got x"),
    ],
)
def test_nothing_to_draw_is_an_error(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_every_figure_draws_in_the_axes_it_is_given(records):
    plain, _ = records
    draws = [
        lambda ax: accuracy_rows({"plain": plain.robustness.accuracies()}, ax=ax),
        lambda ax: gap_against_vulnerability(records, ax=ax),
        lambda ax: accuracy_against_information({"plain": plain.representation}, ax=ax),
        lambda ax: sweep_curve({"plain": plain.representation}, ax=ax),
        lambda ax: layer_information(plain.layers, ax=ax),
        lambda ax: layer_vulnerability({"plain": plain.layers}, ax=ax),
        lambda ax: feature_histogram({"plain": plain.features}, ax=ax),
        lambda ax: information_against_eps(plain.curve, ax=ax),
        lambda ax: accuracy_against_eps(plain.curve, ax=ax),
        lambda ax: training_accuracies(plain.history, ax=ax),
        lambda ax: training_losses(plain.history, ax=ax),
        lambda ax: adversarial_examples(plain.images, ax=ax),
        lambda ax: saliency_grid(plain.images, ax=ax),
    ]
    for draw in draws:
        axes = Figure().add_subplot()
        assert draw(axes) is axes


def test_what_is_no_axes_is_not_drawn_in() -> None:
    with pytest.raises(TypeError, match="`ax` must be None or matplotlib axes, got int"):
        training_losses([{"epoch": 1, "loss": 1.0}], ax=3)  # type: ignore[arg-type]
