"""Accuracy under attack, and whether the attacks can be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from art_mi.results.information import Flag
from art_mi.results.result import NOT_STORED, Result, written
from art_mi.rules import POSITIVE, check, check_type, integer


def wilson_interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion.

    >>> from art_mi.results import wilson_interval
    >>> low, high = wilson_interval(90, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)

    :param correct: Number of successes.
    :param n: Number of trials.
    :param level: Coverage.
    :raises ValueError: If an argument breaks its rule.
    """
    check("n", n, integer(1))
    check("correct", correct, integer(0, n))
    check("level", level, ("a number above 0 and below 1", lambda v: POSITIVE[1](v) and v < 1))
    z = float(ndtri((1 + level) / 2))
    centre = (correct + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(correct * (n - correct) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Accuracy(Result):
    """Share of samples classified correctly, over all samples.

    :param value: Accuracy in [0, 1].
    :param confidence_interval: 95 % Wilson interval, over samples.
    :param nb_samples: Number of samples.
    :param correct: Whether each sample is classified correctly, shape `(nb_samples,)`; empty after reading from JSON.
    """

    value: float
    confidence_interval: tuple[float, float]
    nb_samples: int
    correct: NDArray[np.bool_] = field(
        default_factory=lambda: np.empty(0, dtype=bool), repr=False, compare=False, metadata=NOT_STORED
    )

    @classmethod
    def of(cls, correct: NDArray[np.bool_]) -> Accuracy:
        """The accuracy of samples.

        :param correct: Whether each is classified correctly, shape `(n,)`, n at least 1.
        :raises ValueError: If it holds anything else.
        """
        check_type("correct", correct, np.ndarray, "an array")
        if correct.ndim != 1 or correct.dtype != bool or not len(correct):
            shape, dtype = correct.shape, correct.dtype
            raise ValueError(f"`correct` must hold at least one Boolean, shape (n,), got shape {shape} of {dtype}.")
        hits, n = int(correct.sum()), len(correct)
        return cls(hits / n, wilson_interval(hits, n), n, correct)


@dataclass(frozen=True)
class AttackedAccuracy(Result):
    """Accuracy under one attack.

    :param accuracy: Over all samples, not only those classified correctly without an attack.
    :param norm: Norm of the ball: inf, 2 or 1.
    :param eps: Radius in raw input units.
    :param seconds: Time the attack took.
    :param settings: Class and parameters of the attack.
    """

    accuracy: Accuracy
    norm: float
    eps: float
    seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check(Result):
    """One test of whether attacks fail for a reason that a better attack would not have.

    :param passed: Whether there is no such sign.
    :param finding: What was found, in words with numbers.
    :param flag: Raised where it did not pass.
    :param broken: Samples, by number, that only this check made wrong within the ball; the worst case counts them.
    """

    passed: bool
    finding: str
    flag: Flag
    broken: tuple[int, ...] = ()


@dataclass(frozen=True)
class RobustnessResult(Result):
    """Clean and attacked accuracy of a classifier.

    :param clean: Accuracy on the inputs as they are.
    :param attacks: Accuracy under each attack, by name.
    :param worst_case: Accuracy where a sample counts as correct only if no attack within the ball of `norm` and `eps`
        (nor the absence of one) makes it wrong. An upper bound of the robust accuracy: no attack is exhaustive.
    :param norm: Norm of the threat model: inf, 2 or 1.
    :param eps: Its radius in raw input units.
    :param checks: Checks for masked gradients, by name.
    :param flags: Those of the checks that did not pass.
    :param random_state: Seed.
    :param settings: Everything else needed to repeat it.
    """

    clean: Accuracy
    attacks: Mapping[str, AttackedAccuracy]
    worst_case: Accuracy
    norm: float
    eps: float
    checks: Mapping[str, Check]
    flags: tuple[Flag, ...]
    random_state: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nb_attacks(self) -> int:
        """How many attacks the worst case is taken over: those of its own norm, within its radius."""
        return sum(attack.norm == self.norm and attack.eps <= self.eps for attack in self.attacks.values())

    @property
    def gap(self) -> float:
        """Natural minus worst-case accuracy: the adversarial gap found."""
        return self.clean.value - self.worst_case.value

    @property
    def gap_interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the gap, which is the share of samples that only attacks make wrong."""
        return wilson_interval(max(0, round(self.gap * self.clean.nb_samples)), self.clean.nb_samples)

    def to_html(self, path: str | Path | None = None, *, name: str = "model") -> str:
        """One self-contained HTML page about this result, written to `path` where one is given.

        :param path: File to write.
        :param name: What the page calls the model.
        """
        from art_mi.report.card import result_card  # points right: results offer their own report

        return written(result_card(name, robustness=self), path)

    def accuracies(self) -> dict[str, Accuracy]:
        """Clean accuracy, accuracy under each attack and the worst case where there is one, in reading order."""
        attacked = {name: outcome.accuracy for name, outcome in self.attacks.items()}
        worst = {"worst in the ball": self.worst_case} if self.nb_attacks else {}
        return {"clean": self.clean, **attacked, **worst}
