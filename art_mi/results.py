"""Results: frozen dataclasses that carry a number together with everything needed to judge it.

Reports read them and never recompute. Information is stored in nats; :meth:`MIEstimate.in_unit` converts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS = {"nats": 1.0, "bits": 1.0 / math.log(2.0)}


class Flag(str, Enum):
    """A reason to distrust a number. Each compares equal to its name."""

    SATURATED = "SATURATED"
    CRITIC_OVERFIT = "CRITIC_OVERFIT"
    NEGATIVE = "NEGATIVE"
    ZERO_GRADIENT = "ZERO_GRADIENT"
    CONTRADICTION = "CONTRADICTION"
    UNDERSAMPLED = "UNDERSAMPLED"

    def __str__(self) -> str:
        return self.value

    @property
    def meaning(self) -> str:
        """What the flag says about the number, and what to do."""
        return _MEANINGS[self]


_MEANINGS = {
    Flag.SATURATED: "near log n, the most this many samples can show: the truth may be larger; use more samples, "
    "or a noisy or quantised representation",
    Flag.CRITIC_OVERFIT: "the critic reads far more on the pairs it was fitted on than on the report pairs: too low; "
    "use more samples",
    Flag.NEGATIVE: "a lower bound below zero says nothing: information is at least 0",
    Flag.ZERO_GRADIENT: "the attack saw no gradient on some inputs: the worst case may be far worse than reported",
    Flag.CONTRADICTION: "a measured accuracy lies above the ceiling: the worst-case information is underestimated, "
    "or the ceiling and the accuracy speak of different representations",
    Flag.UNDERSAMPLED: "fewer than 1,000 report pairs, or a two-sided interval wider than 0.2 nat",
}


@dataclass(frozen=True)
class MIEstimate:
    """An estimate of mutual information, or of a difference of two, with its interval and the direction of its bias.

    :param value: The estimate. For a noisy channel it is the lower bound, for codes the entropy achieved.
    :param confidence_interval: 95 % bootstrap interval over samples. It covers sampling error only, not the error of a
        critic or of an attack. Of a two-sided estimate it runs from the lower end of `lower` to the upper of `upper`.
    :param estimator: Name of the estimator.
    :param bias: Direction of every known bias, in words.
    :param nb_samples: Number of pairs the value was read on.
    :param random_state: Seed the value can be repeated with.
    :param unit: `"nats"` or `"bits"`.
    :param lower: Lower bound where the estimator has two sides.
    :param upper: Upper bound where the estimator has two sides.
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
    replicates: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    def in_unit(self, unit: str) -> MIEstimate:
        """The same estimate in another unit.

        :param unit: `"nats"` or `"bits"`.
        :raises ValueError: If `unit` is neither.
        """
        factor = conversion(self.unit, unit)
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

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for JSON; bootstrap replicates are left out."""
        return _fields(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """JSON text of :meth:`to_dict`, written to `path` where one is given."""
        return _write_json(self.to_dict(), path)

    def __str__(self) -> str:
        low, high = self.confidence_interval
        sides = "" if self.lower is None else f", between {self.lower:.4f} and {self.upper:.4f}"
        flags = "" if not self.flags else f", flags: {', '.join(map(str, self.flags))}"
        return (
            f"{self.value:.4f} {self.unit}, 95 % interval [{low:.4f}, {high:.4f}]{sides} "
            f"({self.estimator}, {self.nb_samples} samples, seed {self.random_state}{flags})"
        )


@dataclass(frozen=True)
class RepresentationVulnerability:
    """How much information a representation carries, how much is left under the worst perturbation found, and the drop.

    | Paper link: https://arxiv.org/abs/2002.11798 (definition 3.1 and equation 4.1)

    :param normal: J1 = I(X; g(X)).
    :param worst_case: J2 = I(X'; g(X')) at the worst perturbation found.
    :param vulnerability: RV = J1 - J2, with the interval of the paired difference.
    :param accuracy_ceiling: Accuracy in [0, 1] that no classifier on the attacked representation exceeds according to
        Fano's inequality; what it holds for is said in `ceiling_direction`.
    :param ceilings: Ceilings by form: `"exact"`, `"published"` and, with labels, `"label_aware"`.
    :param ceiling_direction: What `accuracy_ceiling` is and is not.
    :param method: `"critic"`, `"noisy"` or `"quantised"`.
    :param layer: Dotted layer name, or None for the classifier's output.
    :param flags: Reasons to distrust the result.
    :param settings: Attack, ball, splits and seed.
    :param measured_accuracy: Accuracy in [0, 1] of the classifier itself on the perturbed inputs found here, through
        the same noise or codes that the ceiling speaks of, where labels were given.
    :param own_critic: What the attacked critic itself reads on the perturbations made against it (method `"critic"`).
    :param sweep: One result for each noise level of a sweep (method `"noisy"`).
    """

    normal: MIEstimate
    worst_case: MIEstimate
    vulnerability: MIEstimate
    accuracy_ceiling: float
    ceilings: Mapping[str, float]
    ceiling_direction: str
    method: str
    layer: str | None
    flags: tuple[Flag, ...]
    settings: Mapping[str, Any]
    measured_accuracy: float | None = None
    own_critic: MIEstimate | None = None
    sweep: tuple[RepresentationVulnerability, ...] = ()

    @property
    def unit(self) -> str:
        """Unit of the information: `"nats"` or `"bits"`."""
        return self.normal.unit

    def in_unit(self, unit: str) -> RepresentationVulnerability:
        """The same result in another unit; the ceilings, being accuracies, stay."""
        return replace(
            self,
            normal=self.normal.in_unit(unit),
            worst_case=self.worst_case.in_unit(unit),
            vulnerability=self.vulnerability.in_unit(unit),
            own_critic=None if self.own_critic is None else self.own_critic.in_unit(unit),
            sweep=tuple(result.in_unit(unit) for result in self.sweep),
        )

    def rows(self) -> list[tuple[str, MIEstimate]]:
        """The estimates with their names, in reading order."""
        named = [
            ("normal information", self.normal),
            ("worst-case information", self.worst_case),
            ("representation vulnerability", self.vulnerability),
        ]
        return named if self.own_critic is None else [*named, ("worst case by its own critic", self.own_critic)]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for JSON."""
        return _fields(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """JSON text of :meth:`to_dict`, written to `path` where one is given."""
        return _write_json(self.to_dict(), path)

    def to_html(self, path: str | Path | None = None, *, name: str = "model") -> str:
        """One self-contained HTML page about this result, written to `path` where one is given.

        :param path: File to write.
        :param name: What the page calls the model.
        """
        from art_mi.report.card import card  # the one import that points right: results offer their own report

        html = card({name: self})
        if path is not None:
            Path(path).write_text(html, encoding="utf-8")
        return html

    def plot(self, ax: Axes | None = None) -> Axes:
        """Normal and worst-case information with their intervals.

        :param ax: Matplotlib axes to draw in; new ones by default.
        """
        from art_mi.report.plots import information_bars

        return information_bars({"model": self}, ax=ax)

    def __str__(self) -> str:
        where = "output" if self.layer is None else f"layer {self.layer}"
        lines = [f"Representation vulnerability of the {where} (method {self.method})"]
        for name, row in self.rows():
            low, high = row.confidence_interval
            lines.append(f"  {name:<30}{row.value:>8.4f} {row.unit}  95 % interval [{low:.4f}, {high:.4f}]")
        lines.append(f"  {'accuracy ceiling':<30}{self.accuracy_ceiling:>8.4f}       {self.ceiling_direction}")
        if self.measured_accuracy is not None:
            lines.append(f"  {'accuracy measured there':<30}{self.measured_accuracy:>8.4f}")
        if "label_aware" in self.ceilings:
            lines.append(f"  {'label-aware ceiling':<30}{self.ceilings['label_aware']:>8.4f}")
        for level in self.sweep:
            values = ", ".join(f"{row.value:.4f}" for _, row in level.rows())
            lines.append(f"  at noise {level.settings['noise_std']:g}: normal, worst case, vulnerability {values}")
        shown = ", ".join(f"{name} {self.settings[name]}" for name in _SHOWN_SETTINGS if name in self.settings)
        lines.append(f"  {self.normal.nb_samples} samples, seed {self.normal.random_state}, {shown}")
        lines.append(f"  bias: {self.vulnerability.bias}")
        lines.extend(f"  {flag}: {flag.meaning}" for flag in self.flags)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = f"<tr><th></th><th>{self.unit}</th><th>95 % interval</th></tr>"
        rows = "".join(
            f"<tr><th scope='row'>{name}</th><td>{row.value:.4f}</td>"
            f"<td>[{row.confidence_interval[0]:.4f}, {row.confidence_interval[1]:.4f}]</td></tr>"
            for name, row in self.rows()
        )
        ceiling = f"<tr><th scope='row'>accuracy ceiling</th><td>{self.accuracy_ceiling:.4f}</td><td></td></tr>"
        notes = "".join(f"<p><strong>{flag}</strong>: {flag.meaning}</p>" for flag in self.flags)
        return f"<table>{head}{rows}{ceiling}</table><p>{escape(self.ceiling_direction)}</p>{notes}"


_SHOWN_SETTINGS = (
    *("noise", "noise_std", "codes"),
    *("norm", "eps", "clip_values", "eps_step", "max_iter", "num_random_init"),
)


def conversion(unit: str, to: str) -> float:
    """Factor that takes information from one unit to another.

    :param unit: `"nats"` or `"bits"`.
    :param to: `"nats"` or `"bits"`.
    :raises ValueError: If either is neither.
    """
    for given in (unit, to):
        if given not in UNITS:
            raise ValueError(f"`unit` must be one of {', '.join(map(repr, UNITS))}, got {given!r}.")
    return UNITS[to] / UNITS[unit]


def _fields(result: MIEstimate | RepresentationVulnerability) -> dict[str, Any]:
    return {f.name: _plain(getattr(result, f.name)) for f in fields(result) if f.name != "replicates"}


def _plain(value: Any) -> Any:
    if isinstance(value, MIEstimate | RepresentationVulnerability):
        return _fields(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity; norm=inf is the usual case
    return value


def _write_json(content: Any, path: str | Path | None) -> str:
    text = json.dumps(content, indent=2, allow_nan=False)
    if path is not None:
        Path(path).write_text(text + "\n", encoding="utf-8")
    return text
