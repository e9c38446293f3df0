"""Records found in folders."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from art_mi.results import ModelRecord
from art_mi.results.record import RECORD


def load_records(folders: Iterable[str | Path]) -> list[ModelRecord]:
    """Records of models: of each folder its own, or those of its sub-folders by name.

    :param folders: Folders written by :meth:`.ModelRecord.save`, or that hold such folders.
        Other results in sub-folders, such as those of `art-mi train`, are passed over.
    :raises ValueError: If a folder holds no record, or a damaged one.
    """
    records: list[ModelRecord] = []
    for folder in map(Path, folders):
        within = sorted(path.parent for path in folder.glob(f"*/{RECORD}") if _is_record(path))
        found = [folder] if (folder / RECORD).is_file() else within
        if not found:
            raise ValueError(f"`folders` must hold a {RECORD}, or folders that do, got {str(folder)!r}.")
        records.extend(map(ModelRecord.load, found))
    return records


def _is_record(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return True  # damaged: said when it is read
    return isinstance(content, dict) and "name" in content
