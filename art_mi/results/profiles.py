"""Vulnerability of many representations of one model: its layers, the units of a layer, and radii."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from art_mi.results.information import MIEstimate
from art_mi.results.result import Result
from art_mi.results.robustness import Accuracy
from art_mi.results.vulnerability import RepresentationVulnerability


@dataclass(frozen=True)
class LayerProfile(Result):
    """Vulnerability of every layer.

    :param layers: Results by dotted layer name, in the order in which the layers run.
    :param attacked: For each layer the layer whose attack its worst case comes from; empty where none was worse.
    :param settings: Everything needed to repeat it.
    """

    layers: Mapping[str, RepresentationVulnerability]
    attacked: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class UnitVulnerability(Result):
    """Information of one unit of a layer, seen through noise of its own.

    :param unit: Index in the flattened output of the layer.
    :param normal: On clean inputs.
    :param worst_case: On the worst inputs found for this unit.
    :param vulnerability: Their paired difference.
    """

    unit: int
    normal: MIEstimate
    worst_case: MIEstimate
    vulnerability: MIEstimate


@dataclass(frozen=True)
class FeatureProfile(Result):
    """Information and vulnerability of single units of a layer.

    | Paper link: https://arxiv.org/abs/2002.11798 (figure 3)

    :param layer: Dotted name, or None for the model's output.
    :param units: One entry a unit.
    :param settings: Everything needed to repeat it.
    """

    layer: str | None
    units: tuple[UnitVulnerability, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VulnerabilityCurve(Result):
    """Worst-case information and its accuracy ceiling against the radius.

    :param eps: Radii in raw input units, ascending.
    :param results: One result a radius.
    :param accuracies: Measured accuracies by attack name, one a radius; empty without labels.
    :param settings: Everything needed to repeat it.
    """

    eps: tuple[float, ...]
    results: tuple[RepresentationVulnerability, ...]
    accuracies: Mapping[str, tuple[Accuracy, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
