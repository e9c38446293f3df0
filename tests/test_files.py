"""A file is replaced whole, by one that others may read, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors.torch import save_file

from art_mi.files import replace_file, replacing


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        replace_file(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_after_an_error_it_is_as_before(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"old")

    def fail() -> None:
        with replacing(tmp_path / "file") as part:
            part.write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_who_may_read_other_files_may_read_it(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "weights") as part:
        save_file({}, part)
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "plain").stat().st_mode
