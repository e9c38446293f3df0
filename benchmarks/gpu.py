"""Training on a GPU: images a second by precision, memory format and compilation, how idle it is and what waits for it.

`python -m benchmarks --groups='[gpu]' --device cuda`; with `--quick true` also on the CPU, which shows that it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.methods import ART, BARE, IN_ART, OURS, TRAINERS, Task, by_art, loop, ours, trainer
from benchmarks.nets import RESNET18, TINY, WIDE_RESNET
from benchmarks.timing import Row, Settings, Variant, interleaved

LEAST = 3.0  # times ART's TRADES, with all of it on
PLAIN: dict[str, dict[str, Any]] = {f"{OURS}, fp32": {}}
FAST: dict[str, dict[str, Any]] = {
    f"{OURS}, bf16": {"precision": "bf16-mixed"},
    f"{OURS}, bf16, channels last, compiled": {"precision": "bf16-mixed", "channels_last": True, "compiled": True},
}
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def rows(settings: Settings) -> Iterator[Row]:
    """Each of our variants against the bare loop, and against ART where it has the method.

    :raises SystemExit: If there is no GPU and it is not a smoke test.
    """
    if not settings.quick and not settings.device.startswith("cuda"):
        raise SystemExit("The group gpu needs a GPU: add `--device cuda`, or `--quick true` for a smoke test.")
    for task in _tasks(settings):
        for method in TRAINERS:
            yield from _of(method, task, replace(settings, threads=settings.threads[-1:]))


def _tasks(settings: Settings) -> list[Task]:
    if settings.quick:
        return [Task(TINY, 1, 8, 2, settings.device)]
    return [Task(RESNET18, 20, device=settings.device), Task(WIDE_RESNET, 4, device=settings.device)]


def _of(method: str, task: Task, settings: Settings) -> Iterator[Row]:
    """Ratios are of images a second, for which seconds change sides."""
    variants = _variants(method, task, settings.quick)
    for times in interleaved(variants, settings):
        for name in [name for name in variants if name.startswith(OURS)]:
            more = {**_profiled(variants[name], task), "images a second": _rates(times.seconds, task)}
            for base in (BARE, ART) if method in IN_ART else (BARE,):
                goal = LEAST if (method, base, name) == ("TRADES", ART, list(FAST)[-1]) else None
                row = times.row(f"{method}, images a second", str(task), base, name, goal, at_least=True)
                yield replace(row, ours=name, base=base, more=more)


def _variants(method: str, task: Task, quick: bool) -> dict[str, Variant]:
    chosen = {name: options for name, options in (PLAIN | FAST).items() if not (quick and "compiled" in options)}
    made = {name: ours(trainer(method, task, **options), task) for name, options in chosen.items()}
    made[BARE] = loop(method, task)
    return {**made, ART: by_art(method, task)} if method in IN_ART else made


def _rates(seconds: Any, task: Task) -> dict[str, float]:
    images = task.batches * task.batch_size
    return {name: images / sorted(values)[len(values) // 2] for name, values in seconds.items()}


def _profiled(variant: Variant, task: Task) -> dict[str, float]:
    """Share of the time in which no kernel runs, and calls that wait for the device, a step."""
    if not task.device.startswith("cuda"):
        return {}
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        variant()
    events = profiler.events()
    kernels = sorted((e.time_range.start, e.time_range.end) for e in events if _on_device(e))
    busy, until = 0.0, kernels[0][0]
    for start, end in kernels:  # of several streams: what overlaps counts once
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    waits = sum(event.name in WAITS for event in events)
    return {"idle": 1 - busy / (until - kernels[0][0]), "waits a step": waits / task.batches}


def _on_device(event: Any) -> bool:
    """Whether an event of the profiler is a kernel or a copy, not the shadow of a name given on the host."""
    return event.device_type.name == "CUDA" and not getattr(event, "is_user_annotation", False)
