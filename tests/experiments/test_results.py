"""What the experiments ask for, how rows become tables, and that the docs say what the files hold."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from art_mi.datasets import load
from art_mi.results import FeatureProfile, MIEstimate, UnitVulnerability
from experiments import EXPERIMENTS, combined, dale, figures12, figures34, mimae, rates, table1
from experiments.__main__ import main
from experiments.correlation import Correlation, correlation, reliability
from experiments.curves import least_lead
from experiments.ordering import name_of
from experiments.page import FIGURES, PAGE, kept, page
from experiments.plan import PLANS, Samples
from experiments.readme import BEGIN, END, README, readme
from experiments.recipe import METHODS, Recipe
from experiments.record import Record, made_from
from experiments.tables import Contrast, agreed, cell, contrast, grouped, markdown_table, mean
from tests.tiny_data import SHAPES, trust, write

TINY = replace(PLANS["quick"], nb_train=96, nb_validation=24, nb_test=30, nb_auto_attack=4, nb_epochs=1, max_iter=1)


# --- what is asked for ---


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_recipes_are_of_known_methods_and_none_comes_twice(name: str) -> None:
    recipes = list(import_module(f"experiments.{name}").recipes(0, "digits"))
    assert {recipe.method for recipe in recipes} <= set(METHODS)
    folders = [recipe.folder(TINY) for recipe in recipes]
    assert len(set(folders)) == len(folders)


def test_the_second_figure_has_fifteen_models_of_five_networks() -> None:
    recipes = list(figures12.recipes(0, "digits"))
    assert len(recipes) >= 15
    assert {recipe.network for recipe in recipes} >= set(figures12.NETWORKS)
    trained = {recipe.method for recipe in recipes} | {r.encoder.method for r in recipes if r.encoder}
    assert trained >= {"standard", "Madry", "TRADES", "MIMAE", "DALE", "worst-case MI"}
    assert len({recipe.radius for recipe in recipes if recipe.method == "Madry"}) == 2


def test_the_second_figure_has_the_same_models_of_every_seed() -> None:
    runs = [recipe for seed in range(3) for recipe in figures12.recipes(seed, "digits")]
    models = grouped([{"setting": recipe.setting(TINY), "seed": recipe.seed} for recipe in runs], name_of)
    assert [[run["seed"] for run in of_model] for of_model in models.values()] == [[0, 1, 2]] * (len(runs) // 3)
    assert all(recipe.encoder.seed == recipe.seed for recipe in runs if recipe.encoder)


def test_the_second_figure_has_one_run_where_they_are_long() -> None:
    first, *others = (list(figures12.recipes(seed, "fashion-mnist")) for seed in range(3))
    assert len(first) == len(list(figures12.recipes(0, "digits")))
    short = [replace(recipe, seed=0) for recipe in first if recipe.network in figures12.SHORT and not recipe.encoder]
    assert short
    assert [[replace(recipe, seed=0) for recipe in recipes] for recipes in others] == [short, short]


def test_every_method_with_a_weight_is_tried_at_as_many() -> None:
    assert len({len(weights) for weights in mimae.WEIGHTS.values()}) == 1
    recipes = list(mimae.recipes(0, "digits"))
    for method, weights in mimae.WEIGHTS.items():
        assert all(Recipe(method, options=options) in recipes for options in weights)


# --- rows to tables ---


def row(clean: float, attacked: float, seed: int = 0, n: int = 100, **setting: Any) -> dict[str, Any]:
    values = {"clean": clean, "PGD-20": attacked, "AutoAttack": attacked}
    accuracies = {
        name: {"value": value, "nb_samples": n, "correct": np.packbits(np.arange(n) < value * n).tobytes().hex()}
        for name, value in values.items()
    }
    plain = {"method": "Madry", "network": "small CNN", "options": {}, "sampling": None, "radius": 1.0, "encoder": None}
    return {
        "setting": {**plain, **setting},
        "seed": seed,
        "last": accuracies,
        "best": {**accuracies, "epoch": 2},
        "seconds_per_epoch": 1.5,
        "nb_parameters": 10,
        "history": [{"epoch": 1, "robust_accuracy": attacked}],
    }


def test_a_cell_gives_mean_spread_and_interval() -> None:
    """Of 0.5 and 0.7: mean 0.6, standard deviation 0.1414; Wilson's interval of 60 in 100 is 0.502 to 0.691."""
    rows = [row(0.5, 0.1), row(0.7, 0.1, seed=1)]
    assert cell(rows, "clean") == "60.0 ± 14.1 [50, 69]"
    assert cell(rows[:1], "PGD-20") == "10.0 [6, 17]"
    assert list(grouped(rows, lambda row: row["setting"]["method"])) == ["Madry"]


