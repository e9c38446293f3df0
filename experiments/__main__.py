"""`python -m experiments NAME`: train and measure what a table or figure needs, keep it as JSON, draw the page."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

from jsonargparse import auto_cli
from tqdm.auto import tqdm

from art_mi.datasets import load
from experiments import EXPERIMENTS
from experiments.page import PAGE, draw, kept, page
from experiments.plan import PLANS
from experiments.readme import README, readme
from experiments.record import RESULTS, Record, key, made_from
from experiments.workers import quiet, rows, workshop

Data = Literal["digits", "mnist", "fashion-mnist", "svhn", "cifar10"]


def main(
    name: str,
    data: Data | None = None,
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
    """Run an experiment, or go on with it: what is finished is not done again.

    A crash loses at most an epoch of a training, an attack on a trained model, or what else is measured on it. Finished
    rows lie in `out`, and are made again when their file is away; models on their way lie in `runs`. The status is 1
    where a row failed.

    Args:
        name: Which one, or `page` to draw the docs' page from the results there are.
        data: Data set, by default Fashion-MNIST.
        data_dir: Folder of torchvision's files.
        download: Let torchvision download them where they are missing.
        quick: The smallest sizes on scikit-learn's digits: minutes, for figures12 two hours or more.
        plan: Sizes: narrow networks on a part of the images for a CPU, or published ones on all of them for a GPU.
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
        if data not in (None, "digits"):
            raise SystemExit(f"`data` must be digits with `quick`, or left out, got {data!r}.")
        data, plan = "digits", "quick"
    if seeds is not None and seeds < 1:
        raise SystemExit(f"`seeds` must be 1 or more, got {seeds}.")
    data = data or "fashion-mnist"
    try:
        chosen = PLANS[plan].within(load(data, data_dir, download=download))
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from None
    module = importlib.import_module(f"experiments.{name}")
    recipes = [recipe for seed in range(seeds or chosen.nb_seeds) for recipe in module.recipes(seed, data)]
    opened = partial(workshop, chosen, data, data_dir, download, runs / data, device)
    record = _begun(out, Record(name, data, asdict(chosen), made_from(module)))
    asked = [key(recipe.setting(chosen), recipe.seed) for recipe in recipes]
    left = [number for number, wanted in enumerate(asked) if wanted not in record.finished]
    made = rows(opened, module.measure, [recipes[number] for number in left], workers)
    for _, row in tqdm(made, total=len(left), desc=name):
        record = record.joined(row, asked)
        record.write(out)
    if out.resolve() == RESULTS:
        _drawn()
    return 1 if any("failed" in row for row in record.rows) else 0


def _drawn() -> int:
    records = kept()
    draw(records)
    PAGE.write_text(page(records), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8"), records), encoding="utf-8")
    return 0


def _begun(out: Path, record: Record) -> Record:
    """The record with the rows that an earlier call left."""
    path = out / record.file
    earlier = Record.read(path) if path.exists() else record
    if (earlier.plan, earlier.made_from) != (record.plan, record.made_from):
        raise SystemExit(
            f"`out` must hold rows of this plan and this code, got others: move {path} away to begin anew."
        )
    return earlier


def _typed(argument: str) -> str:
    """Options with dashes, and switches without a value."""
    name, equals, value = argument.partition("=")
    if name in ("--quick", "--download") and not equals:
        equals, value = "=", "true"
    return (f"--{name[2:].replace('-', '_')}" if name.startswith("--") else name) + equals + value


if __name__ == "__main__":
    quiet()
    sys.exit(auto_cli(main, args=list(map(_typed, sys.argv[1:])), as_positional=True))
