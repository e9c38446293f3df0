"""An estimate of information, and the reasons to distrust a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_mi.results.result import NOT_STORED, Result
from art_mi.rules import check, one_of

UNITS = {"nats": 1.0, "bits": 1.0 / math.log(2.0)}


class Flag(str, Enum):
    """A reason to distrust a number. Each compares equal to its name."""

    SATURATED = "SATURATED"
    CRITIC_OVERFIT = "CRITIC_OVERFIT"
    NEGATIVE = "NEGATIVE"
    ZERO_GRADIENT = "ZERO_GRADIENT"
    MISLEADING_GRADIENT = "MISLEADING_GRADIENT"
    RANDOM_OUTPUT = "RANDOM_OUTPUT"
    CONTRADICTION = "CONTRADICTION"
    UNDERSAMPLED = "UNDERSAMPLED"
    ABOVE_CHANCE = "ABOVE_CHANCE"
    STEPS_HELP_THE_MODEL = "STEPS_HELP_THE_MODEL"
    BLACK_BOX_STRONGER = "BLACK_BOX_STRONGER"
    NOISE_STRONGER = "NOISE_STRONGER"

    def __str__(self) -> str:
        return self.value

    @classmethod
    def _missing_(cls, value: object) -> None:
        check("value", value, one_of([flag.value for flag in cls]))

    @property
    def meaning(self) -> str:
        """What the flag says about the number, and what to do."""
        return _MEANINGS[self]


_MEANINGS = {
    Flag.SATURATED: "near log n, the most this many samples can show: the truth may be larger; use more samples, "
    "more noise where more than 1,024 are read in blocks, or a noisy or quantised representation",
    Flag.CRITIC_OVERFIT: "the critic reads far more on the pairs it was fitted on than on the report pairs: too low; "
    "use more samples",
    Flag.NEGATIVE: "a lower bound below zero says nothing: information is at least 0",
    Flag.ZERO_GRADIENT: "the attack saw no gradient on some inputs: the worst case may be far worse than reported",
    Flag.MISLEADING_GRADIENT: "moves of the inputs do not change the representation as its gradient foresees: the "
    "attack was led astray, and the worst case may be far worse than reported",
    Flag.RANDOM_OUTPUT: "the model answers the same input differently from call to call, as with noise or dropout when "
    "it predicts, or in other company: attacks follow single answers, and bounds and accuracies are of these",
    Flag.CONTRADICTION: "a measured accuracy lies above the ceiling: the worst-case information is underestimated, "
    "or the ceiling and the accuracy speak of different representations",
    Flag.UNDERSAMPLED: "fewer than 1,000 report pairs, or a two-sided interval wider than 0.2 nat",
    Flag.ABOVE_CHANCE: "accuracy does not fall to about chance where the ball is large enough to reach any image: the "
    "gradient attacks fail for another reason than robustness",
    Flag.STEPS_HELP_THE_MODEL: "an attack with more steps finds less: the gradient attacks have not converged or are "
    "led astray",
    Flag.BLACK_BOX_STRONGER: "an attack without gradients is stronger than those with: the gradients are masked",
    Flag.NOISE_STRONGER: "random noise is worse than the attack: the gradients lead nowhere",
}


@dataclass(frozen=True)
class MIEstimate(Result):
    """An estimate of mutual information, or of a difference of two, with its interval and the direction of its bias.

    :param value: The estimate. For a noisy channel it is the lower bound, for codes the entropy achieved, an upper one.
    :param confidence_interval: 95 % bootstrap interval over samples. It covers sampling error only, not the error of a
        critic or of an attack: that of a lower bound may lie below the information. Of a two-sided estimate it runs
        from the lower end of `lower` to the upper of `upper`.
    :param estimator: Name of the estimator.
    :param bias: Direction of every known bias, in words.
    :param nb_samples: Number of pairs the value was read on.
    :param random_state: Seed the value can be repeated with.
    :param unit: `"nats"` or `"bits"`.
    :param lower: Lower bound where the estimator has two sides.
    :param upper: Upper bound where the estimator has two sides, None where nothing bounds it: a vulnerability of 0 that
        an attack failed to raise has a lower one only.
    :param ceiling: Largest value the estimator can report on this many samples.
    :param bounds: Other estimates read on the same pairs, by name, in the same unit.
    :param flags: Reasons to distrust the value.
    :param settings: Everything else needed to repeat it.
    :param replicates: Bootstrap replicates of the value, shape `(nb_bootstrap,)`. Two estimates over the same samples
        and seed share their resamples, so that differences of replicates are paired.
    """

    value: float
    confidence_interval: tuple[float, float]
    estimator: str
    bias: str
    nb_samples: int
    random_state: int
    unit: str = "nats"
    lower: float | None = None
    upper: float | None = None
    ceiling: float | None = None
    bounds: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    replicates: NDArray[np.float64] = field(
        default_factory=lambda: np.empty(0), repr=False, compare=False, metadata=NOT_STORED
    )

    def in_unit(self, unit: str) -> MIEstimate:
        """The same estimate in another unit.

        :param unit: `"nats"` or `"bits"`.
        :raises ValueError: If `unit` is neither.
        """
        factor = conversion(self.unit, check("unit", unit, one_of(UNITS)))
        scaled = (None if v is None else v * factor for v in (self.lower, self.upper, self.ceiling))
        lower, upper, ceiling = scaled
        low, high = self.confidence_interval
        return replace(
            self,
            value=self.value * factor,
            confidence_interval=(low * factor, high * factor),
            unit=unit,
            lower=lower,
            upper=upper,
            ceiling=ceiling,
            bounds={name: value * factor for name, value in self.bounds.items()},
            replicates=self.replicates * factor,
        )

    def __str__(self) -> str:
        low, high = self.confidence_interval
        sides = "" if self.lower is None else f", at least {self.lower:.4f}"
        if self.lower is not None and self.upper is not None:
            sides = f", between {self.lower:.4f} and {self.upper:.4f}"
        flags = "" if not self.flags else f", flags: {', '.join(map(str, self.flags))}"
        return (
            f"{self.value:.4f} {self.unit}, 95 % interval [{low:.4f}, {high:.4f}]{sides} "
            f"({self.estimator}, {self.nb_samples} samples, seed {self.random_state}{flags})"
        )


def conversion(unit: str, to: str) -> float:
    """Factor that takes information from one unit to another.

    >>> from art_mi.results import conversion
    >>> round(conversion("nats", "bits"), 4)
    1.4427

    :param unit: `"nats"` or `"bits"`.
    :param to: `"nats"` or `"bits"`.
    :raises ValueError: If either is neither.
    """
    check("unit", unit, one_of(UNITS))
    check("to", to, one_of(UNITS))
    return UNITS[to] / UNITS[unit]
