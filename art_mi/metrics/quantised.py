"""The counting method: information of a discrete code of the representation, I(X; C) = H(C).

The worst case is a minimum-entropy cover: every sample goes to a code that an attack can drive it to, so that the
entropy of the codes is least.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from art_mi.codes import Cover, entropy, miller_madow, minimum_entropy_cover
from art_mi.intervals import bootstrap, percentile_interval
from art_mi.metrics.measurement import ENOUGH_PAIRS, Measurement, Problem, difference
from art_mi.metrics.reached import Reached, keys_of
from art_mi.representations import in_batches
from art_mi.results import Flag, MIEstimate

Codes = str | Callable[[Tensor], Any]
Aim = Callable[[Tensor], Tensor]

SIDES = "its two sides hold for the codes that were counted"
BIAS = f"low where the attack misses codes; {SIDES}"
CEILING = (
    "no classifier on the codes is more accurate on these perturbed inputs; a better attack could only lower it "
    "(counted on the samples)"
)


def measure(problem: Problem, codes: Codes, max_codes: int) -> Measurement:
    """Entropy of the codes, clean and at the worst assignment that targeted attacks reach.

    :param problem: What to measure.
    :param codes: `"argmax"`, `"sign"` (sgn(0) = +1), or a callable from representations `(n, d)` to integer codes
        `(n,)` or `(n, k)` that are convex regions.
    :param max_codes: Most codes that are attacked for, the most frequent ones.
    :raises ValueError: If the representation has one code only.
    """
    code = CODES[codes] if isinstance(codes, str) else codes
    encode = partial(_rows, code)
    z = in_batches(problem.represent, problem.x, problem.batch_size)
    table, clean, counts = encode(z).unique(dim=0, return_inverse=True, return_counts=True)
    if len(table) < 2:
        raise ValueError("`codes` must take at least two values on `x`, got one: try other codes.")
    assigned = clean.cpu().numpy()
    aims = _aims(codes, z, table, clean, counts)[:max_codes]
    reached = Reached(keys_of(table).cpu().numpy(), assigned)
    normal = worst = _estimate(problem, assigned, entropy(counts.cpu().numpy()), None)
    if problem.ball.eps > 0:
        _reach(problem, encode, aims, reached)
        cover = minimum_entropy_cover(reached.seen)
        if cover.entropy < normal.value:
            assigned = cover.assignment
            worst = _estimate(problem, assigned, cover.entropy, cover)
    label, accuracy = None, None
    if problem.y is not None:
        y = problem.y.cpu().numpy()
        label = _information(assigned, y)
        if codes == "argmax" and problem.layer is None:
            accuracy = float((reached.keys[assigned] == y).mean())
    return Measurement(
        normal=normal,
        worst_case=worst,
        vulnerability=difference(
            normal,
            worst,
            BIAS,
            attacked=problem.ball.eps > 0,
            undercounted=normal.bounds["miller_madow"] - normal.value,
        ),
        ceiling_information=worst.value,
        ceiling_direction=CEILING,
        label_information=label,
        measured_accuracy=accuracy,
        settings={
            "codes": codes if isinstance(codes, str) else repr(codes),
            "nb_codes": len(table),
            "nb_codes_attacked_for": len(aims),
            "nb_codes_met": len(reached.keys) - len(table),
            "nb_codes_left_out": reached.nb_left_out,
        },
    )


def _argmax(z: Tensor) -> Tensor:
    return z.argmax(1)


def _sign(z: Tensor) -> Tensor:
    return z >= 0


CODES: dict[str, Callable[[Tensor], Any]] = {"argmax": _argmax, "sign": _sign}


def _rows(code: Callable[[Tensor], Any], z: Tensor) -> Tensor:
    given = code(z)
    try:
        values = torch.as_tensor(given, device=z.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`codes` must give integers, got {type(given).__name__} that is not: {error}") from error
    if values.is_floating_point() or values.is_complex():
        raise TypeError(f"`codes` must give integers, got {values.dtype}.")
    if values.ndim not in (1, 2) or len(values) != len(z):
        raise ValueError(f"`codes` must give shape (n,) or (n, k), got {tuple(values.shape)} for n = {len(z)}.")
    return values.long().view(len(z), -1)


def _aims(codes: Codes, z: Tensor, table: Tensor, clean: Tensor, counts: Tensor) -> list[Aim]:
    """For each code an objective a sample that is high where its code is this one; the most frequent codes first.

    Of `"argmax"` the codes of no clean input follow, those with the largest mean output first.
    """
    if codes == "argmax":
        near = z.mean(0).argsort(descending=True)
        often = _argmax(z).bincount(minlength=z.shape[1])[near]
        return [partial(_margin, column=c) for c in near[often.argsort(descending=True, stable=True)].tolist()]
    frequent = counts.argsort(descending=True, stable=True)
    if codes == "sign":
        within = 1e-3 * z.abs().mean(0)  # just across: zero itself counts as +1
        return [partial(_hinge, signs=signs, within=within) for signs in 2.0 * table[frequent].to(z.dtype) - 1.0]
    members = torch.nn.functional.one_hot(clean, len(table)).to(z.dtype)
    centres = members.T @ z / members.sum(0)[:, None]
    return [partial(_nearness, centre=centre) for centre in centres[frequent]]


def _margin(z: Tensor, column: int) -> Tensor:
    return z[:, column] - torch.cat([z[:, :column], z[:, column + 1 :]], dim=1).amax(1)


def _hinge(z: Tensor, signs: Tensor, within: Tensor) -> Tensor:
    return -(within - signs * z).clamp_min(0).sum(1)


def _nearness(z: Tensor, centre: Tensor) -> Tensor:
    return -(z - centre).square().sum(1)


def _reach(problem: Problem, encode: Callable[[Tensor], Tensor], aims: list[Aim], reached: Reached) -> None:
    """Count the codes seen at any step of one targeted attack an aim."""
    generator = problem.generator()
    for aim in problem.progress(aims, "codes within reach"):
        parts = []
        for x in problem.x.split(problem.batch_size):
            met: list[Tensor] = []

            def towards(x_adv: Tensor, met: list[Tensor] = met, aim: Aim = aim) -> Tensor:
                z_adv = problem.represent(x_adv)
                met.append(keys_of(encode(z_adv.detach())))
                return aim(z_adv)

            x_adv = problem.attack(towards, x, generator)
            with torch.no_grad():
                met.append(keys_of(encode(problem.represent(x_adv))))
            parts.append(torch.stack(met))
        reached.add(torch.cat(parts, dim=1).cpu().numpy())


def _information(codes: NDArray[np.intp], y: NDArray[np.int64]) -> float:
    """I(Y; C) of the samples by counting."""
    joint = np.zeros((codes.max() + 1, y.max() + 1), dtype=np.int64)
    np.add.at(joint, (codes, y), 1)
    return entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint)


def _estimate(problem: Problem, codes: NDArray[np.intp], value: float, cover: Cover | None) -> MIEstimate:
    n = len(codes)
    counts = np.bincount(codes)
    influence = -np.log(counts[codes] / n) - value
    replicates = bootstrap(value, influence, random_state=problem.random_state)
    low, high = percentile_interval(replicates)
    lower = value if cover is None else cover.lower
    observed, undercounted = np.count_nonzero(counts), miller_madow(counts) - entropy(counts)
    flags = []
    if value > 0.8 * math.log(n):
        flags.append(Flag.SATURATED)
    if n < ENOUGH_PAIRS or observed > 0.1 * n:
        flags.append(Flag.UNDERSAMPLED)
    return MIEstimate(
        value=value,
        confidence_interval=(min(lower, low - (value - lower) + undercounted), high + undercounted),
        estimator="entropy of codes",
        bias=f"exact on the samples; for their distribution low by about {undercounted:.2g} nats"
        if cover is None
        else f"on the samples, high where the attack misses codes; {SIDES}",
        nb_samples=n,
        random_state=problem.random_state,
        lower=lower,
        upper=value,
        ceiling=math.log(n),
        bounds={"miller_madow": miller_madow(counts)} if cover is None else {},
        flags=tuple(flags),
        replicates=replicates,
    )
