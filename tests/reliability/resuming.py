"""Run by `test_run.py`: goes on with a run that another interpreter began, and prints all that was trained."""

from __future__ import annotations

import sys
from pathlib import Path

import test_resume
from conftest import Toy

folder = Path(sys.argv[1])
print(test_resume.everything(test_resume.fit(Toy(), test_resume.worst_case, out=folder, resume_from=folder)))
