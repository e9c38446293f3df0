"""The metric's methods against each other, and the profile of a network's layers against its layers one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray

from art_mi.metrics import WorstCaseMIEstimator, layer_profile
from art_mi.results import LayerProfile, MIEstimate, RepresentationVulnerability
from benchmarks import digits
from benchmarks.timing import Row, Settings, interleaved

WIDTH_GOAL = 0.2  # nats
METHOD_GOAL = 0.1
PROFILE_GOAL = 1 / 3
NETWORKS = {"2 convolutions": (16, 32)}


def rows(settings: Settings) -> Iterator[Row]:
    """Rows of both comparisons."""
    yield from _method_rows(settings)
    yield from _profile_rows(settings)


def _method_rows(settings: Settings) -> Iterator[Row]:
    """Half a minute for a round: one thread."""
    classifier = digits.classifier(nb_epochs=1 if settings.quick else 8, device=settings.device)
    if settings.quick:
        yield from _methods(classifier, 400, settings, max_iter=2, max_steps=4)
        return
    settings = replace(settings, threads=settings.threads[:1])
    yield from _methods(classifier, 600, settings)


def _methods(classifier: PyTorchClassifier, nb_samples: int, settings: Settings, **small: int) -> Iterator[Row]:
    x = digits.images(nb_samples)
    kept: dict[str, RepresentationVulnerability] = {}

    def measure(method: str) -> None:
        estimator = WorstCaseMIEstimator(digits.EPS, method=method, verbose=False, **small)  # type: ignore[arg-type]
        kept[method] = estimator.evaluate(classifier, x)

    variants = {"noisy": lambda: measure("noisy"), "critic": lambda: measure("critic")}
    for times in interleaved(variants, settings):
        row = times.row(
            "worst-case information of logits",
            f"{nb_samples} digits, small CNN, eps {digits.EPS}, defaults of both methods",
            "noisy",
            "critic",
            METHOD_GOAL,
            more={method: _shown(result) for method, result in kept.items()},
        )
        yield row
        width = row.more["noisy"]["worst case"]["interval_width"] / WIDTH_GOAL
        ours, base = "width of the interval of noisy", f"{WIDTH_GOAL} nats"
        one = replace(row, ours=ours, base=base, goal=1.0, rounds=1, medians={}, more={})
        yield replace(one, ratio=width, interval=(width, width))


def _shown(result: RepresentationVulnerability) -> dict[str, Any]:
    return {"normal": _width(result.normal), "worst case": _width(result.worst_case)}


def _width(estimate: MIEstimate) -> dict[str, float]:
    low, high = estimate.confidence_interval
    sides = {} if estimate.lower is None or estimate.upper is None else {"sides_width": estimate.upper - estimate.lower}
    return {"nats": estimate.value, "interval_width": high - low, **sides}


def _profile_rows(settings: Settings) -> Iterator[Row]:
    settings = replace(settings, threads=settings.threads[:1])
    networks: Mapping[str, tuple[int, ...]] = {"1 convolution": (4,)} if settings.quick else NETWORKS
    x = digits.images(120 if settings.quick else 600)
    max_iter = 2 if settings.quick else 20
    for name, channels in networks.items():
        classifier = digits.classifier(channels, nb_epochs=1 if settings.quick else 8, device=settings.device)
        yield from _profiles(name, classifier, x, max_iter, settings)


def _profiles(
    name: str, classifier: PyTorchClassifier, x: NDArray[Any], max_iter: int, settings: Settings
) -> Iterator[Row]:
    found = _profile(classifier, x, max_iter)
    layers, groups = list(found.layers), len(found.settings["groups"])
    number, worst = len(layers), _worst_case(classifier, x, max_iter)

    def one_by_one() -> None:
        for layer in layers:
            _alone(classifier, x, max_iter, layer)

    ours, base = "profile", f"each of {number} layers by itself"
    for times in interleaved({ours: lambda: _profile(classifier, x, max_iter), base: one_by_one}, settings):
        setting = (
            f"network of {name}, {number} layers in {groups} groups, {len(x)} digits, noisy; {groups + 1} attacks of "
            f"{math.ceil(max_iter / 2)} steps, each but the first from where the one before ended, against {number} "
            f"of {max_iter} steps from the clean inputs; what both find is in the results"
        )
        why = "one attack a group and one more, even with half the steps, and two readings a layer as in a single run"
        row = times.row("layer profile", setting, ours, base, PROFILE_GOAL, cause=why)
        yield replace(row, more={"single_layer_runs": number * row.ratio, "worst case": worst})


def _worst_case(classifier: PyTorchClassifier, x: NDArray[Any], max_iter: int) -> dict[str, dict[str, float]]:
    """Worst-case nats that the profile and each layer by itself find, all at noise 1."""
    found = _profile(classifier, x, max_iter, noise_std=1.0).layers
    return {
        layer: {"profile": result.worst_case.value, "by itself": _alone(classifier, x, max_iter, layer)}
        for layer, result in found.items()
    }


def _alone(classifier: PyTorchClassifier, x: NDArray[Any], max_iter: int, layer: str) -> float:
    estimator = WorstCaseMIEstimator(digits.EPS, layer=layer, max_iter=max_iter, verbose=False)
    return estimator.evaluate(classifier, x).worst_case.value


def _profile(
    classifier: PyTorchClassifier, x: NDArray[Any], max_iter: int, noise_std: float | None = None
) -> LayerProfile:
    return layer_profile(classifier, x, eps=digits.EPS, max_iter=max_iter, noise_std=noise_std, verbose=False)
