"""Command line: `art-mi demo`, `art-mi estimate`, `art-mi selftest`."""

from __future__ import annotations

import importlib
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from jsonargparse import auto_cli
from torch import nn
from tqdm.auto import tqdm

from art_mi.bridge import evaluating
from art_mi.datasets import load
from art_mi.demo import run_demo, table, write_demo
from art_mi.distributions import problems
from art_mi.estimation import estimate_mutual_information
from art_mi.metrics import WorstCaseMIEstimator


def demo(
    dataset: Literal["digits", "fashion-mnist"] = "digits",
    data_dir: str | None = None,
    out: str = "art-mi-demo",
    nb_epochs: int | None = None,
    nb_samples: int = 1800,
    random_state: int = 0,
    quiet: bool = False,
) -> None:
    """Train a standard and a robust classifier of real images and compare their representations.

    Args:
        dataset: Data set; digits needs no download.
        data_dir: Folder of torchvision's files.
        out: Folder for index.html and results.json.
        nb_epochs: Training epochs; by default 20 for digits and 1 for larger sets.
        nb_samples: Most images that are attacked and measured.
        random_state: Seed.
        quiet: No progress bars.
    """
    nb_epochs = nb_epochs or (20 if dataset == "digits" else 1)
    found = run_demo(
        dataset, data_dir, nb_epochs=nb_epochs, nb_samples=nb_samples, random_state=random_state, verbose=not quiet
    )
    folder = Path(out)
    options = "" if data_dir is None else f" --data-dir {shlex.quote(data_dir)}"
    command = f"art-mi demo --dataset {dataset}{options} --nb-epochs {nb_epochs} --nb-samples {nb_samples}"
    write_demo(found, folder, f"{command} --random-state {random_state}")
    print(table(found))
    print(f"\n{folder / 'index.html'}\n{folder / 'results.json'}")


def estimate(
    model: str,
    data: str,
    eps: str,
    layer: str | None = None,
    method: Literal["noisy", "critic", "quantised"] = "noisy",
    norm: Literal["inf", "2", "1"] = "inf",
    noise_std: list[float] | None = None,
    max_iter: int = 40,
    clip_values: tuple[float, float] | None = (0.0, 1.0),
    nb_samples: int = 2000,
    data_dir: str | None = None,
    unit: Literal["nats", "bits"] = "nats",
    out: str | None = None,
    random_state: int = 0,
    quiet: bool = False,
) -> None:
    """Representation vulnerability of a model of your own.

    Args:
        model: torch.export file (.pt2), TorchScript file, or `package.module:function` that returns a module.
        data: File .npy of inputs, .npz with `x` and optionally `y`, or the name of a data set.
        eps: Radius in raw input units; fractions such as 8/255 are understood.
        layer: Dotted layer name; the output by default. A TorchScript file has its output only.
        method: How information is measured.
        norm: Norm of the threat model.
        noise_std: Noise levels of method noisy.
        max_iter: Steps of an attack.
        clip_values: Least and largest input value; null for no limits.
        nb_samples: Most samples used.
        data_dir: Folder of torchvision's files.
        unit: Unit of information.
        out: File .json or .html to write the result to.
        random_state: Seed.
        quiet: No progress bars.
    """
    radius = _fraction(eps)
    if out is not None and not Path(out).parent.is_dir():
        raise ValueError(f"`out` must lie in an existing folder, got {out!r}.")
    x, y = _samples(data, data_dir)
    x, y = x[:nb_samples], None if y is None else y[:nb_samples]
    module = _model(model)
    with evaluating(module), torch.no_grad():
        output = module(torch.from_numpy(x[:2]).to(next(module.parameters(), torch.empty(0)).device))
    classifier = PyTorchClassifier(module, nn.CrossEntropyLoss(), x.shape[1:], output.shape[1], clip_values=clip_values)
    estimator = WorstCaseMIEstimator(
        radius,
        norm=norm if norm == "inf" else float(norm),
        layer=layer,
        method=method,
        noise_std=noise_std or 1.0,
        max_iter=max_iter,
        unit=unit,
        random_state=random_state,
        verbose=not quiet,
    )
    result = estimator.evaluate(classifier, x, y)
    print(result)
    if out is not None:
        if out.endswith(".html"):
            result.to_html(out, name=model)
        else:
            result.to_json(out)


