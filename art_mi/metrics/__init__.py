"""Metrics: what an ART user computes next to attacked accuracy."""

from art_mi.metrics.worst_case_mi import WorstCaseMIEstimator, representation_vulnerability

__all__ = ["WorstCaseMIEstimator", "representation_vulnerability"]
