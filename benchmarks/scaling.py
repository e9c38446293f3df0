"""Cost of the noisy channel against the number of samples and of classes: fresh processes, their time and memory."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from art_mi import WorstCaseMIEstimator
from benchmarks.timing import Row, Settings

FEATURES, WIDTH, STEPS = 16, 32, 3
SAMPLES, CLASSES = (1_000, 10_000, 100_000, 1_000_000), (10, 100, 1_000)
FEW_SAMPLES, FEW_CLASSES = (200, 400), (10, 20)
SETTING = f"{FEATURES} features, {WIDTH} hidden units, {STEPS} attack steps, samples generated batch by batch"
MOST = 1.1


class Generated(IterableDataset[tuple[Tensor, Tensor]]):
    """Independent samples in random order, made from the number of their batch and kept nowhere."""

    def __init__(self, nb_samples: int, nb_classes: int, batch_size: int = 500) -> None:
        self.nb_samples, self.nb_classes, self.batch_size = nb_samples, nb_classes, batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, self.nb_samples, self.batch_size):
            generator = torch.Generator().manual_seed(start)
            n = min(self.batch_size, self.nb_samples - start)
            x = torch.rand(n, FEATURES, generator=generator)
            yield x, torch.randint(self.nb_classes, (n,), generator=generator)


def rows(settings: Settings) -> Iterator[Row]:
    """One run of each size, alone in a process; only single-threaded runs on the CPU."""
    sizes, classes = (FEW_SAMPLES, FEW_CLASSES) if settings.quick else (SAMPLES, CLASSES)
    at = {n: _measured(n, 10) for n in sizes}
    base, most = (sizes[0], sizes[-1]) if settings.quick else (10_000, sizes[-1])
    names = {n: f"{n:,} samples" for n in sizes}
    setting = f"10 classes, {SETTING}, 1 run each"
    seconds = {names[n]: run["seconds"] / n for n, run in at.items()}
    yield _row("seconds a sample", setting, names[most], names[base], MOST, seconds, {"runs": at})
    memory = {names[n]: run["peak_mib"] for n, run in at.items()}
    grown = (at[most]["peak_mib"] - at[base]["peak_mib"]) * 2**20 / (most - base)
    more = {"unit": "MiB", "bytes_a_sample": grown}
    kept = f"the bootstrap keeps what is known of each sample, {grown:.0f} bytes; an image of 3x32x32 pixels has 12,288"
    yield _row("peak memory of the process", setting, names[most], names[base], MOST, memory, more, kept)

    nb_samples = base
    by_classes = {k: at[base] if k == 10 else _measured(nb_samples, k) for k in classes}
    names = {k: f"{k:,} classes" for k in classes}
    goal = classes[-1] / classes[0]  # linear, or better
    setting = f"{nb_samples:,} samples, {SETTING}, 1 run each"
    seconds = {names[k]: run["seconds"] for k, run in by_classes.items()}
    yield _row("seconds", setting, names[classes[-1]], names[classes[0]], goal, seconds, {"runs": by_classes})


def _row(
    work: str,
    setting: str,
    ours: str,
    base: str,
    goal: float,
    values: Mapping[str, float],
    more: Mapping[str, Any],
    cause: str = "",
) -> Row:
    ratio = values[ours] / values[base]
    return Row(
        work=f"noisy channel, {work}",
        setting=setting,
        ours=ours,
        base=base,
        goal=goal,
        ratio=ratio,
        interval=(ratio, ratio),
        medians=dict(values),
        rounds=1,
        threads=1,
        clock="cpu",
        more=more,
        cause=cause,
    )


def _measured(nb_samples: int, nb_classes: int) -> dict[str, float]:
    """CPU seconds and peak memory of one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scaling", str(nb_samples), str(nb_classes)]
    usual = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=usual, cwd=Path(__file__).parents[1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _alone(nb_samples: int, nb_classes: int) -> dict[str, float]:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, nb_classes))
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (FEATURES,), nb_classes, clip_values=(0.0, 1.0), device_type="cpu"
    )
    loader = DataLoader(Generated(nb_samples, nb_classes), batch_size=None)
    estimator = WorstCaseMIEstimator(0.05, max_iter=STEPS, batch_size=1024, verbose=False)
    start = time.process_time()
    result = estimator.evaluate(classifier, loader)
    return {
        "seconds": time.process_time() - start,
        "peak_mib": _peak_kib() / 1024,
        "nats": result.normal.value,
        "vulnerability": result.vulnerability.value,
    }


def _peak_kib() -> int:
    """Largest resident size of this process; what `getrusage` says is at least that of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("nb_samples", type=int)
    parser.add_argument("nb_classes", type=int)
    given = parser.parse_args()
    print(json.dumps(_alone(given.nb_samples, given.nb_classes)))
