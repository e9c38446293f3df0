"""Rows on disk: one JSON a machine, the Markdown table drawn from it."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import Row

PACKAGES = ("art-mi", "adversarial-robustness-toolbox", "torch", "torchvision", "numpy", "lightning-fabric")


FEWEST = 10  # rounds for an interval


@dataclass
class Record:
    """All rows measured on one machine, by group.

    :param path: The JSON file; the Markdown lies beside it.
    :param machine: Processor, cores and system.
    :param versions: Of Python and packages, by group as groups may be measured at different times.
    :param groups: `{"measured": date, "commit": ..., "versions": ..., "rows": [...]}` by name of the group.
    :param commit: What is measured, as it was when this was made.
    """

    path: Path
    machine: dict[str, Any]
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    commit: str = field(default_factory=lambda: commit(Path(__file__).parent))

    @classmethod
    def at(cls, folder: Path, device: str) -> Record:
        """What was kept in a folder for a kind of device, or nothing yet."""
        path = folder / f"{device.split(':')[0]}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"groups": {}}
        return cls(path, machine(device), kept["groups"])

    @classmethod
    def read(cls, path: Path) -> Record:
        """What a file holds."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, kept["machine"], kept["groups"])

    def replace(self, group: str, rows: Sequence[Row]) -> None:
        """Put new rows in the place of a group's old ones."""
        self.groups[group] = {
            "measured": date.today().isoformat(),
            "commit": self.commit,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "rows": [_finite({**asdict(row), "met": row.met}) for row in rows],
        }

    def write(self) -> None:
        """Write JSON and Markdown."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": self.machine, "groups": self.groups}
        self.path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        self.path.with_suffix(".md").write_text(self.table() + "\n", encoding="utf-8")

    def table(self) -> str:
        """All rows as Markdown."""
        return table([row for group in self.groups.values() for row in group["rows"]])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table, with the causes of what was missed below it.

    :param rows: As they are kept.
    """
    names = ("work", "setting", "threads", "rounds", "ratio", "95 % interval", "goal", "met")
    head = [f"| {' | '.join(names)} |", "|---|---|--:|--:|--:|---|---|---|"]
    causes = [f"- {row['work']}, {row['setting']}: {row['cause']}" for row in rows if row["cause"] and not row["met"]]
    return "\n".join([*head, *map(_line, rows), *(["", *dict.fromkeys(causes)] if causes else [])])


def machine(device: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    found = {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()}
    return found if device == "cpu" else {**found, "device": torch.cuda.get_device_name(device)}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def commit(folder: Path) -> str:
    """What was measured: the last commit, and whether files of the package or the folder differ from it.

    :param folder: Folder beside the package, whose `results` do not count.
    """
    git = ["git", "-C", str(folder)]
    last = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    status = [*git, "status", "--porcelain", "--", "../art_mi", ".", ":!results"]
    return f"{last}, changed" if subprocess.run(status, capture_output=True, text=True).stdout.strip() else last


def _finite(value: Any) -> Any:
    """The same with None for infinity and NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    goal = "" if row["goal"] is None else f"{'at least' if row['at_least'] else 'at most'} {row['goal']:.2f}"
    met = {None: "", True: "yes", False: "**no**"}[row["met"]]
    shown = row["rounds"] >= FEWEST and low is not None
    if shown and row["goal"] is not None and low < row["goal"] < high:
        met += ", within the noise"
    cells = [
        f"{row['work']}: {row['ours']} / {row['base']}",
        row["setting"],
        f"{row['threads']} ({row['clock']})",
        row["rounds"],
        "never" if row["ratio"] is None else f"{row['ratio']:.3f}",
        f"{low:.3f} to {high:.3f}" if shown else "",
        goal,
        met,
    ]
    return f"| {' | '.join(map(str, cells))} |"
