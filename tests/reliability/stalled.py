"""Run by `test_run.py`: trains into a folder until it waits for ever, as does a worker, whose number it prints."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import test_resume
from conftest import Toy


def stall(trainer: Any, record: dict[str, Any]) -> None:
    if record["epoch"] == 2:
        worker = os.fork()  # as loaders make theirs
        if worker:
            print(worker, flush=True)
        time.sleep(3600)


test_resume.fit(Toy(), test_resume.standard, out=Path(sys.argv[1]), callbacks=[stall])
