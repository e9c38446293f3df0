"""The card as a browser shows it, on a desk and on a phone, in light and dark."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from dataclasses import replace

import pytest

from art_mi.report import write_card

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
SIZES = {"desk": 1280, "phone": 390}
HOSTILE = (
    "\"><script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">$\\frac{ </style> "
    + ("模型" + "x" * 300)
)

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER) and not os.environ.get("CI"), reason="needs chromium, chromedriver"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(records, tmp_path_factory):
    page, _, _ = write_card(records, tmp_path_factory.mktemp("card") / "card.html", command="art-mi report DIR")
    return page


def opened(browser, page, size="desk", scheme="light"):
    metrics = {"width": SIZES[size], "height": 900, "deviceScaleFactor": 1, "mobile": size == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    return browser


def tables(browser):
    """Cells of every table, read where the browser put them: heading, rows of texts; folded ones included."""
    return browser.execute_script(
        """return [...document.querySelectorAll('table')].map(table => ({
             section: table.closest('section').querySelector('h2,h3,h4').textContent,
             model: table.closest('section.level-2').querySelector('h2').textContent,
             rows: [...table.querySelectorAll('tbody tr:not(.notes)')].map(
               row => [...row.cells].map(cell => cell.textContent.trim().replace(/\\s+/g, ' ')))}))"""
    )


def rows(browser, model, section, nth=0):
    found = [table["rows"] for table in tables(browser) if (table["model"], table["section"]) == (model, section)]
    return {label: cells for label, *cells in found[nth]}


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


def estimate(content):
    return [round(value, 3) for value in (content["value"], *content["confidence_interval"])]


def accuracy(content):
    return [round(100 * value, 1) for value in (content["value"], *content["confidence_interval"])]


def test_the_tables_show_the_numbers_of_the_json(browser, page):
    opened(browser, page)
    models = json.loads(page.with_suffix(".json").read_text())["models"]
    compared = rows(browser, "Numbers", "Numbers")
    for index, model in enumerate(models):
        name, robustness, found = model["name"], model["robustness"], model["representation"]
        attacked = rows(browser, name, "Accuracy under attack")
        for attack, content in robustness["attacks"].items():
            assert numbers(compared[attack][index]) == accuracy(content["accuracy"])
            assert numbers(attacked[attack][0]) == accuracy(content["accuracy"])
        assert numbers(compared["worst in the ball"][index]) == accuracy(robustness["worst_case"])
        assert numbers(compared["clean"][index]) == accuracy(robustness["clean"])
        for label, key in (("normal information", "normal"), ("worst-case information", "worst_case")):
            assert numbers(compared[label][index]) == estimate(found[key])
        assert numbers(compared["vulnerability"][index]) == estimate(found["vulnerability"])
        assert numbers(compared["accuracy ceiling"][index]) == [round(100 * found["accuracy_ceiling"], 1)]
        inside = rows(browser, name, "Information of the representation")
        assert numbers(inside["representation vulnerability"][0]) == estimate(found["vulnerability"])


def test_the_tables_of_layers_units_radii_and_heads_show_the_numbers_of_the_json(browser, page):
    opened(browser, page)
    for model in json.loads(page.with_suffix(".json").read_text())["models"]:
        name = model["name"]
        layers = rows(browser, name, "Layers")
        for layer, content in model["layers"]["layers"].items():
            assert [numbers(cell) for cell in layers[layer][:3]] == [
                estimate(content[key]) for key in ("normal", "worst_case", "vulnerability")
            ]
        units = rows(browser, name, "Units")
        for content in model["features"]["units"]:
            assert numbers(units[f"unit {content['unit']}"][2]) == estimate(content["vulnerability"])
        radii = rows(browser, name, "Against the radius")
        curve = model["curve"]
        for index, (eps, content) in enumerate(zip(curve["eps"], curve["results"], strict=True)):
            assert numbers(radii[f"{eps:g}"][1]) == estimate(content["worst_case"])
            assert numbers(radii[f"{eps:g}"][5]) == accuracy(curve["accuracies"]["PGD-20"][index])
        heads = rows(browser, name, "As a backbone")
        for head, content in model["backbone"]["probes"].items():
            assert [numbers(cell) for cell in heads[head]] == [accuracy(content["clean"]), accuracy(content["robust"])]


def test_nothing_is_requested_but_the_page_and_nothing_is_complained_about(browser, page):
    opened(browser, page)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(("size", "scheme"), [("desk", "light"), ("phone", "dark")])
def test_the_page_never_scrolls_sideways_and_every_figure_is_drawn(browser, page, size, scheme):
    opened(browser, page, size, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= SIZES[size]
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].map(svg => svg.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) > 20
    assert all(box["width"] > 200 and box["right"] <= SIZES[size] for box in boxes)
    picture = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "optimizeForSpeed": True}
    )
    (page.parent / f"{size}-{scheme}.png").write_bytes(base64.b64decode(picture["data"]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser, page, scheme):
    opened(browser, page, "desk", scheme)
    pairs = browser.execute_script(
        """const solid = e => { for (; e; e = e.parentElement) {
             const c = getComputedStyle(e).backgroundColor; if (!c.startsWith('rgba(0, 0, 0, 0')) return c; } };
           const text = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
           return [...document.querySelectorAll('body *:not(svg *)')].filter(text).map(
             e => [getComputedStyle(e).color, solid(e)])"""
    )
    assert len(pairs) > 100
    assert min(contrast(*pair) for pair in map(tuple, pairs)) >= 4.5


def contrast(*colours):
    def luminance(colour):
        channels = [float(c) / 255 for c in re.findall(r"[\d.]+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_folded_tables_are_hidden_on_the_screen_and_printed_on_paper(browser, page):
    opened(browser, page)
    script = "return [...document.querySelectorAll('details table')].map(table => table.checkVisibility())"
    on_screen = browser.execute_script(script)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    on_paper = browser.execute_script(script)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert on_screen
    assert not any(on_screen)
    assert all(on_paper)


def test_hostile_names_settings_and_labels_run_nothing_and_keep_the_page_in_shape(browser, records, tmp_path):
    hostile = [
        replace(
            record,
            name=f"{HOSTILE} {index}",
            command=HOSTILE,
            settings={HOSTILE: HOSTILE},
            representation=replace(record.representation, layer=HOSTILE, ceiling_direction=HOSTILE, sweep=()),
            layers=replace(record.layers, layers={HOSTILE: record.representation}, attacked={HOSTILE: HOSTILE}),
            features=None,
            curve=None,
            backbone=replace(record.backbone, verdict=HOSTILE),
            images={**record.images, "y": [HOSTILE] * 12},
            history=({"epoch": 1, HOSTILE: 0.5}, {"epoch": 2, HOSTILE: 0.25}),
        )
        for index, record in enumerate(records)
    ]
    page, _, _ = write_card(hostile, tmp_path / "card.html", title=HOSTILE, settings={HOSTILE: HOSTILE})
    for size in SIZES:
        opened(browser, page, size)
        assert browser.title == " ".join(HOSTILE.split())
        assert browser.execute_script("return document.querySelectorAll('script, img, iframe, object').length") == 0
        assert browser.execute_script("return document.documentElement.scrollWidth") <= SIZES[size]
        assert browser.get_log("browser") == []
