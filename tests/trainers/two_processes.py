"""Run by `test_processes.py` under torchrun: trains every case in this process and writes what came of it."""

from __future__ import annotations

import sys
from pathlib import Path

import test_processes
import torch
from conftest import Toy
from lightning_fabric import Fabric


def main(folder: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    found = {case.__name__: case(Toy(), fabric, folder) for case in test_processes.CASES + test_processes.TOGETHER}
    torch.save(found, folder / f"{fabric.global_rank}.pt")


main(Path(sys.argv[1]))
