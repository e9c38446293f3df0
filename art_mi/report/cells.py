"""Numbers, settings and names as they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from art_mi.results import Accuracy, MIEstimate, wilson_interval

MISSING = "-"


@dataclass(frozen=True)
class Cell:
    """One number as it is shown.

    :param text: The number, or words.
    :param interval: Its 95 % interval, empty where it has none.
    :param unit: `"nats"`, `"bits"`, `"%"` or empty.
    """

    text: str = MISSING
    interval: str = ""
    unit: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.text, self.interval, self.unit) if part)


def number(value: float, decimals: int = 3) -> str:
    """A number with fixed decimals, without a negative zero.

    :param value: Any float; infinities are shown as such.
    :param decimals: Digits after the point.
    """
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def interval(ends: tuple[float, float], decimals: int = 3) -> str:
    """An interval in brackets.

    :param ends: Lower and upper end.
    :param decimals: Digits after the point.
    """
    return f"[{number(ends[0], decimals)}, {number(ends[1], decimals)}]"


def estimate_cell(estimate: MIEstimate) -> Cell:
    """An estimate of information with its interval.

    :param estimate: In any unit.
    """
    return Cell(number(estimate.value), interval(estimate.confidence_interval), estimate.unit)


def percent_cell(value: float | None, ends: tuple[float, float] | None = None) -> Cell:
    """A proportion in per cent.

    :param value: In [0, 1], or None where it was not measured.
    :param ends: 95 % interval in [0, 1] where there is one.
    """
    if value is None:
        return Cell()
    shown = "" if ends is None else interval((100 * ends[0], 100 * ends[1]), 1)
    return Cell(number(100 * value, 1), shown, "%")


def accuracy_cell(accuracy: Accuracy | None) -> Cell:
    """An accuracy in per cent with its interval.

    :param accuracy: None where it was not measured.
    """
    return Cell() if accuracy is None else percent_cell(accuracy.value, accuracy.confidence_interval)


def measured_cell(value: float | None, nb_samples: int) -> Cell:
    """An accuracy of which only the value is known, with its Wilson interval.

    :param value: In [0, 1], or None where it was not measured.
    :param nb_samples: Samples it was measured on.
    """
    return Cell() if value is None else percent_cell(value, wilson_interval(round(value * nb_samples), nb_samples))


def norm_name(norm: Any) -> str:
    """A norm as it is written: l_inf, l_2, l_1.

    :param norm: A number, or the text that stands for infinity in JSON.
    """
    return f"l_{norm:g}" if isinstance(norm, int | float) else f"l_{norm}"


def ball(norm: Any, eps: Any) -> str:
    """A threat model in words, its radius also as a fraction of 255 where it is one.

    :param norm: Norm.
    :param eps: Radius in raw input units.
    """
    if not isinstance(eps, int | float):
        return f"{norm_name(norm)}, eps {eps}"
    steps = 255 * eps
    whole = steps >= 1 and math.isclose(steps, round(steps), abs_tol=1e-6)
    return f"{norm_name(norm)}, eps {f'{round(steps)}/255 = ' if whole else ''}{eps:.4g}"


def settings(content: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Settings as text, by name.

    :param content: Any plain values.
    """
    return tuple((str(name), setting(value)) for name, value in content.items())


def setting(value: Any) -> str:
    """A setting as text.

    :param value: Any plain value.
    """
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in settings(value))
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def listed(names: Iterable[str]) -> str:
    """Names in a sentence.

    :param names: At least one.
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
