from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from art_mi.report.card import card
from art_mi.results import Flag, MIEstimate, RepresentationVulnerability

VOID = {"meta", "br", "img", "input", "hr", "link"}
HOSTILE = "\"><script>alert('x')</script><img src=x onerror=alert(1)>{{ 7*7 }}</title></style>"


@dataclass(frozen=True)
class Measured:
    value: float
    confidence_interval: tuple[float, float]


class Page(HTMLParser):
    """Tags, attributes, table cells and text of a page; unbalanced markup is an error."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open, self.rows, self.headings = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("h1", "h2", "h3"):
            self.headings.append([tag, ""])

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"style", "svg"} & set(self.open):
            return
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings[-1][1] += data

    def words(self):
        return " ".join(" ".join(self.text).split())

    def row(self, label, nth=0):
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return [row for row in rows if row and row[0].startswith(label)][nth]


def estimate(value, **changes):
    found = MIEstimate(value, (value - 0.125, value + 0.25), "noisy channel", "two-sided in expectation", 1234, 97)
    return replace(found, lower=value, upper=value + 0.0625, ceiling=7.125, **changes)


def result(normal, worst, **changes):
    found = RepresentationVulnerability(
        normal=estimate(normal, bounds={"nwj": 1.375}),
        worst_case=estimate(worst),
        vulnerability=estimate(normal - worst),
        accuracy_ceiling=0.3125,
        ceilings={"exact": 0.3125, "published": 0.4375, "label_aware": 0.28125},
        ceiling_direction="no classifier on the noisy representation does better",
        method="noisy",
        layer="avgpool",
        flags=(),
        settings={"norm": "inf", "eps": 0.03125, "max_iter": 100, "noise_std": 0.5},
    )
    return replace(found, **changes)


PLAIN = result(
    2.875,
    0.75,
    flags=(Flag.SATURATED, Flag.ZERO_GRADIENT),
    measured_accuracy=0.0625,
    own_critic=estimate(1.625, estimator="info_nce"),
    sweep=(result(3.75, 1.75), result(1.25, 0.25, settings={"noise_std": 2.0})),
)
RESULTS = {"plain": PLAIN, "robust": result(2.5, 2.0)}
ACCURACIES = {"plain": {"clean accuracy": Measured(0.952, (0.94, 0.96))}}


def interval(e):
    return f"[{e.confidence_interval[0]:.3f}, {e.confidence_interval[1]:.3f}]"


def shown(e):
    return f"{e.value:.3f} {e.unit} {interval(e)}"


@pytest.fixture(scope="module")
def html():
    return card(RESULTS, accuracies=ACCURACIES, settings={"torch": "2.6.0"}, command="art-mi compare a b > c.html")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_comparison_shows_the_numbers_of_the_results(page):
    plain, robust = RESULTS.values()
    assert page.row("normal information") == ["normal information", shown(plain.normal), shown(robust.normal)]
    assert page.row("worst-case information")[1:] == [shown(plain.worst_case), shown(robust.worst_case)]
    assert page.row("vulnerability")[1:] == [shown(plain.vulnerability), shown(robust.vulnerability)]
    assert page.row("clean accuracy")[1:] == ["95.2 % [94.0, 96.0]", "-"]
    assert page.row("accuracy ceiling")[1:] == ["31.2 %", "31.2 %"]
    assert page.row("accuracy measured there")[1:] == ["6.2 %", "-"]


def test_each_estimate_comes_with_interval_bounds_samples_seed_bias_and_estimator(page):
    for label, e in PLAIN.rows():
        row = page.row(label, nth=1 if "information" in label else 0)
        assert row[1:] == [shown(e), f"{e.lower:.3f} to {e.upper:.3f}", str(e.nb_samples), str(e.random_state)]
        assert e.bias in row[0]
        assert e.estimator in row[0]
        assert f"{e.ceiling:.3f}" in row[0]
    assert "nwj 1.375 nats" in page.row("normal information", nth=1)[0]


def test_ceilings_settings_flags_and_command_are_shown(page):
    assert page.row("published")[1] == "43.8 %"
    assert page.row("label_aware")[1] == "28.1 %"
    assert page.row("eps") == ["eps", "0.03125"]
    assert page.row("torch") == ["torch", "2.6.0"]
    words = page.words()
    assert PLAIN.ceiling_direction in words
    assert "art-mi compare a b > c.html" in words
    assert "avgpool" in words
    for flag in PLAIN.flags:
        assert f"{flag} : {flag.meaning}" in words


def test_the_sweep_is_shown_level_by_level(page):
    for point in PLAIN.sweep:
        row = page.row(str(point.settings["noise_std"]))
        assert row[1:4] == [shown(point.normal), shown(point.worst_case), shown(point.vulnerability)]


def test_every_number_of_the_json_is_on_the_page(page):
    words = page.words()
    for e in [row for found in RESULTS.values() for _, row in found.rows()]:
        plain = json.loads(e.to_json())
        for value in (plain["value"], *plain["confidence_interval"], plain["lower"], plain["upper"]):
            assert f"{value:.3f}" in words


def test_a_page_without_options_has_no_empty_section():
    page = Page(card({"robust": RESULTS["robust"]}))
    headings = [text for _, text in page.headings]
    assert "How to repeat this" not in headings
    assert "Reasons for caution" not in headings
    assert "Sweep over noise levels" not in headings


def test_a_result_without_two_sides_or_optional_numbers_is_shown():
    bare = MIEstimate(1.5, (1.25, 1.75), "info_nce", "low: a lower bound", 500, 3)
    found = replace(RESULTS["robust"], normal=bare, worst_case=bare, vulnerability=bare, layer=None, ceilings={})
    page = Page(card({"plain": found.in_unit("bits")}))
    assert page.row("normal information", nth=1)[2] == "-"
    assert "the classifier's output" in page.words()
    assert "2.164 bits" in page.words()


def test_the_page_is_self_contained_and_runs_nothing(html, page):
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "img"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "action"}
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name.endswith("href")]
    assert all(link.startswith("#") for link in links)
    assert "@import" not in html
    assert not re.findall(r"url\((?!#)", html)


def test_the_page_can_be_read_by_a_screen_reader(page):
    tags = page.tags
    assert ("html", {"lang": "en"}) in tags
    assert [level for level, _ in page.headings].count("h1") == 1
    levels = [int(level[1]) for level, _ in page.headings]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [tag for tag, _ in tags].count("table") == [tag for tag, _ in tags].count("caption")
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in tags if tag == "th")
    images = [attributes for tag, attributes in tags if attributes.get("role") == "img"]
    assert len(images) == 2
    assert all(attributes["aria-label"] for attributes in images)
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))


def test_a_number_is_called_a_certificate_only_to_say_that_it_is_none(page):
    words = page.words()
    assert words.lower().count("certif") == 1
    assert "Nothing here is a certificate" in words


def test_hostile_text_stays_text():
    found = replace(
        PLAIN,
        layer=HOSTILE,
        ceiling_direction=HOSTILE,
        method=HOSTILE,
        settings={HOSTILE: HOSTILE, "noise_std": HOSTILE},
        ceilings={HOSTILE: 0.5},
        normal=replace(PLAIN.normal, bias=HOSTILE, estimator=HOSTILE, bounds={HOSTILE: 1.0}),
    )
    accuracies = {HOSTILE: {HOSTILE: Measured(0.5, (0.4, 0.6))}}
    options = {"settings": {HOSTILE: HOSTILE}, "title": HOSTILE, "command": HOSTILE}
    html = card({HOSTILE: found}, accuracies=accuracies, **options)
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.words().count("{{ 7*7 }}") >= 12


def test_the_page_is_the_same_every_time(html):
    again = card(RESULTS, accuracies=ACCURACIES, settings={"torch": "2.6.0"}, command="art-mi compare a b > c.html")
    assert again == html


def test_no_model_at_all_is_an_error():
    with pytest.raises(ValueError, match="at least one model"):
        card({})


def test_a_result_writes_its_own_page(tmp_path):
    written = PLAIN.to_html(tmp_path / "card.html", name="plain")
    assert (tmp_path / "card.html").read_text(encoding="utf-8") == written
    assert PLAIN.plot().get_xlabel() == "information (nats)"
