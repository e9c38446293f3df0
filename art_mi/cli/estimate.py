"""`art-mi estimate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from art_mi.cli.inputs import fraction, load_classifier, samples
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.metrics.measurement import FEWEST_PAIRS
from art_mi.rules import check, integer


def estimate(
    model: str,
    data: str,
    eps: str | float,
    layer: str | None = None,
    weights: str | None = None,
    method: Literal["noisy", "critic", "quantised"] = "noisy",
    norm: Literal["inf", "2", "1"] = "inf",
    noise_std: list[float] | None = None,
    max_iter: int = 40,
    clip_values: tuple[float, float] | None = (0.0, 1.0),
    nb_samples: int = 2000,
    data_dir: str | None = None,
    download: bool = False,
    unit: Literal["nats", "bits"] = "nats",
    out: str | None = None,
    random_state: int = 0,
    quiet: bool = False,
) -> None:
    """Representation vulnerability of a model of your own.

    Args:
        model: torch.export file (.pt2), TorchScript file, or `package.module:function` that returns a module.
        data: File .npy of inputs, .npz with `x` and optionally `y`, or digits, mnist, fashion-mnist, svhn or
            cifar10, whose test samples are taken.
        eps: Radius in raw input units; fractions such as 8/255 are understood.
        layer: Dotted layer name; the output by default. A TorchScript file has its output only.
        weights: File model.safetensors of `art-mi train`, loaded into a model built by a function.
        method: How information is measured.
        norm: Norm of the threat model.
        noise_std: Noise levels of method noisy.
        max_iter: Steps of an attack.
        clip_values: Least and largest input value; null for no limits.
        nb_samples: Most samples used.
        data_dir: Folder of torchvision's files, for all data sets but digits.
        download: Download what is missing into that folder.
        unit: Unit of information.
        out: File .json or .html to write the result to.
        random_state: Seed.
        quiet: No progress bars.
    """
    radius = fraction(eps)
    check("nb_samples", nb_samples, integer(FEWEST_PAIRS))
    if out is not None and not Path(out).parent.is_dir():
        raise ValueError(f"`out` must lie in an existing folder, got {out!r}.")
    x, y = samples(data, data_dir, download=download)
    x, y = x[:nb_samples], None if y is None else y[:nb_samples]
    classifier = load_classifier(model, weights, x, clip_values, random_state)
    estimator = WorstCaseMIEstimator(
        radius,
        norm=norm if norm == "inf" else float(norm),
        layer=layer,
        method=method,
        noise_std=1.0 if noise_std is None else noise_std,
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
