"""Every group of benchmarks runs at its smallest size and is kept; no number here says anything about speed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.__main__ import GROUPS, ON_CUDA, RESULTS, main
from benchmarks.page import PAGE, page
from benchmarks.record import Record
from benchmarks.timing import Row, Settings, Times

QUICK = Settings(rounds=1, quick=True)


@pytest.mark.parametrize("group", GROUPS + ON_CUDA)
def test_a_group_runs(group: str) -> None:
    rows = list(import_module(f"benchmarks.{group}").rows(QUICK))
    assert rows
    for row in rows:
        assert row.ratio > 0
        assert {row.rounds, len(row.interval)} == {1, 2}
        assert all(seconds > 0 for seconds in row.medians.values())


def test_rows_are_kept_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    assert main(["attacks"], quick=True, out=tmp_path) == 0
    record = Record.read(tmp_path / "cpu.json")
    assert record.table() in capsys.readouterr().out
    assert record.table() + "\n" == (tmp_path / "cpu.md").read_text(encoding="utf-8")
    assert list(record.groups) == ["attacks"]
    assert [row["goal"] for row in record.groups["attacks"]["rows"]] == [1.03, 0.75]
    assert torch.get_num_threads() == before


def test_groups_measured_before_are_kept(tmp_path: Path) -> None:
    record, times = Record.at(tmp_path, "cpu"), Times({"a": [1.0], "b": [2.0]}, 1, "cpu")
    record.replace("one", [times.row("work", "setting", "a", "b", 0.6)])
    record.write()
    again = Record.at(tmp_path, "cpu")
    again.replace("two", [times.row("work", "setting", "b", "a", 2.5, at_least=True, cause="too little to do")])
    assert [group["rows"][0]["met"] for group in again.groups.values()] == [True, False]
    assert "- work, setting: too little to do" in again.table()


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(SystemExit, match=r"`groups` must be among .* got nothing"):
        main(["nothing"])


def test_the_gpu_is_not_timed_without_one() -> None:
    with pytest.raises(SystemExit, match=r"needs a GPU: add `--device cuda`"):
        list(gpu.rows(Settings()))


def test_ratios_are_of_medians() -> None:
    row: Row = Times({"a": [1.0, 3.0, 2.0], "b": [4.0, 4.0, 5.0]}, 2, "wall").row("work", "setting", "a", "b", 0.4)
    assert row.ratio == 0.5
    assert not row.met
    assert row.interval[0] <= row.ratio <= row.interval[1]


def test_the_page_of_the_docs_is_drawn_from_the_results() -> None:
    records = [Record.read(path) for path in sorted(RESULTS.glob("*.json"))]
    assert PAGE.read_text(encoding="utf-8") == page(records)
    for record in records:
        assert record.path.with_suffix(".md").read_text(encoding="utf-8") == record.table() + "\n"
    assert {group for record in records for group in record.groups} >= set(GROUPS)
