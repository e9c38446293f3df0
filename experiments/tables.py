"""Rows as tables: means over training runs, and whether what the papers say is found."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from art_mi.results.robustness import wilson_interval

Row = Mapping[str, Any]
Rows = Sequence[Row]
QUANTITIES = ("clean", "PGD-20", "AutoAttack")
UNNOTICED = 1.0  # points by which "not worse" may be worse
NUMBERS = re.compile(r"([-+±\d.,%/()\[\] ]|to)*")  # and their intervals


@dataclass(frozen=True)
class Relation:
    """Something that a paper says, or that was hoped for, and what was found.

    :param says: The claim.
    :param found: The numbers.
    :param holds: Whether it was found; None where the error does not tell it from the opposite, or nothing can be said.
    :param chosen_on: Data set by which what is claimed about was chosen, so that it decides nothing.
    """

    says: str
    found: str
    holds: bool | None
    chosen_on: str = ""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of accuracies in points.

    :param value: Of the means over training runs.
    :param error: Its standard error, over images and, where there are several, over training runs.
    :param reach: Standard errors on both sides that 95 % of errors lie within.
    """

    value: float
    error: float
    reach: float = 2.0

    @property
    def positive(self) -> bool | None:
        """Whether it is at least 0; None where its error does not say."""
        return None if abs(self.value) <= self.reach * self.error else self.value > 0

    @property
    def not_worse(self) -> bool | None:
        """Whether it is below 0 by :data:`UNNOTICED` at most; None where its error does not say so, nor that it is."""
        return True if self.value - self.reach * self.error >= -UNNOTICED else False if self.positive is False else None

    def __str__(self) -> str:
        return f"{self.value:+.1f} ± {self.error:.1f}"


def contrast(parts: Iterable[tuple[float, Rows]], quantity: str, constant: float = 0.0) -> Contrast:
    """A weighted sum of accuracies of models on the same images, image by image, plus a constant.

    :param parts: Weights with the training runs of a setting; runs of the same seed are taken together.
    :param quantity: Out of :data:`QUANTITIES`.
    :param constant: In points.
    """
    by_seed = [{row["seed"]: weight * correct(row, quantity) for row in rows} for weight, rows in parts]
    seeds = sorted(set.intersection(*(set(runs) for runs in by_seed)))
    runs = np.array([sum(runs[seed] for runs in by_seed) for seed in seeds])  # (seeds, images)
    spreads = [(runs.mean(0), runs.shape[1]), *([(runs.mean(1), len(runs))] if len(runs) > 1 else [])]
    variances = [(values.var(ddof=1) / n, n - 1) for values, n in spreads]
    both = sum(variance for variance, _ in variances)
    freedom = both**2 / max(sum(variance**2 / freedom for variance, freedom in variances), 1e-300)  # Satterthwaite's
    return Contrast(100 * float(runs.mean()) + constant, 100 * math.sqrt(both), max(2.0, float(t.ppf(0.975, freedom))))


def agreed(*answers: bool | None) -> bool | None:
    """Whether all hold: False where one does not, None where one is undecided."""
    return False if False in answers else None if None in answers else True


def correct(row: Row, quantity: str) -> NDArray[np.float64]:
    """Whether the last checkpoint is right about each image: 1 or 0."""
    kept = row["last"][quantity]
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(kept["correct"]), dtype=np.uint8))
    return bits[: kept["nb_samples"]].astype(float)


