"""What a report says about one model, topic by topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from art_mi.report import cells as show
from art_mi.report import figures
from art_mi.report.blocks import Block, Command, Drawing, Drawings, Flags, Row, Section, Table, Text
from art_mi.report.cells import MISSING, Cell, accuracy_cell, estimate_cell, measured_cell, number, percent_cell
from art_mi.results import (
    Accuracy,
    BackboneReport,
    FeatureProfile,
    Flag,
    LayerProfile,
    MIEstimate,
    ModelRecord,
    RepresentationVulnerability,
    RobustnessResult,
    VulnerabilityCurve,
)

METHODS = {
    "critic": "by a critic fitted to it",
    "noisy": "as seen through noise of known density, which bounds its information from both sides",
    "quantised": "cut into codes, which are counted",
}
CEILINGS = {
    "exact": "Fano's inequality, solved exactly",
    "published": "Fano's inequality, as published",
    "label_aware": "from the information about the label",
}
COMPACT = ("Normal", "Worst case", "Vulnerability", "Ceiling", "Measured there")


def model_section(record: ModelRecord) -> Section:
    """Everything about one model.

    :param record: The model.
    """
    parts = [
        record.robustness and _robustness(record.robustness),
        record.representation and _representation("Information of the representation", record.representation),
        record.layers and _layers(record, record.layers),
        record.features and _features(record.features),
        record.curve and _curve(record, record.curve),
        record.backbone and _backbone(record, record.backbone),
        Section("Samples", _drawn(figures.of_images(record))),
        Section("Training", _drawn(figures.of_training(record))),
        Section("How to repeat it", _repeat(record)),
    ]
    raised = flags_of(record)
    caution: list[Block] = [Text("Reasons for caution:"), Flags.of(raised)] if raised else []
    return Section(record.name, caution, [part for part in parts if part])


def flags_of(record: ModelRecord) -> set[Flag]:
    """Flags of a model's accuracies and of its representation.

    :param record: The model.
    """
    raised = set(record.robustness.flags if record.robustness else ())
    return raised | (_raised(record.representation) if record.representation else set())


def _raised(result: RepresentationVulnerability) -> set[Flag]:
    return {flag for _, row in result.rows() for flag in row.flags} | set(result.flags)


def _drawn(drawings: Iterable[Drawing]) -> list[Block]:
    items = tuple(drawings)
    return [Drawings(items)] if items else []


def _settings(caption: str, content: Mapping[str, Any]) -> list[Block]:
    rows = [Row(name, (Cell(value),)) for name, value in show.settings(content)]
    return [Table(f"{caption}.", ("Setting", "Value"), rows, folded=caption)] if rows else []


def _repeat(record: ModelRecord) -> list[Block]:
    command: list[Block] = [] if record.command is None else [Command(record.command)]
    return [*command, *_settings("Data, environment and seed", record.settings)]


def _robustness(result: RobustnessResult) -> Section:
    def row(name: str, accuracy: Accuracy, ball: str = MISSING, note: str = "") -> Row:
        return Row(name, (accuracy_cell(accuracy), Cell(ball)), (note,) if note else ())

    attacked = [
        row(name, attack.accuracy, show.ball(attack.norm, attack.eps), f"took {attack.seconds:.1f} s")
        for name, attack in result.attacks.items()
    ]
    worst = row("worst in the ball", result.worst_case, show.ball(result.norm, result.eps))
    accuracies = Table(
        f"Accuracy over all {result.clean.nb_samples} samples, seed {result.random_state}. Under attack it errs high: "
        "a stronger attack may find more. The worst case counts a sample only if no attack in its ball, nor the "
        "absence of one, makes it wrong.",
        ("Attack", "Accuracy", "Ball"),
        [row("clean", result.clean), *attacked, worst],
    )
    used = {**{name: attack.settings for name, attack in result.attacks.items()}, **result.settings}
    return Section(
        "Accuracy under attack", [accuracies, *_checks(result), *_settings("Settings of attacks and checks", used)]
    )


def _checks(result: RobustnessResult) -> list[Block]:
    rows = [
        Row(name, (Cell("passed" if check.passed else "not passed"), Cell(check.finding)), marked=not check.passed)
        for name, check in result.checks.items()
    ]
    caption = "Checks for attacks that fail for another reason than robustness, such as masked gradients."
    return [Table(caption, ("Check", "Outcome", "Finding"), rows)] if rows else []


def _representation(title: str, result: RepresentationVulnerability) -> Section:
    layer = figures.layer_name(result.layer)
    intro = Text(f"Measured on {layer}, {METHODS.get(result.method, result.method)}.")
    estimates = Table(
        "Estimates with 95 % intervals, and the direction of every known bias.",
        ("Quantity", "Value", "Lower to upper bound"),
        [_estimate(label, estimate) for label, estimate in result.rows()],
    )
    used = _settings("Settings of the measurement", {**result.normal.settings, **result.settings})
    return Section(title, [intro, estimates, _ceilings(result), *_sweep(result), *used])


def _estimate(label: str, estimate: MIEstimate) -> Row:
    sides = MISSING if estimate.lower is None else f"at least {number(estimate.lower)}"
    if estimate.lower is not None and estimate.upper is not None:
        sides = f"{number(estimate.lower)} to {number(estimate.upper)}"
    others = [f"{name} {number(value)} {estimate.unit}" for name, value in estimate.bounds.items()]
    if estimate.ceiling is not None:
        others.append(f"largest reportable value {number(estimate.ceiling)} {estimate.unit}")
    notes = [
        f"Bias: {estimate.bias}. By {estimate.estimator}, {estimate.nb_samples} samples, seed {estimate.random_state}.",
        *([f"Also: {', '.join(others)}."] if others else []),
        *map(str, estimate.flags),
    ]
    return Row(label, (estimate_cell(estimate), Cell(sides)), notes)


def _ceilings(result: RepresentationVulnerability) -> Table:
    named = {"accuracy ceiling": result.accuracy_ceiling, **result.ceilings}
    meanings = {"accuracy ceiling": "the one that is compared", **CEILINGS}
    measured = measured_cell(result.measured_accuracy, result.normal.nb_samples)
    return Table(
        f"Accuracy ceilings. What they say: {result.ceiling_direction}. They carry no interval.",
        ("Ceiling", "Value", "Meaning"),
        [
            *(Row(name, (percent_cell(value), Cell(meanings.get(name, "")))) for name, value in named.items()),
            Row("accuracy measured there", (measured, Cell("the classifier itself, behind the same noise or codes"))),
        ],
    )


def _sweep(result: RepresentationVulnerability) -> list[Block]:
    rows = [_compact(show.setting(point.settings.get("noise_std", MISSING)), point) for point in result.sweep]
    caption = "The same at each noise level, in standard deviations of the representation."
    return [Table(caption, ("Noise level", *COMPACT), rows, folded="Numbers at each noise level")] if rows else []


def _compact(label: str, result: RepresentationVulnerability, *notes: str) -> Row:
    cells = (
        *(estimate_cell(estimate) for estimate in (result.normal, result.worst_case, result.vulnerability)),
        percent_cell(result.accuracy_ceiling),
        measured_cell(result.measured_accuracy, result.normal.nb_samples),
    )
    flags = [str(flag) for flag in Flag if flag in _raised(result)]
    return Row(label, cells, (*notes, *flags))


def _directions(results: Iterable[RepresentationVulnerability]) -> str:
    """Every bias and every direction of a ceiling that several results have."""
    every = list(results)
    ceilings = dict.fromkeys(result.ceiling_direction for result in every)
    return f"{_biases(row for result in every for _, row in result.rows())} Ceiling: {'; '.join(ceilings)}."


def _biases(estimates: Iterable[MIEstimate]) -> str:
    return f"Bias: {'; '.join(dict.fromkeys(estimate.bias for estimate in estimates))}."


def _layers(record: ModelRecord, profile: LayerProfile) -> Section:
    attacked = {name: f"attacked through {other}" for name, other in profile.attacked.items()}
    rows = [_compact(name, result, *filter(None, [attacked.get(name)])) for name, result in profile.layers.items()]
    caption = f"Layers in the order in which they run. {_directions(profile.layers.values())}"
    table = Table(caption, ("Layer", *COMPACT), rows, folded="Numbers of each layer")
    used = _settings("Settings of the layers", profile.settings)
    return Section("Layers", [*_drawn(figures.of_layers(record)), table, *used])


def _features(profile: FeatureProfile) -> Section:
    rows = []
    for unit in profile.units:
        estimates = (unit.normal, unit.worst_case, unit.vulnerability)
        flags = dict.fromkeys(str(flag) for estimate in estimates for flag in estimate.flags)
        rows.append(Row(f"unit {unit.unit}", [estimate_cell(estimate) for estimate in estimates], list(flags)))
    every = (e for unit in profile.units for e in (unit.normal, unit.worst_case, unit.vulnerability))
    intro = f"{len(rows)} units of {figures.layer_name(profile.layer)}, each seen through noise of its own."
    table = Table(_biases(every), ("Unit", *COMPACT[:3]), rows, folded="Numbers of each unit")
    return Section("Units", [Text(intro), table, *_settings("Settings of the units", profile.settings)])


def _curve(record: ModelRecord, curve: VulnerabilityCurve) -> Section:
    rows = []
    for index, (eps, result) in enumerate(zip(curve.eps, curve.results, strict=True)):
        row = _compact(show.setting(eps), result)
        measured = [accuracy_cell(found[index]) for found in curve.accuracies.values()]
        rows.append(Row(row.label, [*row.cells, *measured], row.notes))
    head = ("Radius", *COMPACT, *(f"{name}, without noise" for name in curve.accuracies))
    caption = f"Radii in raw input units. {_directions(curve.results)}"
    table = Table(caption, head, rows, folded="Numbers at each radius")
    used = _settings("Settings of the radii", curve.settings)
    return Section("Against the radius", [*_drawn(figures.of_curve(record)), table, *used])


def _backbone(record: ModelRecord, report: BackboneReport) -> Section:
    rows = [
        Row(name, (accuracy_cell(probe.clean), accuracy_cell(probe.robust)), marked=name == report.best)
        for name, probe in report.probes.items()
    ]
    ceiling = percent_cell(report.ceiling)
    caption = (
        f"Heads trained on the frozen encoder. Floor: {accuracy_cell(report.floor)}, by {report.best}; it errs high "
        f"where the attack is weak. Ceiling: {ceiling}, behind noise or codes."
    )
    table = Table(caption, ("Head", "Clean", "Under attack"), rows)
    used = _settings("Settings of the heads", report.settings)
    encoder = _representation("Information of the encoder", report.representation)
    blocks = [Text(report.verdict), *_drawn(figures.of_heads(record)), table, *used]
    return Section("As a backbone", blocks, [encoder])
