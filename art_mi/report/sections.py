"""What a report says about one model, topic by topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from art_mi.report import cells as show
from art_mi.report import figures
from art_mi.report.blocks import Command, Drawing, Drawings, Flags, Row, Section, Table, Text
from art_mi.report.cells import MISSING, Cell, accuracy_cell, estimate_cell, measured_cell, number, percent_cell
from art_mi.results import (
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
    "critic": "a critic fitted to the representation (lower bound)",
    "noisy": "the representation seen through noise of known density (bounded from both sides)",
    "quantised": "the representation cut into codes and counted",
}
CEILINGS = {
    "exact": "Fano's inequality, solved exactly",
    "published": "Fano's inequality, as published",
    "label_aware": "from the information about the label",
}


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
    caution = (Text("Reasons for caution:"), Flags.of(raised)) if raised else ()
    return Section(record.name, caution, tuple(part for part in parts if part))


def flags_of(record: ModelRecord) -> set[Flag]:
    """Flags of a model's accuracies and of its representation.

    :param record: The model.
    """
    raised = set(record.robustness.flags if record.robustness else ())
    return raised | (_raised(record.representation) if record.representation else set())


def _raised(result: RepresentationVulnerability) -> set[Flag]:
    return {flag for _, row in result.rows() for flag in row.flags} | set(result.flags)


def _drawn(drawings: Iterable[Drawing]) -> tuple[Drawings, ...]:
    items = tuple(drawings)
    return (Drawings(items),) if items else ()


def _settings(caption: str, content: Mapping[str, Any]) -> tuple[Table, ...]:
    rows = tuple(Row(name, (Cell(value),)) for name, value in show.settings(content))
    return (Table(caption, ("Setting", "Value"), rows, folded=True),) if rows else ()


def _repeat(record: ModelRecord) -> tuple[Table | Command, ...]:
    command = () if record.command is None else (Command(record.command),)
    return (*command, *_settings("Data, environment and seed", record.settings))


def _robustness(result: RobustnessResult) -> Section:
    def row(name: str, accuracy: Any, ball: str, seconds: str, *notes: str) -> Row:
        return Row(name, (accuracy_cell(accuracy), Cell(ball), Cell(seconds)), notes)

    attacked = [
        row(name, attack.accuracy, show.ball(attack.norm, attack.eps), f"{attack.seconds:.1f}", show.setting(attack.settings))
        for name, attack in result.attacks.items()
    ]
    worst = row("worst case of all", result.worst_case, show.ball(result.norm, result.eps), MISSING)
    accuracies = Table(
        f"Accuracy over all {result.clean.nb_samples} samples, seed {result.random_state}. Under attack it errs high: a "
        "stronger attack may find more. The worst case counts a sample only if no attack in its ball, nor the absence of "
        "one, makes it wrong.",
        ("Attack", "Accuracy", "Ball", "Seconds"),
        (row("clean", result.clean, MISSING, MISSING), *attacked, worst),
    )
    checks = tuple(
        Row(name, (Cell("passed" if check.passed else "not passed"), Cell(check.finding)), marked=not check.passed)
        for name, check in result.checks.items()
    )
    checked = Table(
        "Checks for attacks that fail for another reason than robustness, such as masked gradients.",
        ("Check", "Outcome", "Finding"),
        checks,
    )
    blocks = (accuracies, *((checked,) if checks else ()), *_settings("Settings of the evaluation", result.settings))
    return Section("Accuracy under attack", blocks)


def _representation(title: str, result: RepresentationVulnerability) -> Section:
    layer = figures.layer_name(result.layer)
    intro = Text(f"Measured on {layer}, as {METHODS.get(result.method, result.method)}.")
    head = ("Quantity", f"Value ({result.unit})", "Lower to upper bound", "Samples", "Seed")
    estimates = Table(
        "Estimates with 95 % intervals, and the direction of every known bias.",
        head,
        tuple(_estimate(label, estimate) for label, estimate in result.rows()),
    )
    used = _settings("Settings of the measurement", {**result.normal.settings, **result.settings})
    blocks = (intro, estimates, *_ceilings(result), *_sweep(result), *used)
    return Section(title, blocks)


def _estimate(label: str, estimate: MIEstimate) -> Row:
    sides = [number(side) for side in (estimate.lower, estimate.upper) if side is not None]
    others = [f"{name} {number(value)} {estimate.unit}" for name, value in estimate.bounds.items()]
    if estimate.ceiling is not None:
        others.append(f"largest reportable value {number(estimate.ceiling)} {estimate.unit}")
    notes = [f"{estimate.estimator}; bias: {estimate.bias}"]
    notes += [f"also: {', '.join(others)}"] if others else []
    texts = (" to ".join(sides) or MISSING, str(estimate.nb_samples), str(estimate.random_state))
    return Row(label, (estimate_cell(estimate), *map(Cell, texts)), (*notes, *map(str, estimate.flags)))


def _ceilings(result: RepresentationVulnerability) -> tuple[Table, ...]:
    rows = [
        Row("accuracy ceiling", (percent_cell(result.accuracy_ceiling), Cell("the one compared"))),
        *(Row(name, (percent_cell(value), Cell(CEILINGS.get(name, "")))) for name, value in result.ceilings.items()),
    ]
    measured = measured_cell(result.measured_accuracy, result.normal.nb_samples)
    rows.append(Row("accuracy measured there", (measured, Cell("the classifier, on the same inputs behind the same noise or codes"))))
    caption = f"Accuracy ceilings. What they say: {result.ceiling_direction}. They carry no interval."
    return (Table(caption, ("Ceiling", "Value", "Meaning"), tuple(rows)),)


def _compact(label: str, result: RepresentationVulnerability, *notes: str) -> Row:
    cells = (
        *(estimate_cell(estimate) for estimate in (result.normal, result.worst_case, result.vulnerability)),
        percent_cell(result.accuracy_ceiling),
        measured_cell(result.measured_accuracy, result.normal.nb_samples),
    )
    flags = [str(flag) for flag in Flag if flag in _raised(result)]
    return Row(label, cells, (*notes, *flags))


COMPACT = ("Normal", "Worst case", "Vulnerability", "Ceiling", "Measured there")


def _sweep(result: RepresentationVulnerability) -> tuple[Table, ...]:
    rows = tuple(_compact(show.setting(point.settings.get("noise_std", MISSING)), point) for point in result.sweep)
    caption = "The same at each noise level, in standard deviations of the representation."
    return (Table(caption, ("Noise level", *COMPACT), rows),) if rows else ()


def _directions(results: Iterable[RepresentationVulnerability]) -> str:
    """What biases and ceilings of several results have in common, or where they differ."""
    every = list(results)
    biases = dict.fromkeys(row.bias for result in every for _, row in result.rows())
    ceilings = dict.fromkeys(result.ceiling_direction for result in every)
    return f"Bias: {'; '.join(biases)}. Ceiling: {'; '.join(ceilings)}."


def _layers(record: ModelRecord, profile: LayerProfile) -> Section:
    rows = tuple(
        _compact(name, result, *([f"attacked through {profile.attacked[name]}"] if name in profile.attacked else []))
        for name, result in profile.layers.items()
    )
    caption = f"Layers in the order in which they run. {_directions(profile.layers.values())}"
    blocks = (*_drawn(figures.of_layers(record)), Table(caption, ("Layer", *COMPACT), rows))
    return Section("Layers", (*blocks, *_settings("Settings of the profile", profile.settings)))


def _features(profile: FeatureProfile) -> Section:
    rows = []
    for unit in profile.units:
        estimates = (unit.normal, unit.worst_case, unit.vulnerability)
        flags = dict.fromkeys(str(flag) for estimate in estimates for flag in estimate.flags)
        rows.append(Row(f"unit {unit.unit}", tuple(map(estimate_cell, estimates)), tuple(flags)))
    biases = dict.fromkeys(e.bias for unit in profile.units for e in (unit.normal, unit.worst_case, unit.vulnerability))
    caption = f"The {len(rows)} units of {figures.layer_name(profile.layer)}, each through noise of its own. Bias: {'; '.join(biases)}"
    table = Table(caption, ("Unit", *COMPACT[:3]), tuple(rows), folded=True)
    return Section("Units", (table, *_settings("Settings of the profile", profile.settings)))


def _curve(record: ModelRecord, curve: VulnerabilityCurve) -> Section:
    rows = []
    for index, (eps, result) in enumerate(zip(curve.eps, curve.results, strict=True)):
        row = _compact(show.setting(eps), result)
        measured = tuple(accuracy_cell(found[index]) for found in curve.accuracies.values())
        rows.append(Row(row.label, (*row.cells, *measured), row.notes))
    head = ("Radius", *COMPACT, *(f"{name}, without noise" for name in curve.accuracies))
    caption = f"Radii in raw input units. {_directions(curve.results)}"
    blocks = (*_drawn(figures.of_curve(record)), Table(caption, head, tuple(rows)))
    return Section("Radius", (*blocks, *_settings("Settings of the curve", curve.settings)))


def _backbone(record: ModelRecord, report: BackboneReport) -> Section:
    rows = tuple(
        Row(name, (accuracy_cell(probe.clean), accuracy_cell(probe.robust)), marked=name == report.best)
        for name, probe in report.probes.items()
    )
    ceiling = percent_cell(report.representation.accuracy_ceiling)
    table = Table(
        f"Heads trained on the frozen encoder. Floor: {accuracy_cell(report.floor)}, by {report.best}; it errs high where the "
        f"attack is weak. Ceiling: {ceiling}, behind noise or codes.",
        ("Head", "Clean", "Under attack"),
        rows,
    )
    encoder = _representation("Information of the encoder", report.representation)
    blocks = (Text(report.verdict), *_drawn(figures.of_probes(record)), table, *encoder.blocks)
    return Section("As a backbone", (*blocks, *_settings("Settings of the probes", report.settings)))