def grouped(rows: Iterable[Row], name: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows of the same setting, in the order in which settings first come; those that failed are left out.

    :param rows: All rows.
    :param name: What a setting is called.
    :raises ValueError: If two settings have the same name.
    """
    groups: dict[str, tuple[str, list[Row]]] = {}
    for row in rows:
        if "failed" not in row:
            key = json.dumps(_seedless(row["setting"]), sort_keys=True)
            groups.setdefault(key, (name(row), []))[1].append(row)
    names = [called for called, _ in groups.values()]
    if len(set(names)) < len(names):
        raise ValueError(f"`name` must tell settings apart, got {', '.join(names)}.")
    return dict(groups.values())


def _seedless(setting: Mapping[str, Any]) -> dict[str, Any]:
    """A setting without the seed of the encoder in it, which differs from run to run."""
    return {**setting, "encoder": setting["encoder"] and {**setting["encoder"], "seed": None}}


def accuracy(row: Row, quantity: str, checkpoint: str = "last") -> float:
    """An accuracy in per cent.

    :param row: A row.
    :param quantity: Out of :data:`QUANTITIES`.
    :param checkpoint: `"last"` or `"best"`.
    """
    return 100 * float(row[checkpoint][quantity]["value"])


def mean(rows: Rows, quantity: str, checkpoint: str = "last") -> float:
    """Mean accuracy in per cent over training runs."""
    return statistics.fmean(accuracy(row, quantity, checkpoint) for row in rows)


def validated(rows: Rows) -> float:
    """Mean accuracy under PGD-20 on held-out images after the last epoch, for choices that the test must not make."""
    return statistics.fmean(row["history"][-1]["robust_accuracy"] for row in rows)


def interval(rows: Rows, quantity: str, checkpoint: str = "last") -> tuple[float, float]:
    """Wilson's 95 % interval of the mean over test images, in per cent."""
    n = rows[0][checkpoint][quantity]["nb_samples"]
    low, high = wilson_interval(round(mean(rows, quantity, checkpoint) / 100 * n), n)
    return 100 * low, 100 * high


def cell(rows: Rows, quantity: str, checkpoint: str = "last") -> str:
    """Mean over training runs ± their standard deviation, and Wilson's interval of that mean over images."""
    value, (low, high) = mean(rows, quantity, checkpoint), interval(rows, quantity, checkpoint)
    apart = statistics.stdev(accuracy(row, quantity, checkpoint) for row in rows) if len(rows) > 1 else None
    return f"{value:.1f}{'' if apart is None else f' ± {apart:.1f}'} [{low:.0f}, {high:.0f}]"


def accuracy_table(groups: Mapping[str, Rows]) -> str:
    """Accuracies of last and best checkpoints, a line a setting; under PGD-20 also of AutoAttack's images alone."""
    best = (f"best: {name}" for name in QUANTITIES)
    head = ["model", "runs", *QUANTITIES, "PGD-20 there", *best, "epoch of the best", "s an epoch"]
    lines = []
    for name, rows in groups.items():
        epochs = ", ".join(str(row["best"]["epoch"]) for row in rows)
        seconds = statistics.median(row["seconds_per_epoch"] for row in rows)
        last, at_best = ([cell(rows, name, checkpoint) for name in QUANTITIES] for checkpoint in ("last", "best"))
        there = statistics.fmean(100 * float(_there(row).mean()) for row in rows)
        lines.append([name, str(len(rows)), *last, f"{there:.1f}", *at_best, epochs, f"{seconds:.1f}"])
    return markdown_table(head, lines)


def _there(row: Row) -> NDArray[np.float64]:
    """Whether the last checkpoint is right under PGD-20, on the images that AutoAttack saw."""
    return correct(row, "PGD-20")[: len(correct(row, "AutoAttack"))]


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns of numbers, the first aside, stand to the right."""
    lines = list(lines)
    columns = [[line[k] for line in lines] for k in range(len(head))]
    rules = ["---", *("---:" if any(c) and all(map(NUMBERS.fullmatch, c)) else "---" for c in columns[1:])]
    rows = [head, rules, *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def folded(summary: str, text: str) -> str:
    """Markdown that is shown when its summary is asked for."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def named(setting: Mapping[str, Any]) -> str:
    """A setting in a few words: its method and what it is given."""
    parts = [setting["method"]]
    if setting["radius"] != 1:
        parts.append(f"radius x {setting['radius']:g}")
    for options in (setting["options"], setting["sampling"] or {}):
        parts += [f"{key.replace('_', ' ')} {value}" for key, value in options.items()]
    return ", ".join(parts)
