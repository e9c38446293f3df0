"""One self-contained HTML page about the robustness of representations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from art_mi.report.plots import figure_svg, information_bars, sweep_curve
from art_mi.report.tables import (
    MISSING,
    Accuracy,
    Cell,
    accuracy_cell,
    comparison_rows,
    estimate_cell,
    number,
    verdict,
)
from art_mi.results import Flag, MIEstimate, RepresentationVulnerability

TEMPLATE = "card.html.jinja"

METHODS = {
    "critic": "a critic fitted to the representation (lower bound)",
    "noisy": "the representation seen through noise of known density (bounded from both sides)",
    "quantised": "the representation cut into codes and counted",
}

CEILINGS = {
    "exact": "Fano's inequality, solved exactly",
    "published": "Fano's inequality, as published",
    "label_aware": "from the information about the label",
}


@dataclass(frozen=True)
class Figure:
    """An image and the words that stand for it.

    :param svg: Inline image, already safe.
    :param label: What a screen reader says.
    :param caption: What stands below.
    """

    svg: Markup
    label: str
    caption: str


def card(
    results: Mapping[str, RepresentationVulnerability],
    *,
    accuracies: Mapping[str, Mapping[str, Accuracy]] | None = None,
    settings: Mapping[str, Any] | None = None,
    title: str = "Robustness of representations",
    command: str | None = None,
) -> str:
    """One HTML file with everything inside: no script, no network, for screens, phones and paper.

    :param results: Results by model.
    :param accuracies: Accuracies by model and by name, for instance `"clean accuracy"`.
    :param settings: Environment and settings to list, by name.
    :param title: Heading of the page.
    :param command: Shell command that reproduces the page.
    :return: The page.
    :raises ValueError: If `results` is empty, or `accuracies` names a model that `results` lacks.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("art_mi.report") / TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        title=title,
        rows=comparison_rows(results, accuracies),
        verdict=verdict(results),
        models=list(results),
        figures=_figures(results),
        sections=[_section(name, result) for name, result in results.items()],
        settings=_settings(settings or {}),
        command=command,
    )


def _figures(results: Mapping[str, RepresentationVulnerability]) -> list[Figure]:
    sentences = "; ".join(
        f"{name}: normal {estimate_cell(result.normal)}, worst case {estimate_cell(result.worst_case)}"
        for name, result in results.items()
    )
    bars = Figure(
        svg=_image(information_bars(results)),
        label=f"Normal and worst-case information with 95 % intervals. {sentences}",
        caption="Information before and after the worst perturbation found. Markers are estimates, thin lines 95 % "
        "intervals; a thick line runs from the lower to the upper bound where an estimate has both.",
    )
    swept = [name for name, result in results.items() if result.sweep]
    if not swept:
        return [bars]
    sweep = Figure(
        svg=_image(sweep_curve(results)),
        label=f"Normal and worst-case information against the noise level for {', '.join(swept)}; "
        "the numbers are in the sweep tables below.",
        caption="The same at each noise level. Bands are 95 % intervals.",
    )
    return [bars, sweep]


def _image(axes: Axes) -> Markup:
    return Markup(figure_svg(cast(Canvas, axes.figure)))  # matplotlib escapes every text it writes


def _section(name: str, result: RepresentationVulnerability) -> dict[str, Any]:
    """What the page says about one model."""
    flags = {flag for _, row in result.rows() for flag in row.flags} | set(result.flags)
    return {
        "name": name,
        "facts": [
            ("Method", f"{result.method}: {METHODS.get(result.method, 'see the settings')}"),
            ("Layer", "the classifier's output" if result.layer is None else result.layer),
            ("Samples", str(result.normal.nb_samples)),
            ("Seed", str(result.normal.random_state)),
        ],
        "estimates": [_estimate(label, row) for label, row in result.rows()],
        "ceilings": _ceilings(result),
        "ceiling_direction": result.ceiling_direction,
        "sweep": [_sweep_row(point) for point in result.sweep],
        "flags": [(str(flag), flag.meaning) for flag in Flag if flag in flags],
        "settings": _settings({**result.normal.settings, **result.settings}),
    }


def _estimate(label: str, estimate: MIEstimate) -> dict[str, Any]:
    sides = [number(side) for side in (estimate.lower, estimate.upper) if side is not None]
    others = [f"{name} {number(value)} {estimate.unit}" for name, value in estimate.bounds.items()]
    if estimate.ceiling is not None:
        others.append(f"largest reportable value {number(estimate.ceiling)} {estimate.unit}")
    return {
        "label": label,
        "cell": estimate_cell(estimate),
        "sides": " to ".join(sides) or MISSING,
        "nb_samples": estimate.nb_samples,
        "random_state": estimate.random_state,
        "estimator": estimate.estimator,
        "bias": estimate.bias,
        "others": ", ".join(others),
        "flags": [str(flag) for flag in estimate.flags],
    }


def _ceilings(result: RepresentationVulnerability) -> list[tuple[str, Cell, str]]:
    """Every ceiling, and the accuracy to hold against it: name, cell, explanation."""
    return [
        ("accuracy ceiling", accuracy_cell(result.accuracy_ceiling), "the one this page compares"),
        *((name, accuracy_cell(value), CEILINGS.get(name, "")) for name, value in result.ceilings.items()),
        ("accuracy measured there", accuracy_cell(result.measured_accuracy), "the classifier on the same inputs"),
    ]


def _sweep_row(point: RepresentationVulnerability) -> tuple[str, list[Cell]]:
    cells = [estimate_cell(point.normal), estimate_cell(point.worst_case), estimate_cell(point.vulnerability)]
    level = point.settings.get("noise_std", MISSING)
    return str(level), [*cells, accuracy_cell(point.accuracy_ceiling), accuracy_cell(point.measured_accuracy)]


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(name), _setting(value)) for name, value in settings.items()]


def _setting(value: Any) -> str:
    if value is None:
        return "not set"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
