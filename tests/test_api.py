from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import art_mi

STUB = ast.parse(Path(art_mi.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))


def test_every_public_name_can_be_had() -> None:
    imported = {a.asname or a.name for n in STUB.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert set(art_mi.__all__) == imported
    for name in art_mi.__all__:
        assert getattr(art_mi, name).__name__.rpartition(".")[2] == name


def test_the_stub_exports_what_it_imports() -> None:
    (listed,) = (n.value for n in STUB.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__")
    assert sorted(ast.literal_eval(listed)) == sorted(art_mi.__all__)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="WorstCaseMIEstimators"):
        _ = art_mi.WorstCaseMIEstimators
    with pytest.raises(ImportError, match="cannot import name"):
        from art_mi import nothing  # noqa: F401


def test_importing_the_package_imports_no_part_of_it() -> None:
    code = "import sys, art_mi; print([m for m in sys.modules if m.startswith(('art_mi.', 'torch', 'lightning'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
