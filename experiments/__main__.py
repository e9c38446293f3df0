"""`python -m experiments NAME`: train and measure what a table or figure needs, keep it as JSON, draw the page."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jsonargparse import auto_cli
from tqdm.auto import tqdm

from experiments import EXPERIMENTS
from experiments.page import PAGE, draw, kept, page
from experiments.plan import PLANS
from experiments.readme import README, readme
from experiments.record import RESULTS, Record, key, made_from
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

    Finished rows lie in `out`, and are made again when their file is away; models on their way lie in `runs`.

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
        runs: Folder of models.
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
    asked = [key(recipe.setting(chosen), recipe.seed) for recipe in recipes]
    record = Record(name, data, asdict(chosen), made_from(module))
    found = _before(out / record.file, record, asked)
    left = [number for number in range(len(recipes)) if number not in found]
    made = rows(opened, module.measure, [recipes[number] for number in left], workers)
    record.holding(found, len(recipes)).write(out)
    for position, row in tqdm(made, total=len(left), desc=name):
        found[left[position]] = row
        record.holding(found, len(recipes)).write(out)
    return _drawn() if out == RESULTS else 0


def _drawn() -> int:
    records = kept()
    draw(records)
    PAGE.write_text(page(records), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8"), records), encoding="utf-8")
    return 0


def _before(path: Path, record: Record, keys: Sequence[str]) -> dict[int, Mapping[str, Any]]:
    """Rows of an earlier call made from the same, by the number of the recipe that asks for them again."""
    earlier = Record.read(path) if path.exists() else record
    same = (earlier.plan, earlier.made_from) == (record.plan, record.made_from)
    by_key = {key(row["setting"], row["seed"]): row for row in earlier.rows if same and "failed" not in row}
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
