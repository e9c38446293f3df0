from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from art_mi.report import card, write_card
from art_mi.results import Check, Flag, MIEstimate, ModelRecord

HEADINGS = ("h1", "h2", "h3", "h4")
VOID = {"meta", "br", "wbr", "img", "input", "hr", "link"}
HOSTILE = "\"><script>alert('x')</script><img src=x onerror=alert(1)>{{ 7*7 }}</title></style>"


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
        if tag in HEADINGS:
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
        if self.open and self.open[-1] in HEADINGS:
            self.headings[-1][1] += data

    def words(self):
        return " ".join(" ".join(self.text).split())

    def row(self, label, nth=0):
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return [row for row in rows if row and row[0].startswith(label)][nth]


def shown(e):
    low, high = e.confidence_interval
    return f"{e.value:.3f} {e.unit} [{low:.3f}, {high:.3f}]"


@pytest.fixture(scope="module")
def html(records):
    return card(records, settings={"torch": "2.6.0"}, command="art-mi report a b > c.html")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_it_begins_with_the_verdict_and_the_few_numbers_that_matter(page):
    words = page.words()
    first = words[: words.index("Brackets are")]
    assert "MIMAE withstands the attacks better than standard: 80.6 % [76.9, 83.8] against 33.2 %" in first
    assert "worst of 6 attacks, l_inf, eps 0.12" in first  # the seventh is of another ball
    assert "accuracy, worst of 6 attacks" in first
    assert "loses less information than that of standard" in first
    assert "33.2 % stay right 64.0 % broken by attacks 2.8 % wrong anyway" in first
    assert "reasons for caution 2, see below" in first
    assert "reasons for caution none raised" in first


def test_each_estimate_comes_with_interval_bounds_samples_seed_bias_and_estimator(page, records):
    for label, e in records[0].representation.rows():
        row = page.row(label, nth=1 if "information" in label else 0)
        assert row[1:] == [shown(e), f"{e.lower:.3f} to {e.upper:.3f}"]
        note = f"Bias: {e.bias}. By {e.estimator}, {e.nb_samples} samples, seed {e.random_state}."
        assert note in page.words()


def test_attacks_come_with_interval_ball_settings_and_time(page):
    assert page.row("PGD-l2", nth=1) == ["PGD-l2", "38.0 % [33.9, 42.3]", "l_2, eps 0.12"]
    assert "took 1.2 s" in page.words()
    assert page.row("PGD-l2", nth=2) == ["PGD-l2", "max_iter 20"]


def test_checks_and_flags_are_in_words(page):
    assert page.row("no black-box attack is stronger")[1:] == ["not passed", "accuracy 30.0% against 5.0%"]
    assert page.row("random noise is not worse")[1] == "passed"
    for flag in (Flag.BLACK_BOX_STRONGER, Flag.UNDERSAMPLED):
        assert f"{flag} : {flag.meaning}." in page.words()


def test_settings_environment_seed_and_command_are_shown(page, records):
    assert page.row("torch") == ["torch", "2.9.0"]
    assert page.row("torch", nth=2) == ["torch", "2.6.0"]
    assert "art-mi report a b > c.html" in page.words()
    assert all(record.command in page.words() for record in records)


def test_a_measurement_with_a_critic_is_shown_without_what_it_lacks(records):
    bare = MIEstimate(1.5, (1.25, 1.75), "info_nce", "low", 500, 3, bounds={"nwj": 1.375}, ceiling=6.2)
    found = replace(records[0].representation, **dict.fromkeys(("normal", "worst_case", "vulnerability"), bare))
    found = replace(found, own_critic=bare, method="critic", layer="fc", ceilings={"exact": 0.5}, sweep=())
    page = Page(card([ModelRecord("plain", representation=found)]))
    assert page.row("normal information", nth=1)[2] == "-"
    assert page.row("worst case by its own critic")[1] == "1.500 nats [1.250, 1.750]"
    assert "Measured on fc, by a critic fitted to it." in page.words()
    assert "Also: nwj 1.375 nats, largest reportable value 6.200 nats." in page.words()


def test_unchecked_attacks_are_said_to_be_unchecked(records):
    page = Page(card([ModelRecord("plain", robustness=replace(records[1].robustness, checks={}))]))
    assert "none raised; attacks were not checked" in page.words()


def test_a_record_with_nothing_in_it_has_a_page_without_empty_sections():
    page = Page(card([ModelRecord("plain")]))
    assert [text for _, text in page.headings] == ["Robustness card", "Numbers", "How to read them"]
    assert "nothing measured" in page.words()


