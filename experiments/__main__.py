"""`python -m experiments NAME`: train and measure what a table or figure needs, keep it as JSON, draw the page."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jsonargparse import auto_cli
from tqdm.auto import tqdm

from experiments import EXPERIMENTS
from experiments.page import PAGE, draw, kept, page
from experiments.plan import PLANS
from experiments.readme import README, readme
from experiments.record import RESULTS, Record, key
from experiments.workers import quiet, rows, workshop

Data = Literal["digits", "mnist", "fashion-mnist", "svhn", "cifar10"]


def main(
    name: str,
    data: Data = "fashion-mnist",
    data_dir: Path = Path("data"),
    download: bool = False,
    quick: bool = False,
    plan: Literal["quick", "narrow", "full"] = "narrow",
    seeds: int | None = None,
    device: Literal["cpu", "gpu"] = "cpu",
    workers: int = 1,
    runs: Path = Path("runs"),
    out: Path = RESULTS,
) -> int:
    """Run an experiment, or go on with it: what is finished is not done again, and a crash loses at most an epoch.

    Args:
        name: Which one, or `page` to draw the docs' page from the results there are.
        data: Data set.
        data_dir: Folder of torchvision's files.
        download: Let torchvision download them where they are missing.
        quick: The smallest sizes on scikit-learn's digits: minutes, for figures12 most of an hour.
        plan: Sizes: narrow networks on a part of the images for a CPU, or the published ones for a GPU.
        seeds: Training runs of each row, in place of the plan's.
        device: Where to compute.
        workers: Processes, each with its share of the cores.
        runs: Folder of checkpoints.
        out: Folder of the results.
    """
    if name == "page":
        return _drawn()
    if name not in EXPERIMENTS:
        raise SystemExit(f"`name` must be one of {', '.join(EXPERIMENTS)}, or 'page', got {name!r}.")
    if quick:
        data, plan = "digits", "quick"
    chosen = PLANS[plan]
    module = importlib.import_module(f"experiments.{name}")
    recipes = [recipe for seed in range(seeds or chosen.nb_seeds) for recipe in module.recipes(seed)]
    opened = partial(workshop, chosen, data, data_dir, download, runs / data, device)
    found = _before(
        out, Record.of(name, data, chosen, (), 0), [key(recipe.setting(chosen), recipe.seed) for recipe in recipes]
    )
    for number, row in tqdm(rows(opened, module.measure, recipes, workers), total=len(recipes), desc=name):
        found[number] = row
        so_far = [found[known] for known in sorted(found)]
        Record.of(name, data, chosen, so_far, len(recipes) - len(so_far)).write(out)
    return _drawn() if out == RESULTS else 0


def _drawn() -> int:
    records = kept()
    draw(records)
    PAGE.write_text(page(records), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8"), records), encoding="utf-8")
    return 0


def _before(out: Path, record: Record, keys: Sequence[str]) -> dict[int, Mapping[str, Any]]:
    """Rows of an earlier call, by the number of the recipe that asks for them again."""
    path = out / record.file
    rows = Record.read(path).rows if path.exists() else ()
    by_key = {key(row["setting"], row["seed"]): row for row in rows}
    return {number: by_key[asked] for number, asked in enumerate(keys) if asked in by_key}


def _typed(argument: str) -> str:
    """Options with dashes, and switches without a value."""
    name, equals, value = argument.partition("=")
    if name in ("--quick", "--download") and not equals:
        equals, value = "=", "true"
    return (f"--{name[2:].replace('-', '_')}" if name.startswith("--") else name) + equals + value


if __name__ == "__main__":
    quiet()
    sys.exit(auto_cli(main, args=list(map(_typed, sys.argv[1:])), as_positional=True))
