"""Run by `test_environment.py`, in a process of its own: calls again and again, and tells what is still held after."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from art_mi import WorstCaseMIEstimator, evaluate_robustness
from art_mi.attacks import LangevinMonteCarlo
from tests.reliability.test_environment import SMALL, classifier, labels, samples

art, x, y = classifier(), samples(), labels()
FOUR = samples(480), labels(480)


def metric(data: tuple[Any, Any] = (x, y), **options: Any) -> Callable[[], Any]:
    estimator = WorstCaseMIEstimator(**SMALL, **options)
    return lambda: estimator.evaluate(art, *data)


def attacked() -> Any:
    return evaluate_robustness(art, x, y, eps=0.1, attacks=["FGSM", "PGD-20"], checks=False, verbose=False)


attack = LangevinMonteCarlo(art, num_random_init=1, random_state=0, **SMALL)
CALLS: dict[str, tuple[int, Callable[[], Any]]] = {  # of the fewer calls the slower ones
    "metric on the output": (1, metric()),
    "metric on a layer": (1, metric(layer="2")),
    "metric by codes": (5, metric(layer="2", method="quantised", codes="sign", max_codes=8)),
    "metric by a critic": (5, metric(FOUR, method="critic", max_steps=3, attack_steps=1)),
    "attack": (1, lambda: attack.generate(x, y)),
    "evaluation of robustness": (5, attacked),
}


def held() -> dict[str, float]:
    """What must not grow."""
    gc.collect()
    hooks = [vars(module)[name] for module in art.model.modules() for name in vars(module) if name.endswith("hooks")]
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "hooks": sum(map(len, hooks)),
        "objects": len(gc.get_objects()),
        "MiB": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
    }


torch.set_num_threads(1)
for name, (share, call) in CALLS.items():
    nb_calls = -(-int(sys.argv[1]) // share)
    for _ in range(5):
        call()
    before = held()
    for _ in range(nb_calls):
        call()
    grown = {key: value - before[key] for key, value in held().items()}
    print(json.dumps({"name": name, "calls": nb_calls, **grown}), flush=True)
