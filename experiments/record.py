"""Results on disk: one JSON for an experiment on a data set, each row with what it was made by."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from art_mi.files import replace_file
from benchmarks.record import PACKAGES, commit, machine
from experiments.recipe import VERSION

RESULTS = Path(__file__).with_name("results")
DIGITS = 6  # significant ones of numbers kept


@dataclass(frozen=True)
class Record:
    """Rows of an experiment on a data set.

    :param experiment: Its name.
    :param data: Name of the data set.
    :param plan: Sizes of the run.
    :param made_from: As :func:`made_from` gives it.
    :param missing: Rows of the last call that are still to come.
    :param rows: As :meth:`.Workshop.row` gives them.
    """

    experiment: str
    data: str
    plan: Mapping[str, Any]
    made_from: Mapping[str, Any]
    missing: int = 0
    rows: tuple[Mapping[str, Any], ...] = ()

    @property
    def finished(self) -> dict[str, Mapping[str, Any]]:
        """Rows that did not fail, by their key."""
        return {key(row["setting"], row["seed"]): row for row in self.rows if "failed" not in row}

    def joined(self, row: Mapping[str, Any], asked: Sequence[str]) -> Record:
        """With one row more, or in place of one; infinity and NaN, which JSON does not know, as None.

        :param row: As :meth:`.Workshop.row` gives it.
        :param asked: Keys of all rows of the call, which come first; others stay.
        """
        by_key = {key(row["setting"], row["seed"]): row for row in (*self.rows, plain(row))}
        missing = [wanted for wanted in asked if wanted not in by_key]
        places = {wanted: place for place, wanted in enumerate(asked)}
        ordered = sorted(by_key, key=lambda known: places.get(known, len(asked)))
        return replace(self, missing=len(missing), rows=tuple(by_key[known] for known in ordered))

    @classmethod
    def read(cls, path: Path) -> Record:
        """What a file holds."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.experiment}-{self.data}-{self.plan['name']}.json"

    def write(self, folder: Path) -> None:
        """Write the file whole."""
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / self.file, (json.dumps(asdict(self), indent=1, allow_nan=False) + "\n").encode())


def made_from(experiment: ModuleType) -> dict[str, Any]:
    """What of the code rows depend on: rows that were made from something else are made again.

    :param experiment: Its module.
    """
    return {"version": VERSION, "settings": plain(getattr(experiment, "SETTINGS", None))}


def made_by(device: str) -> dict[str, Any]:
    """Date, commit, machine and versions.

    :param device: `"cpu"` or `"gpu"`.
    """
    packages = {name: version(name) for name in (*PACKAGES, "pyautoattack")}
    return {
        "date": date.today().isoformat(),
        "commit": commit(Path(__file__).parent),
        "machine": machine("cpu" if device == "cpu" else "cuda"),
        "versions": {"python": platform.python_version(), **packages},
    }


def key(setting: Mapping[str, Any], seed: int) -> str:
    """What tells rows of an experiment apart."""
    return json.dumps([plain(setting), seed], sort_keys=True)


def plain(value: Any) -> Any:
    """A value as JSON has it, numbers rounded, those that are not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
