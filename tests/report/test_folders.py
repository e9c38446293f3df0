from __future__ import annotations

import pytest

from art_mi.report import load_records
from art_mi.results import ModelRecord


@pytest.fixture
def folder(tmp_path):
    for name in ("b", "a"):
        ModelRecord(f"model {name}").save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_folder_is_a_record_or_holds_some_in_order_of_their_names(folder):
    assert [record.name for record in load_records([folder])] == ["model a", "model b"]
    assert [record.name for record in load_records([folder / "b", str(folder / "a")])] == ["model b", "model a"]


def test_a_folder_without_a_record_is_an_error(folder):
    with pytest.raises(ValueError, match=r"`folders` must hold a results.json, or folders that do, got .*empty"):
        load_records([folder, folder / "empty"])


def test_a_damaged_record_is_an_error(folder):
    (folder / "a" / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"must hold a readable results.json"):
        load_records([folder])


def test_results_of_something_else_in_a_sub_folder_are_passed_over_and_named_where_asked_for(folder):
    (folder / "run").mkdir()
    (folder / "run" / "results.json").write_text('{"accuracies": {}}')
    assert [record.name for record in load_records([folder])] == ["model a", "model b"]
    with pytest.raises(ValueError, match=r"`folder` must hold the record of a model, got '.*run'"):
        load_records([folder / "run"])