def test_a_contrast_is_paired_by_image() -> None:
    """Of 100 images one is right by one model only: 1 point apart, with the error of one image in 100."""
    both = contrast([(1, [row(0.51, 0.1)]), (-1, [row(0.5, 0.1)])], "clean")
    assert both.value == pytest.approx(1.0)
    assert both.error == pytest.approx(100 * math.sqrt(0.01 * 0.99 / 99))
    assert contrast([(1, [row(0.5, 0.1)]), (-1, [row(0.5, 0.1)])], "clean", constant=2.0) == Contrast(2.0, 0.0)
    runs = contrast([(1, [row(0.5, 0.1, seed=0), row(0.7, 0.1, seed=1)])], "clean")
    assert runs.value == pytest.approx(60.0)
    assert runs.error > 100 * math.sqrt(0.02 / 2)  # at least that of two runs 20 points apart
    assert [Contrast(value, 1.0).positive for value in (3.0, 1.0, -3.0)] == [True, None, False]
    near = (Contrast(3.0, 1.0), Contrast(-0.5, 0.2), Contrast(-0.5, 1.0), Contrast(-1.5, 0.5), Contrast(-5.0, 1.0))
    assert [lead.not_worse for lead in near] == [True, True, None, False, False]
    assert [agreed(*answers) for answers in ((True, True), (True, None), (None, False))] == [True, None, False]


def test_settings_must_have_names_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"`name` must tell settings apart"):
        grouped([row(0.5, 0.1), row(0.5, 0.1, method="TRADES")], lambda _: "the same")


def test_rows_that_failed_are_left_out_of_tables() -> None:
    failed = {"setting": {"method": "DALE"}, "seed": 0, "failed": "ValueError: no"}
    assert list(grouped([row(0.5, 0.1), failed], lambda row: row["setting"]["method"])) == ["Madry"]


def test_correlations_are_scipys() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=20).round(1)
    y = x + rng.normal(size=20).round(1)
    found = correlation(list(x), list(y))
    assert found is not None
    assert found.rho == pytest.approx(spearmanr(x, y).statistic)
    low, high = found.interval
    assert -1 <= low < found.rho < high <= 1
    assert correlation([1, 2, 3], [5, 5, 5]) is None


def test_correlations_within_groups_know_nothing_of_differences_between_them() -> None:
    """In either group y rises with x; over both it falls."""
    x, y, groups = [0, 1, 2, 10, 11, 12], [10, 11, 12, 0, 1, 2], ["a"] * 3 + ["b"] * 3
    within, over_all = correlation(x, y, groups), correlation(x, y)
    assert within is not None
    assert over_all is not None
    assert (within.rho, within.nb_models) == (pytest.approx(1.0), 6)
    assert over_all.rho < 0
    assert correlation([0, 1, 0, 1], [5, 5, 5, 5], ["a", "a", "b", "b"]) is None


@pytest.mark.parametrize(("nb_models", "reached", "missed"), [(9, None, None), (10, True, False)])
def test_a_correlation_over_few_models_reaches_no_goal_and_misses_none(
    nb_models: int, reached: bool | None, missed: bool | None
) -> None:
    ranks = list(range(nb_models))
    rising, falling = correlation(ranks, ranks), correlation(ranks, ranks[::-1])
    assert rising is not None
    assert falling is not None
    assert (rising.at_least(0.9), falling.at_least(0.9)) == (reached, missed)


