"""The documentation's tables of parameters say what the signatures say."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import art_mi
from art_mi.trainers.options import FitOptions

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [page for part in ("metrics", "attacks", "trainers") for page in sorted((DOCS / part).glob("*.md"))]
ROW = re.compile(r"^\|(?P<names>[^|]*`[^|]*)\|(?P<rest>.*)\|$", re.MULTILINE)
PLAIN = {"classifier", "estimator", "encoder", "x", "y", "z", "random_state", "verbose", "summary_writer"}
SHARED = {"attack", "validation_data", "scheduler"}  # by all trainers, in a table of their own


def tables(page: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Names and the following cells of each row of the tables of parameters."""
    for table in re.findall(r"(?m)^\| parameter \|.*\n(?:\|.*\n)+", page.read_text(encoding="utf-8")):
        for row in ROW.finditer(table):
            names = re.findall(r"`(\w+)`", row["names"].split(" of ")[0])
            yield names, [cell.strip() for cell in row["rest"].split("|")]


def documented(page: Path) -> dict[str, Callable[..., Any]]:
    """Functions and classes of the page's API."""
    found = {}
    for dotted in re.findall(r":: (art_mi[\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        module, _, name = dotted.rpartition(".")
        if callable(made := getattr(importlib.import_module(module), name)):
            found[dotted] = made
    return found


def parameters(made: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Those of a function, or of making and fitting an object."""
    found = dict(inspect.signature(made).parameters)
    if hasattr(made, "fit"):
        found.update(list(inspect.signature(made.fit).parameters.items())[1:])
    return {name: parameter for name, parameter in found.items() if parameter.kind != parameter.VAR_KEYWORD}


def says(cell: str, default: Any) -> bool:
    """Whether a cell gives a default; one in words stands for None, or for what is too long to print."""
    cell = cell.strip("` ")
    if cell == "none":
        return default is inspect.Parameter.empty or default == ()
    try:
        value = float(cell) if re.fullmatch(r"inf|[\d.e-]+", cell) else ast.literal_eval(cell)
    except (SyntaxError, ValueError):
        return default is None or isinstance(default, tuple)
    return bool(value == default)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_give_the_defaults(page: Path) -> None:
    known = {**documented(page), "FitOptions": FitOptions}
    for names, cells in tables(page):
        for position, name in enumerate(names):
            defaults = [given[name].default for given in map(parameters, known.values()) if name in given]
            assert defaults, f"no parameter `{name}`"
            several = cells[0].split(", ")
            cell = several[position] if len(several) == len(names) else cells[0].split(";")[0]
            assert any(says(cell, default) for default in defaults), f"`{name}`: {cell} is not of {defaults}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_are_complete(page: Path) -> None:
    exempt = PLAIN | SHARED if page.parent.name == "trainers" else PLAIN
    listed = {name for names, _ in tables(page) for name in names}
    for dotted, made in documented(page).items():
        if dotted.removeprefix("art_mi.") in art_mi.__all__:
            assert set(parameters(made)) - exempt <= listed, dotted


@pytest.mark.parametrize(
    ("cell", "default", "right"),
    [
        ("0.3", 0.3, True),
        ('`"mae"`', "mae", True),
        ("inf", float("inf"), True),
        ("falls", None, True),
        ("0.3", 0.2, False),
        ('`"mae"`', "mse", False),
        ("falls", 0.1, False),
        ("none", 1, False),
    ],
)
def test_a_wrong_cell_is_seen(cell: str, default: Any, right: bool) -> None:
    assert says(cell, default) is right
