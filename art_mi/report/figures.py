"""Every figure that records allow, with the words that stand for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from art_mi.report.blocks import Drawing
from art_mi.report.cells import estimate_cell, number
from art_mi.report.plots import (
    accuracy_against_eps,
    accuracy_against_information,
    accuracy_rows,
    adversarial_examples,
    feature_histogram,
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
from art_mi.report.plots.canvas import file_svg
from art_mi.report.plots.images import SALIENCY, are_images
from art_mi.report.plots.training import has_accuracies, has_losses
from art_mi.results import Accuracy, FeatureProfile, ModelRecord, RepresentationVulnerability

MARKS = "Markers are estimates, thin lines 95 % intervals"


def compared(records: Sequence[ModelRecord]) -> list[Drawing]:
    """Figures that show all models at once.

    :param records: Models.
    """
    accuracies = {r.name: r.robustness.accuracies() for r in records if r.robustness}
    results = {r.name: r.representation for r in records if r.representation}
    layers = {r.name: r.layers for r in records if r.layers}
    features = {r.name: r.features for r in records if r.features}
    both = [record for record in records if record.robustness and record.representation]
    drawings = []
    if accuracies:
        drawings.append(_accuracies(accuracies))
    if results:
        drawings.extend(_information(results))
    if len(both) > 1:
        drawings.append(_gap(both))
    if len(layers) > 1:
        drawings.append(
            Drawing(
                "layers",
                layer_vulnerability(layers),
                "Vulnerability of each layer of each model; the numbers are in the tables of the models.",
                f"Vulnerability layer by layer, the first on top. {MARKS}. Noise is relative to each layer's own spread, so "
                "that a layer is compared between models rather than with its neighbours.",
            )
        )
    if features:
        drawings.extend(_features(features))
    return drawings


def _accuracies(accuracies: dict[str, dict[str, Accuracy]]) -> Drawing:
    worst = "; ".join(f"{name}: " + ", ".join(_percent(k, v) for k, v in found.items()) for name, found in accuracies.items())
    return Drawing(
        "accuracies",
        accuracy_rows(accuracies),
        f"Accuracy without and under attack. {worst}",
        "Accuracy over all samples, with 95 % intervals. The worst case counts a sample only if no attack makes it wrong.",
    )


def _percent(name: str, accuracy: Accuracy) -> str:
    return f"{name} {number(100 * accuracy.value, 1)} %"


def _information(results: dict[str, RepresentationVulnerability]) -> list[Drawing]:
    said = "; ".join(
        f"{name}: normal {estimate_cell(result.normal)}, worst case {estimate_cell(result.worst_case)}"
        for name, result in results.items()
    )
    drawings = [
        Drawing(
            "information",
            information_bars(results),
            f"Normal and worst-case information with 95 % intervals. {said}",
            f"Information before and after the worst perturbation found. {MARKS}; a thick line runs from the lower to the "
            "upper bound where an estimate has both.",
        )
    ]
    if any(result.measured_accuracy is not None for result in results.values()):
        ceilings = "; ".join(f"{name}: {number(100 * result.accuracy_ceiling, 1)} %" for name, result in results.items())
        drawings.append(
            Drawing(
                "ceiling",
                accuracy_against_information(results),
                f"Accuracy measured on the perturbed inputs against information, below the ceiling. Ceilings: {ceilings}",
                "Accuracy on the perturbed inputs behind the noise or codes, and the ceiling that the information left puts "
                "on it. Thin vertical lines are 95 % intervals; the ceiling itself has none.",
            )
        )
    if swept := [name for name, result in results.items() if result.sweep]:
        drawings.append(
            Drawing(
                "noise",
                sweep_curve(results),
                f"Normal and worst-case information against the noise level for {', '.join(swept)}; the numbers are in the "
                "tables of the models.",
                "Information at each noise level. Bands are 95 % intervals.",
            )
        )
    return drawings


def _gap(records: Sequence[ModelRecord]) -> Drawing:
    said = "; ".join(
        f"{r.name}: vulnerability {estimate_cell(r.representation.vulnerability)}, gap {number(100 * r.robustness.gap, 1)} "
        "points"
        for r in records
        if r.representation and r.robustness
    )
    return Drawing(
        "gap",
        gap_against_vulnerability(records),
        f"Adversarial gap against representation vulnerability. {said}",
        "The adversarial gap, clean minus worst-case accuracy, against the information lost. Lines are 95 % intervals over "
        "samples; the correlation is over models.",
    )


def _features(features: dict[str, FeatureProfile]) -> list[Drawing]:
    counts = ", ".join(f"{name}: {len(profile.units)} units of {layer_name(profile.layer)}" for name, profile in features.items())
    return [
        Drawing(
            "units-information",
            feature_histogram(features, "normal"),
            f"Histogram of the normal information of single units. {counts}.",
            "How much single units say, each seen through noise of its own.",
        ),
        Drawing(
            "units-vulnerability",
            feature_histogram(features, "vulnerability"),
            f"Histogram of the vulnerability of single units. {counts}.",
            "How much of it they lose. The sampling error of each unit, given in the tables, widens the histogram.",
        ),
    ]


def layer_name(layer: str | None) -> str:
    """A layer in words.

    :param layer: Dotted name, or None.
    """
    return "the classifier's output" if layer is None else layer


def of_layers(record: ModelRecord) -> list[Drawing]:
    """Information of the layers of one model.

    :param record: The model.
    """
    if not record.layers or not record.layers.layers:
        return []
    return [
        Drawing(
            "layers",
            layer_information(record.layers),
            f"Normal and worst-case information of the layers of {record.name}; the numbers are in the table below.",
            f"From the first layer, on top, to the last. {MARKS}.",
        )
    ]


def of_curve(record: ModelRecord) -> list[Drawing]:
    """Information and accuracy of one model against the radius.

    :param record: The model.
    """
    if not record.curve or not record.curve.results:
        return []
    words = f"of {record.name} against the radius; the numbers are in the table below."
    return [
        Drawing(
            "radius-information",
            information_against_eps(record.curve),
            f"Normal and worst-case information {words}",
            "Information left at each radius. Bands are 95 % intervals.",
        ),
        Drawing(
            "radius-accuracy",
            accuracy_against_eps(record.curve),
            f"Accuracy ceiling and measured accuracies {words}",
            "The ceiling holds behind the noise, for the perturbations found, and not for accuracies measured without noise.",
        ),
    ]


def of_images(record: ModelRecord) -> list[Drawing]:
    """Samples of one model: perturbed, and with gradients.

    :param record: The model.
    """
    images = record.images
    drawings = []
    if are_images(images.get("x")) and are_images(images.get("x_adv")):
        drawings.append(
            Drawing(
                "examples",
                adversarial_examples(images),
                f"Samples as they are, perturbed, and the change, with what {record.name} calls them.",
                "The first samples measured, not chosen. Above them their labels, below them what the model calls them. "
                "Change: white is none, purple brighter, orange darker, one scale for all.",
            )
        )
    if are_images(images.get("x")) and any(are_images(images.get(name)) for name in SALIENCY):
        drawings.append(
            Drawing(
                "saliency",
                saliency_grid(images),
                f"Samples above the gradients that {record.name} has there.",
                "Where a small change moves the information, or the loss, most: white nowhere, purple upwards, orange "
                "downwards. Each map is scaled by its own largest gradient, so that only patterns compare.",
            )
        )
    return drawings


def of_training(record: ModelRecord) -> list[Drawing]:
    """How one model was trained.

    :param record: The model.
    """
    drawings = []
    if has_accuracies(record.history):
        drawings.append(
            Drawing(
                "training-accuracy",
                training_accuracies(record.history),
                f"Validation accuracies of {record.name} against the epoch.",
                "Accuracy on the validation samples, against the attack of training.",
            )
        )
    if has_losses(record.history):
        drawings.append(
            Drawing(
                "training-loss",
                training_losses(record.history),
                f"Loss of {record.name} and its terms against the epoch.",
                "The loss and its terms, as they were while training.",
            )
        )
    return drawings


def of_probes(record: ModelRecord) -> list[Drawing]:
    """Heads on one encoder.

    :param record: The model.
    """
    if not record.backbone or not record.backbone.probes:
        return []
    probes = record.backbone.probes.items()
    shown = {
        "without attack": {name: probe.clean for name, probe in probes},
        "under attack": {name: probe.robust for name, probe in probes},
    }
    said = "; ".join(f"{name}: {_percent('clean', p.clean)}, {_percent('under attack', p.robust)}" for name, p in probes)
    return [
        Drawing(
            "probes",
            accuracy_rows(shown),
            f"Accuracy of heads trained on the frozen encoder. {said}",
            "Heads trained on the frozen encoder, on samples held out, with 95 % intervals.",
        )
    ]


def of_model(record: ModelRecord) -> list[Drawing]:
    """All figures of one model.

    :param record: The model.
    """
    kinds = (of_layers, of_curve, of_probes, of_images, of_training)
    return [drawing for kind in kinds for drawing in kind(record)]


def write_figures(records: Sequence[ModelRecord], folder: str | Path) -> list[Path]:
    """Every figure as SVG and as PNG.

    :param records: Models; their figures carry the model's number in the file name.
    :param folder: Created where missing.
    :return: The files.
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    named = [(drawing.name, drawing) for drawing in compared(records)]
    for index, record in enumerate(records, 1):
        named.extend((f"model-{index}-{drawing.name}", drawing) for drawing in of_model(record))
    files = []
    for name, drawing in named:
        files.extend([out / f"{name}.svg", out / f"{name}.png"])
        files[-2].write_text(file_svg(drawing.figure), encoding="utf-8")
        drawing.figure.savefig(files[-1], dpi=200, facecolor="white", metadata={"Software": None})
    return files
