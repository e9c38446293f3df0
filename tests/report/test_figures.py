from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from art_mi.report import figures, write_figures
from art_mi.results import ModelRecord


def kinds(record):
    parts = (figures.of_layers, figures.of_curve, figures.of_heads, figures.of_images, figures.of_training)
    return [drawing for part in parts for drawing in part(record)]


def test_a_full_record_has_every_figure_kind_each_with_its_words(records):
    drawings = [*figures.compared(records), *kinds(records[0])]
    assert {drawing.name for drawing in drawings} == set(figures.CAPTIONS)
    assert all(drawing.alt and drawing.caption for drawing in drawings)


def test_an_empty_record_has_no_figure():
    assert figures.compared([ModelRecord("nothing")]) == []
    assert kinds(ModelRecord("nothing")) == []


def test_figures_need_no_more_than_they_show(records):
    plain, robust = records
    found = {drawing.name for drawing in figures.compared([replace(plain, robustness=None, features=None), robust])}
    assert found == {"accuracies", "information", "ceiling", "noise", "layers-compared", "units-information"} | {
        "units-vulnerability"
    }
    assert {d.name for d in figures.compared([replace(plain, representation=None)])} >= {"accuracies"}


def test_a_model_keeps_its_colour_where_another_is_missing(records):
    plain, robust = records
    (alone,) = (d for d in figures.compared([replace(plain, robustness=None), robust]) if d.name == "accuracies")
    (both,) = (d for d in figures.compared(records) if d.name == "accuracies")
    assert alone.axes.get_legend_handles_labels()[0][0].get_color() == (
        both.axes.get_legend_handles_labels()[0][1].get_color()
    )


def test_figures_are_written_as_svg_and_png_the_same_every_time(records, tmp_path):
    small = [replace(records[0], layers=None, features=None, curve=None, backbone=None, history=())]
    files = write_figures(small, tmp_path / "figures")
    assert {file.stem for file in files} == {"accuracies", "information", "ceiling", "noise"} | {
        "model-1-examples",
        "model-1-saliency",
    }
    for file in files:
        if file.suffix == ".svg":
            assert ElementTree.parse(file).getroot().tag.endswith("svg")
        else:
            assert file.read_bytes().startswith(b"\x89PNG")
    before = {file: file.read_bytes() for file in files}
    assert {file: file.read_bytes() for file in write_figures(small, tmp_path / "figures")} == before


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "../../x", "$\\frac{", "模型"])
def test_no_name_reaches_a_file_name_or_becomes_markup(records, name, tmp_path):
    small = [ModelRecord(name, robustness=records[0].robustness)]
    files = write_figures(small, tmp_path / "figures")
    assert sorted(tmp_path.rglob("*.*")) == sorted(files)
    assert "<script" not in (tmp_path / "figures" / "accuracies.svg").read_text()
