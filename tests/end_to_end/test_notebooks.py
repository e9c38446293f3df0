"""Both halves of every notebook say the same, and hold nothing of the machine they were written on.

The documentation executes the Markdown halves, with the assertions that each of them ends with.
"""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import pytest
from jupytext.compare import NotebookDifference, compare_notebooks

FOLDER = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("[0-9]_*.md"))
MACHINE_PATH = re.compile(r"(?<![\w.])(/(home|root|work|tmp|usr|opt|Users|mnt|var)/|[A-Z]:\\)")


def read(name: str, suffix: str):
    return jupytext.read(FOLDER / f"{name}{suffix}")


def same(name: str, other: str) -> None:
    compare_notebooks(read(name, ".ipynb"), read(other, ".md"), fmt="md:myst")


def test_each_half_has_the_other():
    assert len(NOTEBOOKS) == 6
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_both_halves_are_the_same(name):
    same(name, name)


def test_halves_of_different_notebooks_are_told_apart():
    with pytest.raises(NotebookDifference):
        same(NOTEBOOKS[0], NOTEBOOKS[1])


@pytest.mark.parametrize("suffix", [".md", ".ipynb"])
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_for_any_machine(name, suffix):
    path = FOLDER / f"{name}{suffix}"
    assert MACHINE_PATH.search(path.read_text(encoding="utf-8")) is None
    assert path.stat().st_size < 300_000
    assert read(name, suffix).metadata.kernelspec == {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }


def test_a_machine_path_is_found():
    for text in ("/home/me/x.py", 'File "/root/.venv/lib"', "C:\\Users"):
        assert MACHINE_PATH.search(text)
    assert not MACHINE_PATH.search("https://example.org/home/page, ../results.md, docs/tmp/x")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs_and_ends_with_what_it_claims(name):
    cells = [cell for cell in read(name, ".ipynb").cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    *others, last = cells
    assert last.source.count("assert ") >= 3
    assert last.metadata.tags == ["remove-cell"]
    assert not any("remove-cell" in cell.metadata.get("tags", []) for cell in others)
