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
from art_mi.representations import in_batches
from art_mi.results import Flag, MIEstimate

Codes = str | Callable[[Tensor], Any]
Target = Callable[[Tensor, int], Tensor]

BIAS = "low where the attack misses codes; its two sides hold for the codes reached"
CEILING = (
    "no classifier on the codes is more accurate on these perturbed inputs; a better attack could only lower it "
    "(counted on the samples)"
)


def measure(problem: Problem, codes: Codes, max_codes: int) -> Measurement:
    """Entropy of the codes, clean and at the worst assignment that targeted attacks reach.

    :param problem: What to measure.
    :param codes: `"argmax"`, `"sign"` (sgn(0) = +1), or a callable from representations `(n, d)` to integer codes
        `(n,)` or `(n, k)`.
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
    normal = worst = _estimate(problem, assigned, entropy(counts.cpu().numpy()), None)
    if problem.ball.eps > 0:
        wanted = counts.argsort(descending=True, stable=True)[:max_codes].tolist()
        cover = minimum_entropy_cover(
            _reachable(problem, encode, table, clean, wanted, _target(codes, z, table, clean))
        )
        if cover.entropy < normal.value:
            assigned = cover.assignment
            worst = _estimate(problem, assigned, cover.entropy, cover)
    label, accuracy = None, None
    if problem.y is not None:
        y = problem.y.cpu().numpy()
        label = _information(assigned, y)
        if codes == "argmax" and problem.layer is None:
            accuracy = float((table[:, 0].cpu().numpy()[assigned] == y).mean())
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
            "nb_codes_attacked_for": min(max_codes, len(table)),
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


def _target(codes: Codes, z: Tensor, table: Tensor, clean: Tensor) -> Target:
    """An objective a sample that is high where its code is the wanted row of `table`."""
    if codes == "argmax":

        def margin(z_adv: Tensor, wanted: int) -> Tensor:
            column = int(table[wanted, 0])
            others = torch.cat([z_adv[:, :column], z_adv[:, column + 1 :]], dim=1)
            return z_adv[:, column] - others.amax(1)

        return margin
    if codes == "sign":
        signs = 2.0 * table.to(z.dtype) - 1.0
        within = 1e-3 * z.abs().mean(0)  # just across: zero itself counts as +1

        def hinge(z_adv: Tensor, wanted: int) -> Tensor:
            return -(within - signs[wanted] * z_adv).clamp_min(0).sum(1)

        return hinge
    members = torch.nn.functional.one_hot(clean, len(table)).to(z.dtype)
    centres = members.T @ z / members.sum(0)[:, None]
    return lambda z_adv, wanted: -(z_adv - centres[wanted]).square().sum(1)


def _reachable(
    problem: Problem,
    encode: Callable[[Tensor], Tensor],
    table: Tensor,
    clean: Tensor,
    wanted: list[int],
    target: Target,
) -> NDArray[np.bool_]:
    """Codes seen at any step of one targeted attack a wanted code, the clean code included; shape `(n, K)`."""
    generator = problem.generator()
    reached = torch.nn.functional.one_hot(clean, len(table)).bool()
    for code in problem.progress(wanted, "codes within reach"):
        start = 0
        for part in problem.x.split(problem.batch_size):
            seen = reached[start : start + len(part)]

            def towards(x_adv: Tensor, seen: Tensor = seen, code: int = code) -> Tensor:
                z_adv = problem.represent(x_adv)
                _mark(seen, encode(z_adv.detach()), table)
                return target(z_adv, code)

            x_adv = problem.attack(towards, part, generator)
            with torch.no_grad():
                _mark(seen, encode(problem.represent(x_adv)), table)
            start += len(part)
    return reached.cpu().numpy()


def _mark(seen: Tensor, codes: Tensor, table: Tensor) -> None:
    same = torch.ones(len(codes), len(table), dtype=torch.bool, device=codes.device)
    for code, known in zip(codes.T, table.T, strict=True):
        same &= code[:, None] == known[None, :]
    seen |= same


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
    observed, undercounted = np.count_nonzero(counts), miller_madow(counts) - entropy(counts)
    flags = []
    if value > 0.8 * math.log(n):
        flags.append(Flag.SATURATED)
    if n < ENOUGH_PAIRS or observed > 0.1 * n:
        flags.append(Flag.UNDERSAMPLED)
    return MIEstimate(
        value=value,
        confidence_interval=(min(value, low + undercounted), high + undercounted),
        estimator="entropy of codes",
        bias=f"exact on the samples; for their distribution low by about {undercounted:.2g} nats"
        if cover is None
        else "on the samples, high where the attack misses codes; its two sides hold for the codes reached",
        nb_samples=n,
        random_state=problem.random_state,
        lower=value if cover is None else cover.lower,
        upper=value,
        ceiling=math.log(n),
        bounds={"miller_madow": miller_madow(counts)} if cover is None else {},
        flags=tuple(flags),
        replicates=replicates,
    )
