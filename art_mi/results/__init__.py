"""Results: frozen dataclasses that carry a number together with everything needed to judge it.

Reports read them and never recompute. Information is stored in nats; :meth:`MIEstimate.in_unit` converts.
"""

from __future__ import annotations

from art_mi.results.backbone import BackboneReport, Probe
from art_mi.results.information import UNITS, Flag, MIEstimate, conversion
from art_mi.results.profiles import FeatureProfile, LayerProfile, UnitVulnerability, VulnerabilityCurve
from art_mi.results.record import ModelRecord
from art_mi.results.robustness import Accuracy, AttackedAccuracy, Check, RobustnessResult, wilson_interval
from art_mi.results.vulnerability import RepresentationVulnerability

__all__ = [
    "UNITS",
    "Accuracy",
    "AttackedAccuracy",
    "BackboneReport",
    "Check",
    "FeatureProfile",
    "Flag",
    "LayerProfile",
    "MIEstimate",
    "ModelRecord",
    "Probe",
    "RepresentationVulnerability",
    "RobustnessResult",
    "UnitVulnerability",
    "VulnerabilityCurve",
    "conversion",
    "wilson_interval",
]
