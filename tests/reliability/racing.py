"""Run by `test_run.py`: takes a folder for itself again and again, and at the end is killed while it has it, or not."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from art_mi.files import writing_alone

folder, times, end = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
owner, me, held = folder.with_name("owner"), str(os.getpid()), 0
while held < times:
    try:
        with writing_alone(folder):
            owner.write_text(me)
            os.sched_yield()
            if owner.read_text() != me:
                raise RuntimeError("two had it at once")
            held += 1
            if end == "dies" and held == times:
                os.kill(os.getpid(), signal.SIGKILL)
    except ValueError:
        os.sched_yield()
