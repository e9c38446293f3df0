"""Worst-case mutual information for the Adversarial Robustness Toolbox."""

from art_mi.assessment import assess
from art_mi.attacks import LangevinMonteCarlo, WorstCaseMIAttack
from art_mi.backbone import backbone_report
from art_mi.estimation import estimate_mutual_information
from art_mi.evaluation import evaluate_robustness
from art_mi.metrics import (
    WorstCaseMIEstimator,
    feature_profile,
    layer_profile,
    representation_vulnerability,
    vulnerability_curve,
)
from art_mi.results import Flag, MIEstimate, RepresentationVulnerability
from art_mi.risk import adversarial_accuracy_upper_bound, adversarial_risk_lower_bound
from art_mi.saliency import information_saliency, loss_saliency
from art_mi.trainers import DALETrainer, MIMAETrainer, WorstCaseMITrainer

__version__ = "0.1.0"

__all__ = [
    "DALETrainer",
    "Flag",
    "LangevinMonteCarlo",
    "MIEstimate",
    "MIMAETrainer",
    "RepresentationVulnerability",
    "WorstCaseMIAttack",
    "WorstCaseMIEstimator",
    "WorstCaseMITrainer",
    "adversarial_accuracy_upper_bound",
    "adversarial_risk_lower_bound",
    "assess",
    "backbone_report",
    "estimate_mutual_information",
    "evaluate_robustness",
    "feature_profile",
    "information_saliency",
    "layer_profile",
    "loss_saliency",
    "representation_vulnerability",
    "vulnerability_curve",
]
