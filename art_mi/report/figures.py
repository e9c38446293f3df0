"""Every figure that records allow, with the words that stand for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from art_mi.report.blocks import Drawing
from art_mi.report.cells import accuracy_cell, estimate_cell, percent_cell
from art_mi.report.folders import check_records
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
from art_mi.report.plots.canvas import NORMAL, WORST, Marks, file_png, file_svg, model_marks
from art_mi.report.plots.images import SALIENCY, are_images
from art_mi.report.plots.training import has_accuracies, has_losses
from art_mi.results import ModelRecord
from art_mi.rules import PATH, check

MARKS = "Markers are estimates, thin lines 95 % intervals"
CAPTIONS = {
    "accuracies": "Accuracy over all samples, with 95 % intervals. The worst case counts a sample only if no attack "
    "within the ball makes it wrong.",
    "information": f"Information before and after the worst perturbation found. {MARKS}; a thick line runs from the "
    "lower to the upper bound where an estimate has both.",
    "ceiling": "Accuracy on the perturbed inputs behind the noise or codes, and the ceiling that the information left "
    "puts on it. Thin vertical lines are 95 % intervals; the ceiling itself has none.",
    "noise": "Information at each noise level. Bands are 95 % intervals.",
    "gap": "The adversarial gap, clean minus worst-case accuracy, against the information lost. Lines are 95 % "
    "intervals over samples; the correlation is over models.",
    "layers-compared": f"Vulnerability layer by layer, the first on top. {MARKS}. By default the noise of a layer is "
    "set so that it says about half of log n without attack: drops compare, and at equal n only.",
    "units-information": "How much single units say, each seen through noise of its own.",
    "units-vulnerability": "How much of it they lose. The sampling error of each unit, given in the tables, widens the "
    "histogram.",
    "layers": f"From the first layer, on top, to the last. {MARKS}.",
    "radius-information": "Information left at each radius. Bands are 95 % intervals.",
    "radius-accuracy": "The ceiling holds behind the noise, for the perturbations found, and not for accuracies "
    "measured without noise.",
    "heads": "Heads trained on the frozen encoder, on samples held out, with 95 % intervals.",
    "examples": "The first samples measured, not chosen. Above them their labels, below what the model calls them, "
    "framed where it is wrong. Change: white is none, purple brighter, orange darker, one scale for all.",
    "saliency": "Where a small change moves the information, or the loss, most: white nowhere, purple upwards, orange "
    "downwards. Each map is scaled by the 99th percentile of its own, so that only patterns compare.",
    "training-accuracy": "Accuracy on the validation samples, against the attack of training.",
    "training-loss": "The loss and its terms, as they were while training.",
}


def _drawing(name: str, axes: Axes, alt: str) -> Drawing:
    return Drawing(name, axes, alt, CAPTIONS[name])


def compared(records: Sequence[ModelRecord]) -> list[Drawing]:
    """Figures that show all models at once.

    :param records: Models.
    """
    marks = model_marks(record.name for record in records)
    return [*_accuracies(records, marks), *_information(records, marks), *_inside(records, marks)]


def _accuracies(records: Sequence[ModelRecord], marks: Marks) -> Iterator[Drawing]:
    found = {r.name: r.robustness.accuracies() for r in records if r.robustness}
    said = "; ".join(
        f"{model}: {', '.join(f'{name} {accuracy_cell(accuracy)}' for name, accuracy in accuracies.items())}"
        for model, accuracies in found.items()
    )
    if found:
        yield _drawing("accuracies", accuracy_rows(found, marks=marks), f"Accuracy without and under attack. {said}")


def _information(records: Sequence[ModelRecord], marks: Marks) -> Iterator[Drawing]:
    results = {r.name: r.representation for r in records if r.representation}
    said = {
        name: f"{name}: normal {estimate_cell(result.normal)}, worst case {estimate_cell(result.worst_case)}, "
        f"ceiling {percent_cell(result.accuracy_ceiling)}, measured there {percent_cell(result.measured_accuracy)}"
        for name, result in results.items()
    }
    words = "; ".join(said.values())
    if results:
        yield _drawing("information", information_bars(results), f"Normal and worst-case information. {words}")
    if any(result.measured_accuracy is not None for result in results.values()):
        alt = f"Accuracy on the perturbed inputs against information. {words}"
        yield _drawing("ceiling", accuracy_against_information(results, marks=marks), alt)
    if swept := [name for name, result in results.items() if result.sweep]:
        alt = f"Information against the noise level for {', '.join(swept)}; numbers are in the tables below."
        yield _drawing("noise", sweep_curve(results), alt)
    if sum(1 for record in records if record.robustness and record.representation) > 1:
        gaps = ", ".join(f"{r.name} {percent_cell(r.robustness.gap)}" for r in records if r.robustness)
        alt = f"Adversarial gap against vulnerability. Gaps: {gaps}. {words}"
        yield _drawing("gap", gap_against_vulnerability(records), alt)


def _inside(records: Sequence[ModelRecord], marks: Marks) -> Iterator[Drawing]:
    layers = {r.name: r.layers for r in records if r.layers and r.layers.layers}
    features = {r.name: r.features for r in records if r.features and r.features.units}
    if len(layers) > 1:
        alt = f"Vulnerability of the layers of {', '.join(layers)}; numbers are in the tables below."
        yield _drawing("layers-compared", layer_vulnerability(layers, marks=marks), alt)
    if features:
        units = ", ".join(f"{name}: {len(p.units)} units of {layer_name(p.layer)}" for name, p in features.items())
        axes = feature_histogram(features, "normal", marks=marks)
        yield _drawing("units-information", axes, f"Histogram of the information of single units. {units}.")
        axes = feature_histogram(features, "vulnerability", marks=marks)
        yield _drawing("units-vulnerability", axes, f"Histogram of the vulnerability of single units. {units}.")


def layer_name(layer: str | None) -> str:
    """A layer in words.

    :param layer: Dotted name, or None.
    """
    return "the classifier's output" if layer is None else layer


def of_layers(record: ModelRecord) -> Iterator[Drawing]:
    """Information of the layers of one model.

    :param record: The model.
    """
    if record.layers and record.layers.layers:
        alt = f"Normal and worst-case information of the layers of {record.name}; numbers are in the table below."
        yield _drawing("layers", layer_information(record.layers), alt)


def of_curve(record: ModelRecord) -> Iterator[Drawing]:
    """Information and accuracy of one model against the radius.

    :param record: The model.
    """
    if record.curve and record.curve.results:
        words = f"of {record.name} against the radius; numbers are in the table below."
        axes = information_against_eps(record.curve)
        yield _drawing("radius-information", axes, f"Normal and worst-case information {words}")
        axes = accuracy_against_eps(record.curve)
        yield _drawing("radius-accuracy", axes, f"Accuracy ceiling and measured accuracies {words}")


def of_heads(record: ModelRecord) -> Iterator[Drawing]:
    """Heads on one encoder.

    :param record: The model.
    """
    if record.backbone and record.backbone.probes:
        probes = record.backbone.probes.items()
        clean = {name: probe.clean for name, probe in probes}
        robust = {name: probe.robust for name, probe in probes}
        marks = {"without attack": (NORMAL, "o"), "under attack": (WORST, "D")}
        axes = accuracy_rows({"without attack": clean, "under attack": robust}, marks=marks)
        yield _drawing("heads", axes, f"Accuracy of heads on {record.name}; numbers are in the table below.")


def of_images(record: ModelRecord) -> Iterator[Drawing]:
    """Samples of one model: perturbed, and with gradients.

    :param record: The model.
    """
    images = record.images
    if are_images(images.get("x")) and are_images(images.get("x_adv")):
        alt = f"Samples as they are, perturbed, and the change, with what {record.name} calls them."
        yield _drawing("examples", adversarial_examples(images), alt)
    if are_images(images.get("x")) and any(are_images(images.get(name)) for name in SALIENCY):
        alt = f"Samples above the gradients that {record.name} has there."
        yield _drawing("saliency", saliency_grid(images), alt)


def of_training(record: ModelRecord) -> Iterator[Drawing]:
    """How one model was trained.

    :param record: The model.
    """
    if has_accuracies(record.history):
        alt = f"Validation accuracies of {record.name} against the epoch."
        yield _drawing("training-accuracy", training_accuracies(record.history), alt)
    if has_losses(record.history):
        alt = f"Loss of {record.name} and its terms against the epoch."
        yield _drawing("training-loss", training_losses(record.history), alt)


def write_figures(records: Sequence[ModelRecord], folder: str | Path) -> list[Path]:
    """Every figure as SVG and as PNG.

    :param records: Models; figures of one carry its number in the file name.
    :param folder: Created where missing.
    :return: The files.
    :raises TypeError: If `records` holds anything but records.
    :raises ValueError: If it is empty, or `folder` no path.
    """
    check_records(records)
    check("folder", folder, PATH)
    named = [(drawing.name, drawing) for drawing in compared(records)]
    for index, record in enumerate(records, 1):
        kinds = (of_layers, of_curve, of_heads, of_images, of_training)
        named.extend((f"model-{index}-{drawing.name}", drawing) for kind in kinds for drawing in kind(record))
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for name, drawing in named:
        (out / f"{name}.svg").write_text(file_svg(drawing.figure), encoding="utf-8")
        (out / f"{name}.png").write_bytes(file_png(drawing.figure))
    return [out / f"{name}.{ending}" for name, _ in named for ending in ("svg", "png")]
