"""From what a method measured to the result: ceilings, flags and settings."""

from __future__ import annotations

import math

from art_mi.codes import entropy
from art_mi.metrics.measurement import Measurement, Problem
from art_mi.metrics.survey import Census
from art_mi.results import Flag, RepresentationVulnerability
from art_mi.risk import adversarial_accuracy_upper_bound

SOUND = (("label_aware", "noisy"), ("label_aware", "quantised"))


def conclude(
    problem: Problem, measured: Measurement, method: str, census: Census, robust_accuracy: float | None = None
) -> RepresentationVulnerability:
    """The result of a measurement.

    :param problem: What was measured, or a chunk of it.
    :param measured: What was found.
    :param method: Name of the method that found it.
    :param census: Of all samples.
    :param robust_accuracy: Accuracy in [0, 1] measured elsewhere, to hold against the ceiling.
    """
    ceilings = _ceilings(measured, census, problem.classifier.nb_classes)
    flags = {*measured.vulnerability.flags, *census.gradients.flags}
    slack = 3 * math.sqrt(0.25 / census.gradients.nb_samples)
    accuracies = [a for a in (measured.measured_accuracy, robust_accuracy) if a is not None]
    # The published form holds for uniform labels only, and a critic's label information errs downward.
    sound = [v for name, v in ceilings.items() if name == "exact" or (name, method) in SOUND]
    if any(accuracy > min(sound) + slack for accuracy in accuracies):
        flags.add(Flag.CONTRADICTION)
    return RepresentationVulnerability(
        normal=measured.normal,
        worst_case=measured.worst_case,
        vulnerability=measured.vulnerability,
        accuracy_ceiling=ceilings["exact"],
        ceilings=ceilings,
        ceiling_direction=measured.ceiling_direction
        + ("" if census.label_counts is not None else "; labels are taken as uniform, since none were given"),
        method=method,
        layer=problem.layer,
        flags=tuple(flag for flag in Flag if flag in flags),
        settings={
            **problem.settings(),
            "blind_fraction": census.gradients.blind / census.gradients.nb_samples,
            **measured.settings,
        },
        measured_accuracy=measured.measured_accuracy,
        own_critic=measured.own_critic,
    )


def _ceilings(measured: Measurement, census: Census, nb_classes: int) -> dict[str, float]:
    """Accuracy ceilings by form. With labels H(Y) is counted; without, labels are taken as uniform."""
    label_entropy = None if census.label_counts is None else entropy(census.label_counts)
    ceilings = {
        "exact": adversarial_accuracy_upper_bound(
            measured.ceiling_information, nb_classes, label_entropy=label_entropy
        ),
    }
    if label_entropy is None or label_entropy > 0.99 * math.log(nb_classes):  # theorem 3.4 is for uniform labels
        ceilings["published"] = adversarial_accuracy_upper_bound(measured.ceiling_information, nb_classes, "published")
    if measured.label_information is not None:
        within = label_entropy if measured.label_entropy is None else measured.label_entropy
        ceilings["label_aware"] = adversarial_accuracy_upper_bound(
            measured.label_information, nb_classes, label_entropy=within
        )
    return ceilings