@pytest.mark.parametrize(
    ("interval", "reached"),
    [((0.92, 0.99), True), ((0.905, 0.99), None), ((0.5, 0.95), None), ((0.5, 0.8996), None), ((0.5, 0.88), False)],
)
def test_what_another_seed_of_the_resampling_may_change_decides_nothing(
    interval: tuple[float, float], reached: bool | None
) -> None:
    assert Correlation(0.8, interval, 32).at_least(0.9) is reached


def test_the_least_lead_is_where_curves_overlap() -> None:
    """Ours falls from 50 at 80 to 40 at 90, theirs from 46 at 85 to 36 at 95: 45 - 46 at 85, 40 - 41 at 90."""
    ours = [("a", [row(0.8, 0.5)]), ("b", [row(0.9, 0.4)])]
    theirs = [("c", [row(0.85, 0.46)]), ("d", [row(0.95, 0.36)])]
    lead = least_lead(ours, theirs)
    assert lead is not None
    assert (lead.least, lead.average, lead.overlap) == (pytest.approx(-1), pytest.approx(-1), (85.0, 90.0))
    low, high = lead.interval
    assert low < -1 < 0 < high
    assert lead.holds is None
    below = least_lead(ours, [("c", [row(0.85, 0.7)]), ("d", [row(0.95, 0.6)])])
    assert below is not None
    assert below.holds is False
    above = least_lead([("c", [row(0.85, 0.7)]), ("d", [row(0.95, 0.6)])], ours)
    assert above is not None
    assert above.holds is True
    assert least_lead(ours, [("e", [row(0.95, 0.3)]), ("f", [row(0.97, 0.2)])]) is None


@pytest.mark.parametrize(("settings", "nb_images", "nb_runs"), [(3, 400, 1), (5, 2000, 1), (3, 400, 3)])
def test_equal_curves_are_seldom_told_apart(settings: int, nb_images: int, nb_runs: int) -> None:
    """Answers of equal chance, drawn anew for settings on the same line, under attack for the first 400 images.

    Several runs differ by two points each beside.
    """
    rng, answers = np.random.default_rng(0), []
    spread = 0.02 if nb_runs > 1 else 0.0

    def setting(clean: float) -> tuple[str, list[dict[str, Any]]]:
        runs = [
            drawn(rng, clean, 2.4 - 2 * clean + spread * rng.normal(), nb_images, seed=seed) for seed in range(nb_runs)
        ]
        return str(clean), runs

    for _ in range(40):
        ours, theirs = (
            [setting(clean) for clean in np.linspace(low, high, settings)] for low, high in ((0.8, 0.88), (0.82, 0.9))
        )
        lead = least_lead(ours, theirs)
        answers.append(lead is not None and lead.holds is not None)
    assert sum(answers) <= 5


def drawn(rng: np.random.Generator, clean: float, attacked: float, n: int = 400, seed: int = 0) -> dict[str, Any]:
    """A row whose images are answered rightly by chance, under attack only where they are without."""
    level = rng.random(n)
    found = row(clean, attacked, seed, n)
    for name, chance in (("clean", clean), ("PGD-20", attacked), ("AutoAttack", attacked)):
        correct = level[: 400 if name == "AutoAttack" else n] < chance
        kept = {
            "value": float(correct.mean()),
            "nb_samples": len(correct),
            "correct": np.packbits(correct).tobytes().hex(),
        }
        found["last"][name] = kept
    return found


def test_a_ranking_is_as_reliable_as_models_differ() -> None:
    """Equal models are ranked by chance, far ones alike by any images."""
    rng = np.random.default_rng(0)
    far = [drawn(rng, 0.9, chance) for chance in np.linspace(0.05, 0.85, 12)]
    assert reliability([[run] for run in far], "AutoAttack") > 0.95
    equal = [drawn(rng, 0.9, 0.5) for _ in range(12)]
    assert reliability([[run] for run in equal], "AutoAttack") < 0.7
    assert reliability([[far[k], far[-1 - k]] for k in range(6)], "AutoAttack") < 0.7  # equal on average over runs


