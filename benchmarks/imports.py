"""What `import art_mi` costs beyond what its users import anyway."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from benchmarks.timing import Row, Settings, interleaved

BASE, OURS = "import art, torch", "import art, torch, art_mi"
FIRST_USES = (f"{BASE}; from art_mi import WorstCaseMIEstimator", f"{BASE}; from art_mi import MIMAETrainer")
MOST_SECONDS = 0.3


def rows(settings: Settings) -> Iterator[Row]:
    """Fresh interpreters, timed by the clock; the goal is in seconds and is turned into a ratio.

    The package imports its parts when they are first used, which is timed as well.
    """
    base, ours, *uses = ("pass", "import art_mi") if settings.quick else (BASE, OURS, *FIRST_USES)
    commands = {code: partial(_run, code) for code in (base, ours, *uses)}
    for times in interleaved(commands, replace(settings, threads=(2,))):  # other processes: the clock counts
        row = times.row("import", "fresh interpreter", ours, base, None)
        beyond = row.medians[ours] - row.medians[base]
        goal = 1 + MOST_SECONDS / row.medians[base]
        more = {"seconds_beyond": beyond, "goal_seconds": MOST_SECONDS}
        yield replace(row, goal=goal, threads=1, more=more)
        for use in uses:
            yield replace(times.row("import and first use", "fresh interpreter", use, base, None), threads=1)


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
