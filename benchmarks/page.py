"""The docs' page on speed, drawn from the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import Record, table

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
TITLES = {
    "imports": "Importing the package",
    "attacks": "Attacks",
    "steps": "Trainers against bare loops and against ART's own",
    "estimator": "Critics against the published procedure",
    "strength": "Perturbations as strong as those of the published procedure",
    "metric": "The metric",
    "scaling": "Samples and classes",
    "processes": "Two processes",
    "gpu": "On a GPU",
}
HEAD = """# Speed

Ratios of medians. Where a table says nothing else the variants ran in one process, round after round in turn, each
beginning as often as the others, after a round that did not count. On one thread the time is the process's own, on
several that of the clock. Intervals are central 95 % under a bootstrap of the rounds: they show the noise of this
machine, no more; of fewer than ten rounds there is none. A goal that was missed stands with its number, and with its
cause below the table; where the interval holds the goal, these rounds cannot tell a miss from a hit. `make bench`
measures all of it anew, and a part with `groups='[steps,attacks]'`; the numbers, and more of them, lie in
`benchmarks/results/`, from which this page is drawn.

To save time ResNet-18 takes batches of 16, not 128, and all threads only; critics, the metric and streams take one
thread only; perturbations as strong as the published ones were made for three seeds, and each stream was run once.

The C library gives memory back between steps and asks for it anew, which hits now one variant, now another; but for the
memory of the table on samples and classes this is switched off for all alike.
"""
NO_GPU = """## On a GPU

Not measured: no machine with one was at hand. `python -m benchmarks --groups='[gpu]' --device cuda` measures images a
second for each trainer in 32 bits, bfloat16, and bfloat16 with channels last and compilation, against ART's trainer and
a bare loop, with the GPU's idle share and the host's waits a step.
"""


def page(records: Iterable[Record]) -> str:
    """All groups of all machines as Markdown.

    :param records: One a machine.
    """
    parts, measured = [HEAD], set()
    for record in records:
        parts.append(f"Machine: {', '.join(f'{value} {key}' for key, value in record.machine.items())}.\n")
        for name, group in record.groups.items():
            measured.add(name)
            parts.append(f"## {TITLES[name]}\n\n{_measured(group)}\n\n{table(group['rows'])}\n")
    return "\n".join(parts if "gpu" in measured else [*parts, NO_GPU])


def _measured(group: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in group["versions"].items())
    return f"Measured on {group['measured']}, commit {group['commit']}, with {versions}."
