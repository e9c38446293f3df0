"""What the numbers say, in a sentence or two, and nothing that their intervals do not carry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from art_mi.report.cells import Cell, accuracy_cell, ball, estimate_cell, listed
from art_mi.report.folders import check_records
from art_mi.results import Flag, ModelRecord, RepresentationVulnerability, RobustnessResult

COMPARABLE = ("norm", "eps", "eps_step", "max_iter", "num_random_init", "clip_values", "noise", "noise_std", "codes")
OVERLAP = "The 95 % intervals overlap, so no order of {} is claimed"
UNDERSTATING = {
    *(Flag.SATURATED, Flag.ZERO_GRADIENT, Flag.MISLEADING_GRADIENT),
    *(Flag.RANDOM_OUTPUT, Flag.CONTRADICTION),
}

Interval = tuple[float, float]


def verdict(records: Sequence[ModelRecord]) -> list[str]:
    """Sentences on accuracy under attack and on information, as far as they were measured.

    Two models are ordered only where their intervals do not overlap. A model of whose attack it is known that it failed
    is never called the better one, and models measured in different ways are not compared.

    :param records: Models.
    :raises TypeError: If `records` holds anything but records.
    :raises ValueError: If it is empty.
    """
    check_records(records)
    robust = {record.name: record.robustness for record in records if record.robustness}
    represented = {record.name: record.representation for record in records if record.representation}
    said = [_on_accuracy(robust)] if robust else []
    if represented:
        said.append(_on_information(represented))
    return said or ["Neither accuracy under attack nor information was measured."]


def _on_accuracy(results: Mapping[str, RobustnessResult]) -> str:
    doubtful = [name for name, result in results.items() if result.flags]
    doubt = f"; the flags of {listed(doubtful)} say that a better attack may leave less" if doubtful else ""
    threats = {ball(result.norm, result.eps) for result in results.values()}
    if len(threats) > 1 or len({_attacked(result) for result in results.values()}) > 1:
        return f"The models were attacked differently, so their accuracies are not compared{doubt}."
    (threat,) = threats
    if not next(iter(results.values())).nb_attacks:
        return f"No attack was run within the threat model ({threat})."
    shown = {name: _stated(accuracy_cell(result.worst_case)) for name, result in results.items()}
    if len(results) == 1:
        ((name, result),) = results.items()
        clean = _stated(accuracy_cell(result.clean))
        kept = f"{name} keeps {shown[name]} of {clean} accuracy"
        return f"Under the worst of {attacks_counted(result)} ({threat}), {kept}{doubt}."
    worst = {name: result.worst_case.confidence_interval for name, result in results.items()}
    claims = _order({name: (-high, -low) for name, (low, high) in worst.items()}, doubtful)
    said = _compared(claims, doubtful, shown, "withstands the attacks better than {}", "{} keeps {}", "robustness")
    return f"{said}; worst of {attacks_counted(next(iter(results.values())))}, {threat}{doubt}."


def _on_information(results: Mapping[str, RepresentationVulnerability]) -> str:
    unit = next(iter(results.values())).unit
    drops = {name: result.in_unit(unit).vulnerability for name, result in results.items()}
    doubtful = [name for name, result in results.items() if UNDERSTATING.intersection(result.flags)]
    doubt = f"; the flags of {listed(doubtful)} say that more may be lost than was found" if doubtful else ""
    shown = {name: _stated(estimate_cell(drop)) for name, drop in drops.items()}
    if len(drops) == 1:
        (name,) = drops
        lost = f"the representation of {name} loses {shown[name]} of information"
        return f"Under the worst perturbation found, {lost}{doubt}."
    if differing := differences(results):
        return f"Information was measured differently ({', '.join(differing)}), so it is not compared{doubt}."
    claims = _order({name: drop.confidence_interval for name, drop in drops.items()}, doubtful)
    words = "loses less information than that of {}"
    said = _compared(claims, doubtful, shown, words, "{} loses {}", "vulnerability", "the representation of ")
    return f"Under the worst perturbations found, {said[:1].lower()}{said[1:]}{doubt}."


def _order(ends: Mapping[str, Interval], doubtful: Sequence[str]) -> tuple[dict[str, list[str]], bool]:
    """For each name those whose intervals lie wholly above its own, and whether doubt alone forbids some of it.

    :param ends: Intervals, the lower the better.
    :param doubtful: Names that may not be called better.
    """
    ordered = sorted(ends, key=lambda name: sum(ends[name]) if math.isfinite(sum(ends[name])) else math.inf)
    above = {name: [other for other in ordered if ends[name][1] < ends[other][0]] for name in ordered}
    claims = {name: others for name, others in above.items() if others and name not in doubtful}
    return claims, any(above.values())


def _compared(
    order: tuple[dict[str, list[str]], bool],
    doubtful: Sequence[str],
    shown: Mapping[str, str],
    better: str,
    each: str,
    quality: str,
    subject: str = "",
) -> str:
    claims, apart = order
    if not claims:
        reason = f"No order of {quality} is claimed" if apart else OVERLAP.format(quality)
        return f"{reason}: {', '.join(each.format(name, value) for name, value in shown.items())}"
    said = "; ".join(f"{subject}{name} {better.format(listed(others))}" for name, others in claims.items())
    if len(shown) == 2:
        ((name, (other,)),) = claims.items()
        return f"{_capital(said) if subject else said}: {shown[name]} against {shown[other]}"
    whole = sum(map(len, claims.values())) == math.comb(len(shown), 2)
    return f"{_capital(said) if subject else said}{'' if whole else '; no other order is claimed'}"


def differences(results: Mapping[str, RepresentationVulnerability]) -> list[str]:
    """Names of the settings in which the measurements differ, as far as they make them incomparable.

    :param results: Results by model.
    """
    ways: list[dict[str, Any]] = [
        {"method": result.method, "number of samples": result.normal.nb_samples, **result.settings}
        for result in results.values()
    ]
    return [
        name for name in ("method", "number of samples", *COMPARABLE) if len({str(way.get(name)) for way in ways}) > 1
    ]


def _attacked(result: RobustnessResult) -> str:
    """How a model was attacked: attacks, their settings and the number of samples."""
    settings = {
        name: {key: value for key, value in attack.settings.items() if not key.startswith("outside the ball")}
        for name, attack in sorted(result.attacks.items())
    }
    return f"{result.clean.nb_samples} {settings}"


def attacks_counted(result: RobustnessResult) -> str:
    """How many attacks the worst case is taken over: those of its own ball.

    :param result: Accuracies under attack.
    """
    n = result.nb_attacks
    return f"{n} attack{'' if n == 1 else 's'}"


def _stated(cell: Cell) -> str:
    return f"{cell.text} {cell.unit} {cell.interval}".replace(" ", "\N{NO-BREAK SPACE}")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
