"""The commands: what is typed is understood, run, and an error told in one line."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace, auto_parser, get_loader, set_loader

from art_mi.cli.demo import demo
from art_mi.cli.estimate import estimate
from art_mi.cli.evaluate import SWITCHES as EVALUATE_SWITCHES
from art_mi.cli.evaluate import evaluate
from art_mi.cli.report import write_report
from art_mi.cli.selftest import selftest
from art_mi.cli.train import ALIASES, train
from art_mi.extras import MissingExtraError
from art_mi.files import writing_alone
from art_mi.rules import FOLDER, check
from art_mi.trainers.resume import CHECKPOINT

CLASSES = ("trainer", "attack", "validation_attack")
SWITCHES = (*EVALUATE_SWITCHES, "--resume", "--tensorboard")
DEBUG = "--debug"
MOST_PARTS = 10_000  # of a file of settings: a few aliases of aliases can name millions
MENDABLE = (OSError, ValueError, TypeError, FloatingPointError, MissingExtraError)
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "estimate": estimate,
    "evaluate": evaluate,
    "train": train,
    "report": write_report,
    "selftest": selftest,
}


def _loaded(text: str) -> Any:
    """YAML, with short names of classes."""
    try:
        content = get_loader("yaml")(text)
    except Exception as error:  # beside YAML's own, those of dates and keys that there are not
        raise ValueError(f"no YAML: {' '.join(str(error).split())}") from error
    if sum(1 for _ in islice(_parts(content), MOST_PARTS + 1)) > MOST_PARTS:
        raise ValueError(f"must hold at most {MOST_PARTS:,} settings, each as often as aliases repeat it, got more")
    if isinstance(content, dict):
        for settings in (content, content.get("train")):
            if isinstance(settings, dict):
                _name_classes(settings)
    return content


def _parts(content: Any) -> Iterator[Any]:
    """All that content is made of; without end where it holds itself."""
    pending = [content]
    while pending:
        yield (part := pending.pop())
        pending.extend(part.values() if isinstance(part, dict) else part if isinstance(part, list) else ())


def _name_classes(settings: dict[str, Any]) -> None:
    for name in CLASSES:
        match settings.get(name):
            case str(short):
                settings[name] = ALIASES.get(short, short)
            case {"class_path": str(short)}:
                settings[name]["class_path"] = ALIASES.get(short, short)


def _as_typed(arguments: list[str]) -> list[str]:
    """Options with dashes or underscores alike, switches without a value, short names of classes."""
    classes = [f"--{name}" for name in CLASSES]
    typed: list[str] = []
    for argument in arguments:
        if argument in SWITCHES:
            argument += "=true"
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
            typed.append(name + equals + (ALIASES.get(value, value) if name in classes else value))
        else:
            typed.append(ALIASES.get(argument, argument) if typed and typed[-1] in classes else argument)
    return typed


@contextmanager
def _kept(parser: ArgumentParser, settings: Namespace) -> Iterator[None]:
    """The resolved settings lie beside the results, from the beginning of a run, unless it is refused.

    `art-mi --config OUT/config.yaml` repeats the run.
    """
    folder = Path(check("out", settings.train.out, FOLDER))
    path, was_there = folder / "config.yaml", folder.exists()
    with writing_alone(folder):
        begun = _written(folder / CHECKPOINT)
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        path.write_text(parser.dump(settings, format="yaml"), encoding="utf-8")
        try:
            yield
        except (OSError, ValueError, TypeError):
            if _written(folder / CHECKPOINT) != begun:  # an error of the training, which can go on from there
                raise
            if not was_there:
                shutil.rmtree(folder)
            elif before is None:
                path.unlink()
            else:
                path.write_text(before, encoding="utf-8")
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


def _written(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.is_file() else None


def run(given: list[str]) -> int:
    """Run a command line; an error is one line, and a traceback only where `--debug` asks for it.

    :param given: Command line without the program's name.
    :return: Exit status: 2 after an error the user can mend, 1 after any other.
    """
    try:
        _run([argument for argument in given if argument != DEBUG])
    except Exception as error:
        if DEBUG in given:
            raise
        said = " ".join(str(error).split())
        if isinstance(error, MENDABLE):
            print(f"art-mi: {said}", file=sys.stderr)
            return 2
        what = f"{type(error).__name__}: {said}" if said else type(error).__name__
        print(f"art-mi: {what} (unexpected; {DEBUG} shows where)", file=sys.stderr)
        return 1
    return 0


def command_parser() -> ArgumentParser:
    """What understands a command line, and files of settings."""
    set_loader("art-mi", _loaded, exceptions=(ValueError,))
    parser = auto_parser(COMMANDS, as_positional=False, prog="art-mi", parser_mode="art-mi")
    parser.epilog = f"{DEBUG}, anywhere on the line, shows the traceback of an error."
    return parser


def _run(arguments: list[str]) -> None:
    parser = command_parser()
    try:
        settings = parser.parse_args(_as_typed(_folders(arguments)))
    except (AttributeError, KeyError, RecursionError) as error:  # jsonargparse's, of settings it did not foresee
        raise ValueError(f"`config` must hold settings of a command, got {type(error).__name__}: {error}.") from error
    chosen = parser.instantiate(settings)[settings.subcommand]
    chosen.pop("config", None)
    keeps = settings.subcommand == "train" and os.environ.get("RANK", "0") == "0"
    with _kept(parser, settings) if keeps else nullcontext():
        COMMANDS[settings.subcommand](**chosen)
