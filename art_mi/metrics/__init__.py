"""Metrics: what an ART user computes next to attacked accuracy."""

from art_mi.metrics.curve import vulnerability_curve
from art_mi.metrics.features import feature_profile
from art_mi.metrics.profile import layer_profile
from art_mi.metrics.worst_case_mi import WorstCaseMIEstimator, representation_vulnerability

__all__ = [
    "WorstCaseMIEstimator",
    "feature_profile",
    "layer_profile",
    "representation_vulnerability",
    "vulnerability_curve",
]