def test_the_page_is_self_contained_and_runs_nothing(html, page):
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "img"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "action"}
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name.endswith("href")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
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
    assert len(images) == [tag for tag, _ in tags].count("figure")
    assert all(attributes["aria-label"] for attributes in images)
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))
    anchors = {attributes["href"][1:] for tag, attributes in tags if tag == "a"}
    assert anchors
    assert anchors <= set(names)


def test_a_number_is_called_a_certificate_only_to_say_that_it_is_none(page):
    words = page.words()
    assert words.lower().count("certif") == 1
    assert "Nothing here is a certificate" in words


def test_hostile_text_stays_text(records):
    plain = records[0]
    hostile = replace(
        plain.representation,
        layer=HOSTILE,
        method=HOSTILE,
        settings={HOSTILE: HOSTILE},
        ceilings={"exact": 0.5, HOSTILE: 0.5},
        ceiling_direction=HOSTILE,
        normal=replace(plain.representation.normal, bias=HOSTILE, estimator=HOSTILE, bounds={HOSTILE: 1.0}),
        sweep=(),
    )
    check = Check(False, HOSTILE, Flag.NOISE_STRONGER)
    attacks = {HOSTILE: plain.robustness.attacks["FGSM"]}
    attacked = replace(plain.robustness, checks={HOSTILE: check}, attacks=attacks)
    found = ModelRecord(HOSTILE, hostile, attacked, settings={HOSTILE: HOSTILE}, command=HOSTILE)
    page = Page(card([found], settings={HOSTILE: HOSTILE}, title=HOSTILE, command=HOSTILE))
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.words().count("{{ 7*7 }}") >= 12


def test_json_and_markdown_stand_beside_the_page_and_the_page_is_the_same_every_time(records, html, tmp_path):
    options = {"settings": {"torch": "2.6.0"}, "command": "art-mi report a b > c.html"}
    page, text, content = write_card(records, tmp_path / "new" / "card.html", **options)
    assert [file.name for file in (page, text, content)] == ["card.html", "card.md", "card.json"]
    assert page.read_text(encoding="utf-8") == html
    read = json.loads(content.read_text())
    assert read["models"] == [record.to_dict() for record in records]
    assert ModelRecord.from_dict(read["models"][1]).robustness == records[1].robustness
    assert (read["settings"], read["command"]) == (options["settings"], options["command"])
    rows = [line.split(" | ") for line in text.read_text().splitlines() if line.startswith("| vulnerability")]
    assert rows[0][1] == r"1.076 \[1.046, 1.106\] nats"


def test_markdown_shows_hostile_text_as_it_is(records, tmp_path):
    name = "a|b <script> `c` [d](e) *f* $g$\n# h"
    _, text, _ = write_card([ModelRecord(name, robustness=records[0].robustness)], tmp_path / "card.html")
    lines = text.read_text().splitlines()
    assert "# h" not in lines
    shown = r"a\|b \<script\> \`c\` \[d\](e) \*f\* \$g\$ \# h"
    assert f"## {shown}" in lines
    assert f"| Quantity | {shown} |" in lines


def test_bad_records_and_paths_are_errors(records, tmp_path):
    with pytest.raises(ValueError, match="at least one model"):
        card([])
    with pytest.raises(ValueError, match="different names"):
        card([records[0], records[0]])
    with pytest.raises(ValueError, match=r"`path` must end in '.html', got .*card.txt"):
        write_card(records, tmp_path / "card.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["representation", "robustness"])
def test_a_result_writes_its_own_page(records, kind, tmp_path):
    found = getattr(records[1], kind)
    written = found.to_html(tmp_path / "card.html", name="plain")
    assert (tmp_path / "card.html").read_text(encoding="utf-8") == written
    assert "plain" in [text for _, text in Page(written).headings]


def test_a_result_draws_itself(records):
    assert records[0].representation.plot().get_xlabel() == "information (nats)"


def test_files_of_others_beside_the_page_are_left_alone(records, tmp_path):
    for name in ("results.json", "notes.md"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(ValueError, match=rf"`path` must leave '.*{name}' alone, which is no part of a card"):
            write_card(records, (tmp_path / name).with_suffix(".html"))
        assert (tmp_path / name).read_text() == "{}"
    write_card(records, tmp_path / "card.html")
    write_card(records, tmp_path / "card.html")


def test_a_record_gives_its_own_card(records, tmp_path):
    assert records[0].to_html(tmp_path / "own.html") == (tmp_path / "own.html").read_text(encoding="utf-8")
    assert records[0].name in records[0].to_html()
