"""Run by `test_signals.py`: interrupts trainings, metrics and attacks, and tells what is not as it was before."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import Toy
from test_base import KINDS, stopping, surroundings
from test_resume import plain

import art_mi
from art_mi.attacks import LangevinMonteCarlo, MarginAttack, WorstCaseMIAttack
from art_mi.trainers import StandardTrainer, WorstCaseMITrainer

toy = Toy()
FIRST = toy.classifier(stopping(toy))
EPS, SAMPLES = 0.1, 120
Work = Callable[[Any, Path], Any]


def restart(art: Any) -> Any:
    """The classifier with its first weights and an optimizer that has made no step."""
    art.model.load_state_dict(FIRST.model.state_dict())
    art.optimizer.load_state_dict(FIRST.optimizer.state_dict())
    return art


def training(kind: Any, **options: Any) -> Work:
    options = {**KINDS[kind], **({"layer": "trunk.body"} if kind is WorstCaseMITrainer else {}), **options}

    def work(art: Any, folder: Path) -> Any:
        trainer = toy.trainer(kind, restart(art), attack=toy.attack(art, num_random_init=1), **options)
        data = (toy.x(SAMPLES), toy.y(SAMPLES))
        trainer.fit(*data, validation_data=data, batch_size=40, nb_epochs=2, ema_decay=0.5)
        return art.model.state_dict(), trainer.history

    return work


def resumed(art: Any, folder: Path) -> Any:
    trainer = StandardTrainer(restart(art), verbose=False)
    resume_from = folder if (folder / "checkpoint.safetensors").exists() else None
    options = {"out": folder, "checkpoint_every": 1, "resume_from": resume_from}
    trainer.fit(toy.x(SAMPLES), toy.y(SAMPLES), batch_size=20, nb_epochs=2, **options)
    return art.model.state_dict(), trainer.history


def estimating(n: int = SAMPLES, **options: Any) -> Work:
    estimator = art_mi.WorstCaseMIEstimator(eps=EPS, verbose=False, max_iter=5, **options)
    return lambda art, _: estimator.evaluate(art, toy.x(n), toy.y(n)).to_dict()


def attacking(kind: Any, **options: Any) -> Work:
    def work(art: Any, folder: Path) -> Any:
        return kind(art, eps=EPS, verbose=False, **options).generate(toy.x(SAMPLES), toy.y(SAMPLES))

    return work


def attacked(art: Any) -> Any:
    options: dict[str, Any] = {"attacks": ["FGSM", "PGD-20"], "checks": False, "verbose": False}
    return art_mi.evaluate_robustness(art, toy.x(SAMPLES), toy.y(SAMPLES), eps=EPS, **options)


TRAINING: dict[str, Work] = {
    **{kind.__name__: training(kind) for kind in KINDS},
    "WorstCaseMITrainer below tau": training(WorstCaseMITrainer, beta=1.0, tau=0.1),
    "resumed": resumed,
}
MEASURING: dict[str, Work] = {
    "noisy": estimating(layer="trunk.body"),
    "quantised": estimating(method="quantised", layer="trunk.body"),
    "critic": estimating(400, method="critic", max_steps=10),
    "robustness": lambda art, _: attacked(art).worst_case.to_dict(),
    "layers": lambda art, _: art_mi.layer_profile(art, toy.x(SAMPLES), eps=EPS, max_iter=2, verbose=False).to_dict(),
    "saliency": lambda art, _: art_mi.information_saliency(art, toy.x(SAMPLES), layer="trunk.body"),
    "WorstCaseMIAttack": attacking(WorstCaseMIAttack, layer="trunk.neck", max_iter=10, random_state=0),
    "LangevinMonteCarlo": attacking(LangevinMonteCarlo, max_iter=10, random_state=0),
    "MarginAttack": attacking(MarginAttack, max_iter=10, random_state=0),
}
armed = False


def interrupt(*_: Any) -> None:
    if armed:
        raise KeyboardInterrupt


def interrupted(call: Callable[[], Any], seconds: float) -> bool:
    """Whether a call was interrupted after so many seconds, or had ended by then."""
    global armed
    armed = True
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        call()
    except KeyboardInterrupt:
        return True
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
    return False


def faults(art: Any, before: Any, weights: Any, expected: Any, work: Work, folder: Path) -> list[str]:
    """What is not as it should be after an interrupt."""
    found = []
    names = ("modes", "requires_grad", "hooks", "torch's generator", "NumPy's generator", "Python's generator")
    now = surroundings(art.model)
    found += [
        name for name, old, new in zip((*names, "gradient mode", "dtype"), before, now, strict=True) if old != new
    ]
    if weights is not None and plain(art.model.state_dict()) != weights:
        found.append("weights")
    if not all(bool(value.isfinite().all()) for value in art.model.state_dict().values()):
        found.append("weights that are not finite")
    found += [path.name for path in folder.iterdir() if path.name not in ("checkpoint.safetensors", "history.csv")]
    try:
        if plain(work(art, folder)) != expected:
            found.append("another result afterwards")
    except Exception as error:
        found.append(f"{type(error).__name__} afterwards: {error}")
    return found


def main(each: int, seed: int) -> None:
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    draw = random.Random(seed)
    for name, work in (TRAINING | MEASURING).items():
        art = toy.classifier(stopping(toy))
        with tempfile.TemporaryDirectory() as folder:
            expected = plain(work(art, Path(folder)))
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            work(restart(art), Path(folder))
            longest = time.perf_counter() - begun
        done, wrong = 0, []
        while done < each:
            art = toy.classifier(stopping(toy))
            before, weights = surroundings(art.model), plain(art.model.state_dict()) if name in MEASURING else None
            with tempfile.TemporaryDirectory() as folder:
                if interrupted(lambda: work(art, Path(folder)), draw.uniform(0, longest)):  # noqa: B023
                    done += 1
                    wrong += faults(art, before, weights, expected, work, Path(folder))
        print(f"{name}: {done} interrupts, wrong afterwards: {', '.join(wrong) or 'nothing'}", flush=True)


torch.set_num_threads(1)
main(int(sys.argv[1]), int(sys.argv[2]))