def selftest(nb_samples: int = 10_000, random_state: int = 0, only: str | None = None, quiet: bool = False) -> None:
    """Estimate information where the truth is known and print truth, estimate and error.

    Args:
        nb_samples: Pairs of each problem.
        random_state: Seed.
        only: Keep the problems whose name contains this text.
        quiet: No progress bar.
    """
    chosen = [problem for problem in problems() if only is None or only in problem.name]
    if not chosen:
        raise ValueError(f"`only` must be part of a problem's name, got {only!r}.")
    print(f"{'problem':<28}{'truth':>9}{'estimate':>10}{'95 % interval':>20}{'error':>9}{'seconds':>9}")
    errors = []
    for problem in tqdm(chosen, leave=False, disable=quiet):
        x, z = problem.sample(nb_samples, random_state)
        started = time.monotonic()
        found = estimate_mutual_information(x, z, random_state=random_state)
        seconds = time.monotonic() - started
        low, high = found.confidence_interval
        errors.append(found.value - problem.mi)
        interval = f"[{low:.3f}, {high:.3f}]"
        tqdm.write(
            f"{problem.name:<28}{problem.mi:>9.4f}{found.value:>10.4f}{interval:>20}{errors[-1]:>+9.4f}{seconds:>9.1f}"
        )
    print(
        f"{len(errors)} problems: mean absolute error {np.abs(errors).mean():.4f} nats, "
        f"highest {max(errors):+.4f}, lowest {min(errors):+.4f} (lower bounds: expect errors below 0)"
    )


def _fraction(text: str) -> float:
    try:
        top, _, bottom = text.partition("/")
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"`eps` must be a number or a fraction such as 8/255, got {text!r}.") from None


def _samples(data: str, data_dir: str | None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    path = Path(data)
    if path.suffix not in (".npy", ".npz"):
        known = load(data, data_dir)
        return known.x_test, known.y_test
    if not path.is_file():
        raise ValueError(f"`data` must be a file or the name of a data set, got {data!r}, which does not exist.")
    content = np.load(path, allow_pickle=False)
    if path.suffix == ".npy":
        return content.astype(np.float32), None
    if "x" not in content:
        raise ValueError(f"`data` must hold an array `x`, got {', '.join(content.files)}.")
    return content["x"].astype(np.float32), content.get("y", None)


def _model(source: str) -> nn.Module:
    path = Path(source)
    if path.is_file():
        return _model_file(path)
    module_name, _, function = source.partition(":")
    if not function:
        raise ValueError(f"`model` must be an existing file or `package.module:function`, got {source!r}.")
    sys.path.insert(0, "")
    try:
        build = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`model` must be importable, got {source!r}: {error}") from error
    finally:
        sys.path.remove("")
    built = build()
    if not isinstance(built, nn.Module):
        raise TypeError(f"`model` must give a torch module, got {type(built).__name__}.")
    return built


def _model_file(path: Path) -> nn.Module:
    try:
        if path.suffix == ".pt2":
            return torch.export.unflatten(torch.export.load(path))
        scripted: nn.Module = torch.jit.load(path, map_location="cpu")
        return scripted
    except RuntimeError as error:
        raise ValueError(f"`model` must be a torch.export (.pt2) or TorchScript file, got {str(path)!r}.") from error


def _as_typed(argument: str) -> str:
    """Options with dashes or underscores alike, and `--quiet` without a value."""
    if argument == "--quiet":
        return "--quiet=true"
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument


def main(args: list[str] | None = None) -> int:
    """Entry point; an error the user can mend is one line, not a traceback.

    :param args: Command line without the program's name.
    :return: Exit status.
    """
    try:
        typed = [_as_typed(argument) for argument in (sys.argv[1:] if args is None else args)]
        auto_cli([demo, estimate, selftest], args=typed, as_positional=False, prog="art-mi")
    except (ValueError, TypeError) as error:
        print(f"art-mi: {error}", file=sys.stderr)
        return 2
    return 0