def test_mimae_is_judged_by_both_accuracies() -> None:
    others = {"Madry": (0.9, 0.3), "TRADES": (0.8, 0.5), "MART": (0.82, 0.45)}
    n = 2000

    def trained(method: str, clean: float, attacked: float) -> dict[str, Any]:
        return row(clean, attacked, n=n, method=method, options=mimae.WEIGHTS.get(method, [{}])[0])

    rows = [trained(name, *pair) for name, pair in others.items()]
    for (clean, attacked), holds in {
        (0.85, 0.55): True,  # first under attack, second in clean accuracy
        (0.95, 0.35): True,  # first in clean accuracy, third under attack
        (0.85, 0.47): False,  # first in neither
        (0.7, 0.55): False,  # first under attack, last in clean accuracy
        (0.85, 0.501): None,  # first by less than two standard errors
    }.items():
        ours = trained("MIMAE", clean, attacked)
        relations = list(mimae.relations([*rows, ours]))
        assert [relation.holds for relation in relations] == [holds, holds]


def test_the_combination_is_held_against_dale_at_the_same_margin() -> None:
    def trained(method: str, clean: float, attacked: float, **options: float) -> dict[str, Any]:
        found = row(clean, attacked, n=2000, method=method, options=options)
        found["history"] = [{"epoch": 1, "robust_accuracy": attacked, "clean": 0.3, "nu": 0.0}]
        return found

    rows = [
        trained("MIMAE under DALE", 0.8, 0.5, rho=0.3),
        trained("DALE", 0.8, 0.5, rho=0.3),
        trained("DALE", 0.9, 0.6, rho=0.2),
        trained("MIMAE", 0.7, 0.5, beta=1.0),
    ]
    assert [relation.holds for relation in combined.relations(rows)][:2] == [True, True]
    better = trained("MIMAE under DALE", 0.7, 0.6, rho=0.2)
    first, second, *_ = combined.relations([*rows, better])
    assert first.holds is False
    assert "rho 0.3: clean +0.0" in first.found
    assert "rho 0.2: clean -20.0" in first.found
    assert "rho 0.2, beta 1: clean +0.0 ± 0.0, AutoAttack +10.0" in second.found


def test_a_learning_rate_is_held_against_the_best_other_on_held_out_images() -> None:
    def trained(rate: float, attacked: float, held_out: float) -> dict[str, Any]:
        found = row(0.9, attacked, n=2000, **({} if rate == 1 else {"rate": rate}))
        found["history"] = [{"epoch": 1, "robust_accuracy": held_out}]
        return found

    usual, third = trained(1.0, 0.5, 0.5), trained(0.3, 0.9, 0.2)
    for attacked, holds in ((0.6, False), (0.505, True), (0.4, True)):
        (relation,) = rates.relations([usual, third, trained(3.0, attacked, 0.3)])
        assert relation.holds is holds
        assert "that is 3 times" in relation.found
    assert not list(rates.relations([usual]))


def test_what_units_lose_is_a_share_of_what_they_say_together() -> None:
    """Of units of 1 and 3 nats, drops of 0.5 and 0.5 are a quarter, not the mean of a half and a sixth."""

    def unit(number: int, normal: float, drop: float) -> UnitVulnerability:
        values = (normal, normal - drop, drop)
        reads = [MIEstimate(value, (value, value), "by hand", "none", 1000, 0) for value in values]
        return UnitVulnerability(number, *reads)

    def trained(method: str, *drops: float) -> dict[str, Any]:
        units = tuple(unit(number, *read) for number, read in enumerate(zip((1.0, 3.0), drops, strict=True)))
        return {**row(0.9, 0.5, method=method), "measure": {"features": FeatureProfile("body.3", units).to_dict()}}

    even, uneven = trained("Madry", 0.25, 0.75), trained("Madry", 0.5, 0.5)
    assert figures34._lost_share([even]) == (pytest.approx(0.25), pytest.approx(0.0))
    # beyond a quarter of each: 0.25 and -0.25, whose variance is 0.125, of two units over a mean of 2 nats
    assert figures34._lost_share([uneven]) == (pytest.approx(0.25), pytest.approx(math.sqrt(0.125 / 2) / 2))
    for standard, holds in (((0.9, 2.7), True), ((0.1, 0.3), False), ((0.5, 0.5), None)):
        (relation,) = figures34.relations([trained("standard", *standard), even])
        assert relation.holds is holds


