"""Command line: `art-mi demo | estimate | evaluate | train | report | selftest`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace, auto_parser, get_loader, set_loader

from art_mi.cli.demo import demo
from art_mi.cli.estimate import estimate
from art_mi.cli.evaluate import SWITCHES, evaluate
from art_mi.cli.report import report
from art_mi.cli.selftest import selftest
from art_mi.cli.train import ALIASES, train

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "estimate": estimate,
    "evaluate": evaluate,
    "train": train,
    "report": report,
    "selftest": selftest,
}


def _loaded(text: str) -> Any:
    """YAML, with short names of classes."""
    content = get_loader("yaml")(text)
    if isinstance(content, dict):
        for settings in (content, content.get("train")):
            if isinstance(settings, dict):
                _name_classes(settings)
    return content


def _name_classes(settings: dict[str, Any]) -> None:
    for name in ("trainer", "attack"):
        match settings.get(name):
            case str(short):
                settings[name] = ALIASES.get(short, short)
            case {"class_path": str(short)}:
                settings[name]["class_path"] = ALIASES.get(short, short)


def _as_typed(arguments: list[str]) -> list[str]:
    """Options with dashes or underscores alike, switches without a value, short names of classes."""
    typed: list[str] = []
    for argument in arguments:
        if argument in (*SWITCHES, "--resume"):
            argument += "=true"
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
            value = ALIASES.get(value, value) if name in ("--trainer", "--attack") else value
            typed.append(name + equals + value)
        else:
            typed.append(ALIASES.get(argument, argument) if typed[-1:] in (["--trainer"], ["--attack"]) else argument)
    return typed


@contextmanager
def _kept(parser: ArgumentParser, settings: Namespace) -> Iterator[None]:
    """The resolved settings lie beside the results, from the beginning of a run, unless it is refused.

    `art-mi --config OUT/config.yaml` repeats the run.
    """
    path = Path(settings.train.out) / "config.yaml"
    before, was_there = path.read_text(encoding="utf-8") if path.is_file() else None, path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(parser.dump(settings, format="yaml"), encoding="utf-8")
    try:
        yield
    except (OSError, ValueError, TypeError):
        path.unlink() if before is None else path.write_text(before, encoding="utf-8")
        if not was_there:
            path.parent.rmdir()
        raise


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


def main(args: list[str] | None = None) -> int:
    """Entry point; an error the user can mend is one line, not a traceback.

    :param args: Command line without the program's name.
    :return: Exit status.
    """
    try:
        set_loader("art-mi", _loaded)
        parser = auto_parser(COMMANDS, as_positional=False, prog="art-mi", parser_mode="art-mi")
        settings = parser.parse_args(_as_typed(_folders(sys.argv[1:] if args is None else args)))
        chosen = parser.instantiate(settings)[settings.subcommand]
        chosen.pop("config", None)
        keeps = settings.subcommand == "train" and os.environ.get("RANK", "0") == "0"
        with _kept(parser, settings) if keeps else nullcontext():
            COMMANDS[settings.subcommand](**chosen)
    except (OSError, ValueError, TypeError) as error:
        print(f"art-mi: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("art-mi: interrupted", file=sys.stderr)
        return 130
    return 0
