from . import (
    attacks,
    bounds,
    channels,
    critics,
    datasets,
    distributions,
    evaluation,
    losses,
    metrics,
    models,
    report,
    results,
    risk,
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
    "attacks",
    "backbone_report",
    "bounds",
    "channels",
    "critics",
    "datasets",
    "distributions",
    "estimate_mutual_information",
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
    "results",
    "risk",
    "trainers",
    "vulnerability_curve",
]
