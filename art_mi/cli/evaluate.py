"""`art-mi evaluate`: everything about one model, in a folder that `art-mi report` reads."""

from __future__ import annotations

import csv
import inspect
import json
import platform
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray

from art_mi import metrics
from art_mi.cli.inputs import fraction, load_classifier, samples
from art_mi.evaluation import BUILDERS, DEFAULT, evaluate_robustness, undisturbed
from art_mi.evaluation.attacks import pgd
from art_mi.finished import Finished, fingerprint
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.results import ModelRecord, RepresentationVulnerability, RobustnessResult
from art_mi.results.record import RECORD
from art_mi.rules import POSITIVE, check, one_of

Array = NDArray[Any]
NB_IMAGES = 12
SWITCHES = ("--quiet", "--layer-profile", "--feature-profile")
PACKAGES = ("art-mi", "adversarial-robustness-toolbox", "torch", "numpy")


def evaluate(
    model: str,
    data: str,
    eps: str,
    out: str,
    weights: str | None = None,
    name: str | None = None,
    norm: Literal["inf", "2", "1"] = "inf",
    attacks: str | None = None,
    checks: bool = True,
    layer: str | None = None,
    layer_profile: bool = False,
    feature_profile: bool = False,
    curve: str | None = None,
    clip_values: tuple[float, float] | None = (0.0, 1.0),
    nb_samples: int = 1000,
    data_dir: str | None = None,
    random_state: int = 0,
    quiet: bool = False,
) -> None:
    """Accuracy under attack and representation vulnerability of a model, in a folder that `art-mi report` reads.

    An evaluation that was interrupted goes on from the parts it finished when the same command is given again.

    Args:
        model: torch.export file (.pt2), TorchScript file, or `package.module:function` that returns a module.
        data: File .npz with x and y, or the name of a data set.
        eps: Radius in raw input units; fractions such as 8/255 are understood.
        out: Folder for results.json and images.npz.
        weights: File model.safetensors of `art-mi train`, loaded into a model built by a function.
        name: What reports call the model; by default the folder of the weights, or the model as given here.
        norm: Norm of the threat model.
        attacks: Names between commas, out of FGSM, PGD-20, PGD-50, PGD-l2, CW-inf, APGD-CE, APGD-DLR, Square and
            AutoAttack; by default all but the last two.
        checks: Look for masked gradients.
        layer: Dotted name of the layer whose vulnerability is measured; the output by default.
        layer_profile: Measure every layer.
        feature_profile: Measure every unit of the layer.
        curve: Radii between commas, such as 2/255,4/255, at which vulnerability and accuracy are measured.
        clip_values: Least and largest input value; null for no limits.
        nb_samples: Most samples used.
        data_dir: Folder of torchvision's files.
        random_state: Seed.
        quiet: No progress bars.
    """
    command = _command(locals())
    radius, radii = check("eps", fraction(eps), POSITIVE), [fraction(text) for text in _parts(curve)]
    names = [check("attacks", attack, one_of(BUILDERS)) for attack in _parts(attacks)] or DEFAULT
    _check_out(out)
    x, y = samples(data, data_dir)
    if y is None:
        raise ValueError(f"`data` must hold labels `y`, got {data!r} without.")
    x, y = x[:nb_samples], y[:nb_samples]
    classifier = load_classifier(model, weights, x, clip_values)
    threat: dict[str, Any] = {"eps": radius, "norm": norm if norm == "inf" else float(norm)}
    shared: dict[str, Any] = {**threat, "random_state": random_state, "verbose": not quiet}
    representation = _representation(classifier, x, y, out, layer=layer, **shared)
    robustness = evaluate_robustness(classifier, x, y, attacks=names, checks=checks, out=out, **shared)
    record = ModelRecord(
        name or (model if weights is None else Path(weights).resolve().parent.name),
        representation,
        robustness,
        metrics.layer_profile(classifier, x, y, out=out, **shared) if layer_profile else None,
        metrics.feature_profile(classifier, x, layer, out=out, **shared) if feature_profile else None,
        metrics.vulnerability_curve(classifier, x, y, layer=layer, out=out, **{**shared, "eps": radii})
        if radii
        else None,
        history=_history(out, weights),
        settings={"data": data, "samples": len(x), "random_state": random_state, **_versions()},
        command=command,
        images=_images(classifier, x, y, threat, random_state),
    )
    record.save(out)
    print(f"{_table(robustness)}\n{representation}\n{Path(out) / RECORD}")


def _parts(text: str | None) -> list[str]:
    return [] if text is None else [part.strip() for part in text.split(",")]


def _check_out(out: str) -> None:
    """Refuse to write over results of something else, such as those of a training run."""
    if (Path(out) / RECORD).exists():
        try:
            ModelRecord.load(out)
        except ValueError as error:
            raise ValueError(f"`out` must be a folder of its own, got {out!r} with other results: {error}") from error


def _representation(
    classifier: PyTorchClassifier, x: Array, y: Array, out: str, **settings: Any
) -> RepresentationVulnerability:
    """Representation vulnerability by the noisy method, kept once it is known."""
    kept_for = {name: value for name, value in settings.items() if name != "verbose"}
    finished = Finished(out, fingerprint(classifier, x, y, kept_for))
    if (kept := finished.get("representation")) is not None:
        return RepresentationVulnerability.from_dict(kept)
    found = WorstCaseMIEstimator(**settings).evaluate(classifier, x, y)
    finished.put("representation", found.to_dict())
    return found


def _images(
    classifier: PyTorchClassifier, x: Array, y: Array, threat: Mapping[str, Any], random_state: int
) -> dict[str, Array]:
    """A few samples before and after PGD-20."""
    x, y = x[:NB_IMAGES], y[:NB_IMAGES]
    with undisturbed(classifier, random_state):
        x_adv = pgd(classifier, **threat, max_iter=20, batch_size=NB_IMAGES).generate(x, y)
        predicted, predicted_adv = (classifier.predict(inputs).argmax(1) for inputs in (x, x_adv))
    return {"x": x, "x_adv": x_adv, "y": y, "predicted": predicted, "predicted_adv": predicted_adv}


def _history(out: str, weights: str | None) -> tuple[dict[str, float | str], ...]:
    """What `art-mi train` wrote about its epochs beside the weights or in the same folder; nothing where it did not."""
    folders = [Path(out), *([] if weights is None else [Path(weights).parent])]
    for path in (folder / "history.csv" for folder in folders):
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                return tuple({name: _number(cell) for name, cell in row.items()} for row in csv.DictReader(file))
    return ()


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _command(given: Mapping[str, Any]) -> str:
    """The shell command that gives these options, those at their default left out."""
    words = ["art-mi", "evaluate"]
    for name, parameter in inspect.signature(evaluate).parameters.items():
        value = given[name]
        if value == parameter.default:
            continue
        option = f"--{name.replace('_', '-')}"
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(option if option in SWITCHES else f"{option}={text}")
    return shlex.join(words)


def _table(result: RobustnessResult) -> str:
    """Accuracies with their intervals, and what was found about the attacks."""
    lines = []
    for name, value in result.accuracies().items():
        low, high = value.confidence_interval
        seconds = f"{result.attacks[name].seconds:>9.1f} s" if name in result.attacks else ""
        lines.append(f"{name:<20}{value.value:>7.1%} [{low:.1%}, {high:.1%}] of {value.nb_samples}{seconds}")
    failed = [outcome for outcome in result.checks.values() if not outcome.passed]
    lines += [f"{outcome.flag}: {outcome.flag.meaning} ({outcome.finding})" for outcome in failed]
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
