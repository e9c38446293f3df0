"""Every example runs as it is printed."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_a_result(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    assert "representation vulnerability" in capsys.readouterr().out
