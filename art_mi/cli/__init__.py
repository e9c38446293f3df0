"""Command line: `art-mi demo`, `art-mi estimate`, `art-mi train`, `art-mi report`, `art-mi selftest`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace, auto_parser

from art_mi.cli.demo import demo
from art_mi.cli.estimate import estimate
from art_mi.cli.report import report
from art_mi.cli.selftest import selftest
from art_mi.cli.train import ALIASES, train

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "estimate": estimate,
    "train": train,
    "report": report,
    "selftest": selftest,
}


def _as_typed(arguments: list[str]) -> list[str]:
    """Options with dashes or underscores alike, `--quiet` and `--resume` without a value, short names of classes."""
    typed: list[str] = []
    for argument in arguments:
        if argument in ("--quiet", "--resume"):
            argument += "=true"
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
            value = ALIASES.get(value, value) if name in ("--trainer", "--attack") else value
            typed.append(name + equals + value)
        else:
            typed.append(ALIASES.get(argument, argument) if typed[-1:] in (["--trainer"], ["--attack"]) else argument)
    return typed


def _folders(arguments: list[str]) -> list[str]:
    """`report A B --out C` as `report --out C --folders ["A", "B"]`."""
    if arguments[:1] != ["report"]:
        return arguments
    folders: list[str] = []
    options: list[str] = []
    for before, argument in pairwise(arguments):
        is_value = before.startswith("--") and "=" not in before
        (options if is_value or argument.startswith("-") else folders).append(argument)
    return ["report", *options, *(["--folders", json.dumps(folders)] if folders else [])]


def _keep(parser: ArgumentParser, settings: Namespace) -> None:
    """Write the resolved settings beside the results: `art-mi --config OUT/config.yaml` repeats the run."""
    out = Path(settings.train.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(parser.dump(settings), encoding="utf-8")


def main(args: list[str] | None = None) -> int:
    """Entry point; an error the user can mend is one line, not a traceback.

    :param args: Command line without the program's name.
    :return: Exit status.
    """
    try:
        parser = auto_parser(COMMANDS, as_positional=False, prog="art-mi")
        settings = parser.parse_args(_as_typed(_folders(sys.argv[1:] if args is None else args)))
        chosen = parser.instantiate(settings)[settings.subcommand]
        chosen.pop("config", None)
        COMMANDS[settings.subcommand](**chosen)
        if settings.subcommand == "train" and os.environ.get("RANK", "0") == "0":
            _keep(parser, settings)
    except (ValueError, TypeError) as error:
        print(f"art-mi: {error}", file=sys.stderr)
        return 2
    return 0
