"""`art-mi evaluate`: everything about one model, in a folder that `art-mi report` reads."""

from __future__ import annotations

import csv
import inspect
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from art_mi.assessment import assess
from art_mi.cli.inputs import fraction, load_classifier, samples
from art_mi.evaluation import BUILDERS, DEFAULT
from art_mi.metrics.measurement import FEWEST_PAIRS
from art_mi.results import ModelRecord, RobustnessResult
from art_mi.results.record import RECORD
from art_mi.rules import FOLDER, POSITIVE, check, integer, one_of

SWITCHES = ("--quiet", "--download", "--layer-profile", "--feature-profile")


def evaluate(
    model: str,
    data: str,
    eps: str | float,
    out: str,
    weights: str | None = None,
    name: str | None = None,
    norm: Literal["inf", "2", "1"] = "inf",
    attacks: str | None = None,
    checks: bool = True,
    layer: str | None = None,
    layer_profile: bool = True,
    feature_profile: bool = True,
    curve: str | None = None,
    clip_values: tuple[float, float] | None = (0.0, 1.0),
    nb_samples: int = 1000,
    nb_profiled: int = 200,
    data_dir: str | None = None,
    download: bool = False,
    random_state: int = 0,
    quiet: bool = False,
) -> None:
    """Accuracy under attack and representation vulnerability of a model, in a folder that `art-mi report` reads.

    An evaluation that was interrupted goes on from the parts it finished when the same command is given again.

    Args:
        model: torch.export file (.pt2), TorchScript file, `package.module:function` that returns a module, or small-cnn
            with weights.
        data: File .npz with x and y, or digits, mnist, fashion-mnist, svhn or cifar10, whose test samples are taken.
        eps: Radius in raw input units; fractions such as 8/255 are understood.
        out: Folder for results.json and images.npz.
        weights: File model.safetensors of `art-mi train`, loaded into a model built by a function.
        name: What reports call the model; by default the name of the folder `out`.
        norm: Norm of the threat model.
        attacks: Names between commas, out of FGSM, PGD-20, PGD-50, PGD-l2, CW-inf, APGD-CE, APGD-DLR, Square and
            AutoAttack; by default all but the last two.
        checks: Look for masked gradients.
        layer: Dotted name of the layer whose vulnerability is measured; the output by default.
        layer_profile: Measure every layer.
        feature_profile: Measure every unit of the layer.
        curve: Radii between commas, such as 2/255,4/255, at which vulnerability and accuracy are measured; by default
            half of eps, eps and twice eps; an empty text for none.
        clip_values: Least and largest input value; null for no limits.
        nb_samples: Most samples used.
        nb_profiled: Most samples of the profiles and the curve.
        data_dir: Folder of torchvision's files, for all data sets but digits.
        download: Download what is missing into that folder.
        random_state: Seed.
        quiet: No progress bars.
    """
    command = _command(locals())
    radius = check("eps", fraction(eps), POSITIVE)
    radii = [radius / 2, radius, 2 * radius] if curve is None else [fraction(text, "curve") for text in _parts(curve)]
    check("nb_samples", nb_samples, integer(FEWEST_PAIRS))
    names = [check("attacks", attack, one_of(BUILDERS)) for attack in _parts(attacks)] or DEFAULT
    _check_out(check("out", out, FOLDER))
    x, y = samples(data, data_dir, download=download)
    if y is None:
        raise ValueError(f"`data` must hold labels `y`, got {data!r} without.")
    x, y = x[:nb_samples], y[:nb_samples]
    classifier = load_classifier(model, weights, x, clip_values, random_state)
    record = assess(
        classifier,
        x,
        y,
        eps=radius,
        norm=norm if norm == "inf" else float(norm),
        name=name or Path(out).resolve().name,
        layer=layer,
        attacks=names,
        checks=checks,
        layer_profile=layer_profile,
        feature_profile=feature_profile,
        curve=radii,
        nb_profiled=nb_profiled,
        history=_history(out, weights),
        settings={"data": data},
        command=command,
        out=out,
        random_state=random_state,
        verbose=not quiet,
    )
    assert record.robustness is not None
    print(f"{_table(record.robustness)}\n{record.representation}\n{Path(out) / RECORD}")


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _check_out(out: str) -> None:
    """Refuse to write over results of something else, such as those of a training run."""
    if (Path(out) / RECORD).exists():
        try:
            ModelRecord.load(out)
        except ValueError as error:
            raise ValueError(f"`out` must be a folder of its own, got {out!r} with other results: {error}") from error


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
