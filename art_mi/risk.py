"""From information to risk: what accuracy a given amount of information still allows.

| Paper link: https://arxiv.org/abs/2002.11798 (theorem 3.4)
"""

from __future__ import annotations

import math
from numbers import Real

from scipy.optimize import brentq

from art_mi.rules import Rule, check, integer, one_of

FORMS = ("exact", "published")
NATS: Rule = "a number of nats", lambda v: not isinstance(v, bool) and isinstance(v, Real) and not math.isnan(v)


def adversarial_accuracy_upper_bound(
    mi: float, nb_classes: int, form: str = "exact", *, label_entropy: float | None = None
) -> float:
    """Largest accuracy that any classifier can reach on a representation with `mi` nats left under attack.

    `"published"` is theorem 3.4, min(1, (mi + log 2) / log K). `"exact"` inverts Fano's inequality
    H2(p) + p log(K - 1) >= H(Y) - mi for the error p without relaxing it, so it is never larger, and it is not vacuous
    for two classes. The result bounds an accuracy from above only where `mi` bounds the information from above.

    | Paper link: https://arxiv.org/abs/2002.11798 (theorem 3.4)

    >>> from art_mi import adversarial_accuracy_upper_bound
    >>> round(adversarial_accuracy_upper_bound(1.08, 10, "published"), 3)  # the paper's 77.0 %
    0.77
    >>> round(adversarial_accuracy_upper_bound(1.08, 10), 3)
    0.715
    >>> adversarial_accuracy_upper_bound(0.0, 2)
    0.5

    :param mi: Information under attack in nats: I(X'; Z') or, for a label-aware bound, I(Y; Z'). Values below 0 count
        as 0.
    :param nb_classes: Number of classes K, at least 2.
    :param form: `"exact"` or `"published"`.
    :param label_entropy: H(Y) in nats; log K, uniform labels, by default. The published form assumes uniform labels.
    :return: Accuracy in [0, 1].
    :raises ValueError: If `mi` is NaN, `nb_classes` below 2, `form` unknown or `label_entropy` not in [0, log K].
    """
    check("mi", mi, NATS)
    check("nb_classes", nb_classes, integer(2))
    check("form", form, one_of(FORMS))
    most = math.log(nb_classes)
    possible: Rule = f"between 0 and log(nb_classes) = {most:.4f}", lambda v: NATS[1](v) and 0 <= v <= most * (1 + 1e-9)
    entropy = most if label_entropy is None else check("label_entropy", label_entropy, possible)
    if form == "published":
        return min(1.0, (max(mi, 0.0) + math.log(2.0)) / most)
    return 1.0 - _fano_error(entropy - max(mi, 0.0), nb_classes)


def adversarial_risk_lower_bound(
    mi: float, nb_classes: int, form: str = "exact", *, label_entropy: float | None = None
) -> float:
    """Smallest adversarial risk that any classifier can have on a representation with `mi` nats left under attack.

    One minus :func:`adversarial_accuracy_upper_bound`, with the same parameters, errors and source.

    >>> from art_mi import adversarial_risk_lower_bound
    >>> round(adversarial_risk_lower_bound(1.08, 10), 3)
    0.285

    :param mi: Information under attack in nats.
    :param nb_classes: Number of classes K, at least 2.
    :param form: `"exact"` or `"published"`.
    :param label_entropy: H(Y) in nats; log K by default.
    :return: Risk in [0, 1].
    """
    return 1.0 - adversarial_accuracy_upper_bound(mi, nb_classes, form, label_entropy=label_entropy)


def _fano_error(conditional_entropy: float, nb_classes: int) -> float:
    """Smallest error p in [0, 1 - 1/K] with H2(p) + p log(K - 1) >= `conditional_entropy`."""
    chance = 1.0 - 1.0 / nb_classes
    if conditional_entropy <= 0.0:
        return 0.0
    if conditional_entropy >= math.log(nb_classes):
        return chance

    def excess(p: float) -> float:
        binary = -p * math.log(p) - (1.0 - p) * math.log1p(-p) if 0.0 < p < 1.0 else 0.0
        return binary + p * math.log(nb_classes - 1) - conditional_entropy

    # Excess rises on [0, chance] and is log K - conditional_entropy > 0 at its right end, up to rounding.
    return chance if excess(chance) <= 0.0 else float(brentq(excess, 0.0, chance, xtol=1e-14))