def test_the_table_of_encoders_is_judged_as_in_the_paper() -> None:
    def head(method: str, beta: float | None, clean: float, attacked: float) -> dict[str, Any]:
        if beta is None:
            return row(clean, attacked, n=2000, method=method, network="Baseline-H")
        encoder = {"method": "worst-case MI", "network": "Baseline-H", "options": {"beta": beta, "detach_input": True}}
        return row(clean, attacked, n=2000, method=method, network="MLP", encoder=encoder)

    rows = [head("Madry", 1.0, 0.6, 0.4), head("Madry", 0.0, 0.5, 0.25), head("Madry", None, 0.8, 0.47)]
    relations = [r for r in table1.relations(rows) if "AutoAttack" in r.says]
    assert [relation.holds for relation in relations] == [False, True]
    assert mean(table1._found(rows)["worst case", "robust", "MLP"], "AutoAttack") == 40.0


# --- the command ---


@pytest.mark.parametrize("data", list(SHAPES))
def test_the_command_takes_files_in_every_format(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(data, tmp_path / "data")
    trust(data, tmp_path / "data", monkeypatch)
    monkeypatch.setitem(PLANS, "quick", TINY)
    monkeypatch.setattr(mimae, "recipes", lambda seed, data: iter([Recipe("MIMAE", seed=seed)]))
    out = tmp_path / "out"
    arguments = {"data_dir": tmp_path / "data", "runs": tmp_path / "runs", "out": out}
    assert main("mimae", data=data, plan="quick", seeds=2, **arguments) == 0  # type: ignore[arg-type]
    record = Record.read(out / f"mimae-{data}-quick.json")
    assert [row["seed"] for row in record.rows] == [0, 1]
    assert record.missing == 0
    assert {"torch", "art-mi", "pyautoattack"} <= set(record.rows[0]["made_by"]["versions"])
    assert record.rows[0]["seconds_per_epoch"] > 0
    before = (out / record.file).read_bytes()
    for seeds in (1, 2):
        assert main("mimae", data=data, plan="quick", seeds=seeds, **arguments) == 0  # type: ignore[arg-type]
        assert (out / record.file).read_bytes() == before


def test_rows_that_failed_are_made_again_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANS, "quick", TINY)
    monkeypatch.setattr(
        mimae, "recipes", lambda seed, data: iter([Recipe("standard", seed=seed), Recipe("Madry", seed=seed)])
    )
    made: list[tuple[str, int]] = []

    def rows(opened: object, measure: object, recipes: list[Recipe], workers: int) -> Iterator[tuple[int, Any]]:
        for number, recipe in enumerate(recipes):
            made.append((recipe.method, recipe.seed))
            failed = {} if len(made) % 2 else {"failed": "ValueError: no"}
            yield number, {"setting": recipe.setting(TINY), "seed": recipe.seed, **failed}

    monkeypatch.setattr("experiments.__main__.rows", rows)
    path = tmp_path / "mimae-digits-quick.json"
    for seeds, also, status in (
        (1, [("standard", 0), ("Madry", 0)], 1),
        (1, [("Madry", 0)], 0),
        (2, [("standard", 1), ("Madry", 1)], 1),
        (1, [], 1),
        (2, [("Madry", 1)], 0),
    ):
        made.clear()
        assert main("mimae", quick=True, seeds=seeds, out=tmp_path) == status
        assert made == also
    record = Record.read(path)
    assert [row["seed"] for row in record.rows] == [0, 0, 1, 1]
    monkeypatch.setattr(mimae, "SETTINGS", "new", raising=False)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match=r"`out` must hold rows of this plan .* move .*json away"):
        main("mimae", quick=True, out=tmp_path)
    assert path.read_bytes() == before


