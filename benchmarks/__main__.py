"""`python -m benchmarks`: run groups of rows, keep them as JSON, draw the table."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from pathlib import Path

from jsonargparse import auto_cli

from benchmarks.page import PAGE, page
from benchmarks.record import Record
from benchmarks.timing import Settings

GROUPS = ("imports", "attacks", "steps", "estimator", "strength", "metric", "scaling", "processes")
ON_CUDA = ("gpu",)
RESULTS = Path(__file__).with_name("results")
# glibc gives memory back between steps and asks for it anew, by chance for up to a third of a step: off, for all alike
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**33)}


def main(
    groups: list[str] | None = None,
    rounds: int = 11,
    quick: bool = False,
    device: str = "cpu",
    out: Path | None = None,
) -> int:
    """Run benchmarks.

    Args:
        groups: Which; by default all that need no GPU.
        rounds: Timed rounds of each variant.
        quick: The smallest sizes, once: a smoke test.
        device: Device of models and data.
        out: Folder of the results; rows measured before are kept where no new ones replace them.
    """
    chosen = list(groups or GROUPS)
    if unknown := [name for name in chosen if name not in GROUPS + ON_CUDA]:
        raise SystemExit(f"`groups` must be among {', '.join(GROUPS + ON_CUDA)}, got {', '.join(unknown)}.")
    cores = os.cpu_count() or 1
    threads = (1,) if quick or cores == 1 else (1, cores)
    settings = Settings(rounds=1 if quick else rounds, threads=threads, quick=quick, device=device)
    record = Record.at(out or RESULTS, device)
    for name in chosen:
        group = importlib.import_module(f"benchmarks.{name}")
        rows = []
        for row in group.rows(settings):
            rows.append(row)
            record.replace(name, rows)
            record.write()
    if out is None:
        PAGE.write_text(page(map(Record.read, sorted(RESULTS.glob("*.json")))), encoding="utf-8")
    print(record.table())
    return 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if not KEEP_MEMORY.items() <= os.environ.items():  # read when a process starts
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **KEEP_MEMORY})
    sys.exit(auto_cli(main, as_positional=False))
