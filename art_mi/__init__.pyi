from . import (
    assessment,
    attacks,
    backbone,
    bounds,
    channels,
    critics,
    datasets,
    distributions,
    estimation,
    evaluation,
    losses,
    metrics,
    models,
    report,
    representations,
    results,
    risk,
    saliency,
    threat,
    trainers,
)
from .assessment import assess
from .attacks import LangevinMonteCarlo, WorstCaseMIAttack
from .backbone import backbone_report
from .estimation import estimate_mutual_information
from .evaluation import evaluate_robustness
from .metrics import (
    WorstCaseMIEstimator,
    feature_profile,
    layer_profile,
    representation_vulnerability,
    vulnerability_curve,
)
from .results import Flag, MIEstimate, RepresentationVulnerability
from .risk import adversarial_accuracy_upper_bound, adversarial_risk_lower_bound
from .saliency import information_saliency, loss_saliency
from .trainers import DALETrainer, MIMAETrainer, WorstCaseMITrainer

__version__: str

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
    "assessment",
    "attacks",
    "backbone",
    "backbone_report",
    "bounds",
    "channels",
    "critics",
    "datasets",
    "distributions",
    "estimate_mutual_information",
    "estimation",
    "evaluate_robustness",
    "evaluation",
    "feature_profile",
    "information_saliency",
    "layer_profile",
    "loss_saliency",
    "losses",
    "metrics",
    "models",
    "report",
    "representation_vulnerability",
    "representations",
    "results",
    "risk",
    "saliency",
    "threat",
    "trainers",
    "vulnerability_curve",
]
