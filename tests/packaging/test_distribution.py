"""What the source archive and the wheel hold."""

from __future__ import annotations

import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import art_mi

ROOT = Path(art_mi.__file__).parents[1]
PACKAGE = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "art_mi").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
DOCUMENTS = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg"}

pytestmark = [pytest.mark.xdist_group("packaging")]


def test_the_wheel_holds_the_package_and_nothing_else(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        info = {Path(name).name for name in wheel.namelist() if ".dist-info/" in name}
    assert names == PACKAGE
    assert "art_mi/py.typed" in names
    assert "art_mi/report/templates/card.html.jinja" in names
    assert info == {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt", "top_level.txt"}


def test_the_source_archive_holds_the_package_and_its_documents(archives: tuple[Path, Path]) -> None:
    """Tests stay in the repository: they need its benchmarks, experiments and examples."""
    with tarfile.open(archives[0]) as archive:
        names = {
            Path(member.name).relative_to(*Path(member.name).parts[:1]).as_posix()
            for member in archive
            if member.isfile()
        }
    generated = {name for name in names if ".egg-info/" in name} | {"PKG-INFO"}
    assert names - generated == PACKAGE | DOCUMENTS


def test_the_metadata_name_what_a_user_asks_for(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
        metadata = message_from_bytes(wheel.read(name))
    assert metadata["Version"] == art_mi.__version__
    assert metadata["License-Expression"] == "MIT"
    extras = {"autoattack", "dev", "docs", "report", "saliency", "tensorboard", "test", "timm"}
    assert set(metadata.get_all("Provides-Extra") or ()) == extras
    always = {line for line in metadata.get_all("Requires-Dist") or () if "extra ==" not in line}
    assert any(line.startswith("torch") for line in always)
    assert not [line for line in always if line.startswith(("matplotlib", "jinja2", "pytest"))]