COMMAND = """
import runpy, sys
from art_mi.datasets import load
from experiments import mimae
from experiments.plan import PLANS, Samples
from experiments.recipe import Recipe
from tests.experiments.test_results import TINY
PLANS["quick"] = TINY
mimae.recipes = lambda seed, data: iter([Recipe("MIMAE", seed=seed), Recipe("Madry", seed=seed)])
sys.argv = ["experiments", "mimae", "--quick", "--seeds", "1", *sys.argv[1:]]
runpy.run_module("experiments", run_name="__main__", alter_sys=True)
"""


def test_two_workers_of_the_command_find_what_one_does(tmp_path: Path) -> None:
    found = []
    for workers in ("1", "2"):
        folder = tmp_path / workers
        options = ["--workers", workers, "--runs", str(folder / "runs"), "--out", str(folder)]
        called([sys.executable, "-c", COMMAND, *options], tmp_path)
        rows = Record.read(folder / "mimae-digits-quick.json").rows
        found.append([(row["setting"]["method"], row["last"], row["best"]) for row in rows])
    assert found[0] == found[1]


def called(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"`name` must be one of table1, .* got 'table9'"):
        main("table9")
    with pytest.raises(SystemExit, match=r"`seeds` must be 1 or more, got 0"):
        main("mimae", seeds=0)
    with pytest.raises(SystemExit, match=r"`data` must be digits with `quick`, or left out, got 'mnist'"):
        main("mimae", quick=True, data="mnist")
    with pytest.raises(SystemExit, match=r"more training images than it holds out, got 1,000 .* of 1,297 by 'narrow'"):
        main("mimae", data="digits", out=tmp_path)
    with pytest.raises(SystemExit, match=r"`data_dir` must hold the files of mnist"):
        main("mimae", data="mnist", data_dir=tmp_path, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_plan_asks_for_no_more_images_than_there_are() -> None:
    digits = load("digits")
    assert PLANS["quick"].within(digits) == PLANS["quick"]
    most = replace(PLANS["full"], nb_validation=147).within(digits)
    assert (most.nb_train, most.nb_test, most.nb_auto_attack) == (1150, 500, 500)
    samples = Samples.of(digits, most)
    assert [len(part[1]) for part in (samples.train, samples.validation, samples.test)] == [1150, 147, 500]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_quick_variant_runs(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()  # a worker's own lies in that of all, where experiments share their models
    runs = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "runs"
    options = ["--quick", "--seeds", "1", "--workers", "2", "--runs", str(runs), "--out", "out"]
    called([sys.executable, "-m", "experiments", name, *options], tmp_path)
    record = Record.read(tmp_path / "out" / f"{name}-digits-quick.json")
    assert not record.missing
    assert not [row for row in record.rows if "failed" in row]
    module = import_module(f"experiments.{name}")
    assert "| --- |" in module.section(record.rows)
    assert all(figure.get_axes() for figure in module.figures(record.rows).values())


# --- the docs ---


def test_columns_of_numbers_stand_to_the_right() -> None:
    lines = [["tau 2.2", "1.00 ± 0.02 [0.9, 1]", "2.24 to 1.14", "3", ""], ["3", "36%", "", "3 of 8, slack", ""]]
    table = markdown_table(["model", "accuracy", "nats", "found", "yet to come"], lines)
    assert table.splitlines()[1] == "| --- | ---: | ---: | --- | --- |"
    assert markdown_table(["a", "b"], iter(lines[:0])).splitlines() == ["| a | b |", "| --- | --- |"]


def test_rows_that_the_command_would_not_make_any_more_are_counted() -> None:
    setting = Recipe("Madry").setting(PLANS["quick"])
    rows = [{**row(0.9, 0.5), "setting": setting}, {**row(0.9, 0.5), "setting": {**setting, "radius": 3.0}}]
    for known, said in ((rows[:1], False), (rows, True)):
        text = page([Record("dale", "digits", asdict(PLANS["quick"]), {}, rows=tuple(known))])
        assert ("settings that this command no longer has: 1 training runs." in text) == said


def test_an_answer_says_of_how_many_runs_it_is() -> None:
    settings = [Recipe(method, options=options[0]).setting(PLANS["quick"]) for method, options in mimae.WEIGHTS.items()]
    settings.append(Recipe("Madry").setting(PLANS["quick"]))
    ours = settings[list(mimae.WEIGHTS).index("MIMAE")]

    def marks(of: Callable[[dict[str, Any]], int]) -> set[str]:
        rows = tuple(
            {**row(*((0.2, 0.1) if each is ours else (0.9, 0.5)), seed), "setting": each}
            for each in settings
            for seed in range(of(each))
        )
        text = page([Record("mimae", "digits", asdict(PLANS["quick"]), made_from(mimae), rows=rows)])
        first = next(line for line in text.splitlines() if line.startswith("| MIMAE first"))
        return set(first.strip("| ").split(" | ")[-1].split(", ")[1:])

    assert marks(lambda setting: 1) == {"1 run", "so far"}
    assert marks(lambda setting: 1 + (setting is ours)) == {"some of 1 run", "so far"}
    assert marks(lambda setting: 3) == {"so far"}


def test_rows_of_earlier_code_answer_nothing() -> None:
    settings = [Recipe(method, options=options[0]).setting(PLANS["quick"]) for method, options in mimae.WEIGHTS.items()]
    settings.append(Recipe("Madry").setting(PLANS["quick"]))
    rows = tuple({**row(0.9, 0.5 + number / 10), "setting": each} for number, each in enumerate(settings))
    for by, known in ((made_from(mimae), True), ({"version": 0, "settings": None}, False)):
        record = Record("mimae", "digits", asdict(PLANS["quick"]), by, rows=rows)
        text = page([record])
        assert ("Measured by earlier code: the command would begin anew." in text) != known
        assert ("| measured by earlier code |" in text) != known
        assert (", 1 run, so far |" in text) == known, "of a part of its models"
        assert ("| MIMAE" in readme(README.read_text(encoding="utf-8"), [record])) == known


def test_models_that_two_files_hold_differently_are_shown() -> None:
    setting = Recipe("Madry").setting(PLANS["quick"])
    one, same, other = ({**row(clean, 0.5), "setting": setting} for clean in (0.9, 0.9, 0.8))

    def text(*files: tuple[ModuleType, dict[str, Any]]) -> str:
        quick = asdict(PLANS["quick"])
        names = [module.__name__.split(".")[1] for module, _ in files]
        made = [
            Record(name, "digits", quick, made_from(m), rows=(r,)) for name, (m, r) in zip(names, files, strict=True)
        ]
        return page(made)

    assert "The same seed twice" not in text((dale, one), (mimae, same))
    shown = "| digits | small CNN, Madry | 0 | mimae / dale | 90.0 / 80.0 | 50.0 / 50.0 | 50.0 / 50.0 |"
    assert shown in text((mimae, one), (dale, other))


def test_a_section_names_command_radius_networks_and_what_is_missing() -> None:
    rows = ({**row(0.9, 0.5), "setting": Recipe("Madry").setting(PLANS["quick"])},)
    text = page([Record("dale", "digits", asdict(PLANS["quick"]), made_from(dale), rows=rows)])
    assert "`python -m experiments dale --quick`: digits, l_inf radius 0.12: 1,150 training" in text
    assert "Adam, one cycle up to 0.01; small CNN of width 8." in text
    assert f"**{len(list(dale.recipes(0, 'digits'))) - 1} training runs are still to come.**" in text


def test_the_page_of_the_docs_is_drawn_from_the_results() -> None:
    text = page(kept())
    assert PAGE.read_text(encoding="utf-8") == text
    shown = {part.split(")")[0] for part in text.split("](figures/")[1:]}
    assert shown
    assert shown == {path.name for path in FIGURES.iterdir()}


def test_the_tables_of_the_readme_are_drawn_from_the_results() -> None:
    text = README.read_text(encoding="utf-8")
    assert readme(text, kept()) == text
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    shown = text[len(before) : -len(after)]
    assert shown.count("| --- |") >= 3
    assert "| MIMAE" in shown
    assert readme(text, []) != text
