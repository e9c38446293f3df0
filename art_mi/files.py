"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, which takes its place at the end, but not after an error.

    :param path: File to replace; its folder exists.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        part.touch(exist_ok=False)
        mode = part.stat().st_mode  # safetensors would let nobody else read
        yield part
        part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file: at every moment `path` holds what it held or what is new.

    :param path: In a folder that exists.
    :param content: What it is to hold.
    """
    with replacing(path) as part:
        part.write_bytes(content)
