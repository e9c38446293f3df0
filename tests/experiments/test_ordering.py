"""Whether readings order models: on models whose order is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from experiments import figures12
from experiments.correlation import agreement, lead, reliability
from experiments.ordering import (
    RADIUS,
    UNDEFENDED,
    between_networks,
    in_parts,
    name_of,
    over_all,
    readings,
    rho,
)
from experiments.tables import correct, grouped

DROP = "vulnerability against gap"
TRAININGS = ({"method": "standard"}, {"method": "Madry", "radius": 0.5}, {"method": "TRADES"}, {"method": "DALE"})
ROBUST = (0.0, 0.4, 0.7, 0.8)


def model(network: str, training: dict[str, Any], robust: float, drop: float, **setting: Any) -> dict[str, Any]:
    """A model right about all 200 clean images, and about the first ones of them under attack."""

    def kept(share: float) -> dict[str, Any]:
        right = np.packbits(np.arange(200) < 200 * share).tobytes().hex()
        return {"value": share, "nb_samples": 200, "correct": right}

    read = {
        "normal": 2.0,
        "worst case": 2.0 - drop,
        "vulnerability": drop,
        "vulnerability, interval": [drop - 0.1, drop + 0.1],
        "ceilings": {"exact": 1.0, "published": 1.0, "label_aware": robust + 0.1},
        "measured accuracy": robust,
        "flags": ["UNDERSAMPLED"],
    }
    plain = {"network": network, "options": {}, "sampling": None, "radius": 1.0, "encoder": None}
    accuracies = {"clean": kept(1.0), "clean of those": kept(1.0), "PGD-20": kept(robust), "AutoAttack": kept(robust)}
    return {
        "setting": {**plain, **training, **setting},
        "seed": 0,
        "last": accuracies,
        "measure": {"logits": read, "features": dict(read)},
    }


def grid(offset: float = 0.0) -> list[dict[str, Any]]:
    """Four trainings of three networks; drops order the models of a network, and are higher by an offset a network."""
    return [
        model(f"net {number}", training, robust + number / 100, 1.0 - robust - number / 100 + offset * number)
        for number in range(3)
        for training, robust in zip(TRAININGS, ROBUST, strict=True)
    ]


def heads() -> list[dict[str, Any]]:
    encoder = {"method": "worst-case MI", "network": "net 0"}
    return [
        model("MLP", {"method": method}, robust, 0.5, encoder=encoder)
        for method, robust in (("Madry", 0.5), ("standard", 0.3))
    ]


def test_of_two_heads_a_layer_knows_one_and_the_radius_none() -> None:
    table = readings([*grid(), *heads()])
    assert {estimate: len(models) for estimate, models in table.items()} == {
        "logits": 14,
        "features": 13,
        UNDEFENDED: 14,
        RADIUS: 12,
    }
    assert "net 0, worst-case MI, standard head" not in table["features"]


def test_what_is_known_of_the_training_orders_models_as_far_as_it_goes() -> None:
    """Ranks 1-3, 4-6 and 7-12 by radius: rho is that of three blocks."""
    table = readings(grid())
    blocks = np.repeat([2.0, 5.0, 9.5], [3, 3, 6])
    expected = float(np.corrcoef(blocks, np.arange(12))[0, 1])
    found, perfect = rho(table[RADIUS], DROP), rho(table["logits"], DROP)
    assert found is not None
    assert perfect is not None
    assert found.rho == pytest.approx(expected)
    assert perfect.rho == pytest.approx(1.0)
    assert f"| logits | {DROP} | {1 - expected:+.2f} [" in in_parts(table, ["net 0"])


def test_a_lead_is_the_difference_of_rhos() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=30)
    near, far = y + 0.1 * rng.normal(size=30), rng.normal(size=30)
    gained = lead(list(near), list(far), list(y))
    assert gained is not None
    value, low, high = gained
    assert 0.3 < low < value < high
    assert lead(list(near), list(near), list(y)) == (0.0, 0.0, 0.0)
    assert lead([1.0] * 30, list(near), list(y)) is None
    assert lead(list(near[:9]), list(far[:9]), list(y[:9])) is None


def test_offsets_between_networks_are_found_and_taken_off() -> None:
    """Drops ten nats apart between networks: of network k and training t rank 4 k + 4 - t, the gap 12 - 3 t - k.

    On average the drop places a network 5 k - 5 ranks too high.
    """
    names = [f"net {number}" for number in range(3)]
    k, t = np.divmod(np.arange(12), 4)
    drop, gap = 4 * k + 4 - t, 12 - 3 * t - k
    shift = 5 * k - 5
    over_them_all, off = spearmanr(drop, gap).statistic, spearmanr(drop - shift, gap).statistic
    share = (shift**2).sum() / ((drop - gap) ** 2).sum()
    cells = _line(between_networks(readings(grid(offset=10.0)), names), "logits")
    assert [cell.split()[0] for cell in cells[1:4]] == [f"{over_them_all:.2f}", "1.00", f"{off:.2f}"]
    assert cells[4:] == [f"{share:.0%}", "-5.0 (2.00)", "+0.0 (2.00)", "+5.0 (2.00)"]
    assert _line(between_networks(readings(grid()), names), "logits")[4] == "0%"


def runs(errors: Sequence[float]) -> list[dict[str, Any]]:
    """The grid, higher by 0.1, once for each error: added to the first model, taken from the second, and so on."""
    models = [(row["setting"], 0.1 + row["last"]["AutoAttack"]["value"]) for row in grid()]
    return [
        {**model(setting["network"], setting, robust + wrong, 1 - robust + wrong), "seed": seed}
        for seed, error in enumerate(errors)
        for (setting, robust), wrong in zip(models, itertools.cycle((error, -error, 0.0)))
    ]


def test_a_model_counts_once_with_the_mean_over_its_training_runs() -> None:
    """Runs whose errors cancel order the models perfectly, each alone does not."""
    errors = (0.05, -0.02, -0.03)
    every = readings(runs(errors))["logits"]
    found, *alone = (rho(models, DROP) for models in (every, *(readings(runs([e]))["logits"] for e in errors)))
    assert found is not None
    assert (found.rho, found.nb_models) == (pytest.approx(1.0), 12)
    assert all(one is not None and one.rho < 0.99 for one in alone)
    read = every["net 0, TRADES"]
    assert read["robust, AutoAttack"] == pytest.approx(80.0)
    assert (read["vulnerability"], read["label_aware"]) == (pytest.approx(0.2), pytest.approx(0.9))


def test_training_runs_agree_as_far_as_they_rank_models_alike() -> None:
    """Opposite errors swap neighbours; equal ones, however large, do not."""
    alike, apart = (list(grouped(runs(errors), name_of).values()) for errors in ((0.05, 0.05), (0.05, -0.05)))
    assert agreement(alike, "AutoAttack") == pytest.approx(1.0)
    one, other = ([correct(of_model[seed], "AutoAttack").mean() for of_model in apart] for seed in (0, 1))
    assert agreement(apart, "AutoAttack") == pytest.approx(spearmanr(one, other).statistic)
    assert agreement(apart, "AutoAttack") < 0.99
    assert math.isnan(agreement([[run] for run in grid()], "AutoAttack"))


def test_of_how_many_models_two_training_runs_agree_is_said() -> None:
    again = [{**row, "seed": 1} for row in grid()[: 2 * len(TRAININGS)]]
    every = [*grid(), *again]
    assert "several, 8 of them, 4 at the full radius, on the same images" in over_all(every, readings(every))
    assert "several" not in over_all(grid(), readings(grid())).split("Ranks by a yardstick")[1]


def test_what_is_known_of_the_training_is_no_estimate_among_those_tried() -> None:
    rows = [{**row, "measure": dict.fromkeys(figures12.CHOSEN, row["measure"]["logits"])} for row in grid()]
    assert f"the highest of {len(figures12.CHOSEN)} estimates" in next(figures12.relations(rows)).found


def test_flags_and_intervals_are_counted() -> None:
    cells = _line(over_all(grid(), readings(grid())), "logits")
    drops = [1 - robust - number / 100 for number in range(3) for robust in ROBUST]
    assert cells[1:5] == ["12 / 12", "0 / 12", "0 / 12", f"0.20, {np.std(drops, ddof=1):.2f}"]
    twice = [*grid(), *({**row, "seed": 1} for row in grid())]
    twice[-1]["measure"]["logits"] |= {"flags": [], "vulnerability": 0.0, "vulnerability, interval": [None, 0.0]}
    assert _line(over_all(twice, readings(twice)), "logits")[1:4] == ["23 / 24", "0 / 24", "1 / 24"]


def _line(table: str, first: str) -> list[str]:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return next(cells for cells in lines if cells and cells[0] == first)


def test_a_gap_is_as_reliable_as_models_differ() -> None:
    """All are right about every clean image, so gaps rank as accuracies do."""
    models = [[run] for run in grid()]
    assert reliability(models, "clean", "AutoAttack") == pytest.approx(reliability(models, "AutoAttack"))


@pytest.mark.parametrize(("ceiling", "holds"), [(0.7, True), (0.52, None), (0.3, False)])
def test_autoattack_is_held_against_the_label_aware_ceiling_of_decisions(ceiling: float, holds: bool | None) -> None:
    """One accuracy of 0.5 of 200 images, 0.43 to 0.57 by Wilson."""
    row = model("net", {"method": "Madry"}, 0.5, 0.5)
    row["measure"][figures12.CODES] = {"ceilings": {"exact": 1.0, "label_aware": ceiling}}
    assert figures12._under_ceiling([row]).holds is holds
