"""Nothing that the package is given, but a model, can run code, leave its folder, or reach the network."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod
from art.estimators.classification import PyTorchClassifier
from torch import nn

import art_mi
from art_mi import assess
from art_mi.finished import Finished
from art_mi.report import card, load_records, write_card, write_figures
from art_mi.results import Flag, ModelRecord

ROOT = Path(art_mi.__file__).parent
MODULES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(ROOT.rglob("*.py"))}
TEMPLATES = {path.name: path.read_text("utf-8") for path in ROOT.rglob("*.jinja")}

# --- code from data: see also the rules of test_architecture.py ---

FORBIDDEN_IMPORTS = {
    *("pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop", "pty"),
    *("socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "telnetlib", "smtplib"),
    *("subprocess", "tempfile", "zipfile", "tarfile", "ctypes"),
}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.startfile", "torch.hub.load"),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.package.PackageImporter", "shutil.unpack_archive"),
}
LISTED = {  # that which runs or draws what a user names, and why it may
    ("cli/inputs.py", "importlib.import_module"): "--model package.module:function runs code, as is documented",
    ("cli/inputs.py", "torch.jit.load"): "--model FILE runs code, as is documented",
    ("cli/inputs.py", "torch.export.load"): "--model FILE runs code, as is documented",
    ("extras.py", "import_module"): "of the packages of the extras, whose names stand in the code",
    ("report/blocks.py", "Markup"): "matplotlib escapes every text of a figure",
}
WATCHED = {name for _, name in LISTED} | {"markupsafe.Markup", "importlib.util.spec_from_file_location"}


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def _calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, str]]]:
    """Names of all calls with what their keywords are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {str(k.arg): ast.unparse(k.value) for k in node.keywords}


def breaches(source: str) -> list[str]:
    """What a module does that none may."""
    tree = ast.parse(source)
    found = [f"import {name}" for name in _imports(tree) if name in FORBIDDEN_IMPORTS]
    for name, given in _calls(tree):
        if name in FORBIDDEN_CALLS or name.removeprefix("builtins.") in FORBIDDEN_CALLS:
            found.append(name)
        if name in ("torch.load", "load_state_dict_from_url") and given.get("weights_only") != "True":
            found.append(name)
        if given.get("allow_pickle", "False") != "False" or given.get("shell", "False") != "False":
            found.append(f"{name}({given})")
        if name.endswith("Environment") and given.get("autoescape") != "True":
            found.append(f"{name} without autoescape")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_no_module_runs_what_it_reads(module: str) -> None:
    assert breaches(MODULES[module]) == []


def test_what_runs_or_trusts_is_listed() -> None:
    watched = {
        (module, name) for module, text in MODULES.items() for name, _ in _calls(ast.parse(text)) if name in WATCHED
    }
    assert watched == LISTED.keys()
    trusted = {
        (name, line.strip()) for name, text in TEMPLATES.items() for line in text.splitlines() if "|safe" in line
    }
    assert trusted == {("blocks.html.jinja", '{{ text|e|replace("_", "_<wbr>"|safe) }}')}
    assert all("autoescape false" not in text for text in TEMPLATES.values())


@pytest.mark.parametrize(
    "source",
    [
        *(f"import {name}" for name in ("pickle", "marshal", "subprocess", "urllib.request", "socket")),
        *(
            "from shelve import open",
            "def f():\n    import joblib",
            "eval('1')",
            "builtins.exec(x)",
            "compile(x, '', 'exec')",
        ),
        *("__import__(name)", "yaml.load(text)", "torch.load(path)", "torch.load(path, weights_only=False)"),
        *(
            "np.load(path, allow_pickle=True)",
            "np.load(path, allow_pickle=flag)",
            "run(line, shell=True)",
            "os.system(x)",
        ),
        *("Environment(loader=loader)", "jinja2.Environment(autoescape=False)", "torch.hub.load(a, b)"),
    ],
)
def test_a_breach_is_noticed(source: str) -> None:
    assert breaches(source)


def test_the_documentation_says_that_a_model_runs_code() -> None:
    page = " ".join((ROOT.parent / "docs" / "command-line.md").read_text("utf-8").split())
    assert "A model file runs code" in page
    assert "a file of settings names classes, whose modules are imported" in page


# --- names that lead out of a folder ---

PATHS = [
    *("../out", "../../etc/passwd", "/etc/passwd", "/tmp/out", "..", ".", "", "a/b", "a\\..\\b", "C:\\out", "~/out"),
    *(
        "nul\x00byte",
        "line\nbreak",
        300 * "x",
        "../" * 40 + "x",
        "con",
        "-rf",
        "a;touch b",
        "$(touch b)",
        "\u202e",
        "é" * 200,
    ),
]


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("name", PATHS, ids=lambda name: repr(name)[:20])
def test_a_finished_part_of_any_name_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    finished = Finished(tmp_path / "a" / "b", "print")
    finished.put(f"attack {name}", {"value": 1})
    finished.put(name, {"value": 2})
    assert finished.get(f"attack {name}") == {"value": 1}
    assert finished.get(name) == {"value": 2}
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == 2
    assert {path.parent for path in files} == {tmp_path / "a" / "b" / "finished"}


@pytest.mark.parametrize("name", PATHS, ids=lambda name: repr(name)[:20])
def test_a_report_on_a_model_of_any_name_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    images = {"x": np.zeros((2, 1, 4, 4), np.float32), "x_adv": np.ones((2, 1, 4, 4), np.float32), "y": np.arange(2)}
    made = ModelRecord(name, history=({"epoch": 1, "loss": 0.5},), settings={name: name}, command=name, images=images)
    made.save(tmp_path / "a" / "b")
    (record,) = load_records([tmp_path / "a" / "b"])
    assert record.name == name
    write_card([record], tmp_path / "a" / "card.html", title=name, settings={name: name}, command=name)
    write_figures([record], tmp_path / "a" / "figures")
    found = written(tmp_path)
    rest = {path for path in found if not re.fullmatch(r"a/figures/[a-z0-9-]+\.(svg|png)", path)}
    assert rest == {
        "a",
        "a/b",
        "a/b/results.json",
        "a/b/images.npz",
        "a/card.html",
        "a/card.md",
        "a/card.json",
        "a/figures",
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_assessment_of_hostile_names_stays_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = nn.Sequential()
    for name, layer in zip(
        ("../out", "/etc/passwd", 80 * "x"), (nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)), strict=True
    ):
        model.add_module(name.replace(".", "_"), layer)
    art = PyTorchClassifier(model, nn.CrossEntropyLoss(), (4,), 3, clip_values=(0, 1), device_type="cpu")
    attacks = {name: FastGradientMethod(art, eps=0.1) for name in ("../../out", "/tmp/out", "nul\x00byte", 300 * "y")}
    x, y = torch.rand(100, 4, generator=torch.Generator().manual_seed(0)).numpy(), np.arange(100) % 3
    given: dict[str, Any] = {
        "eps": 0.1,
        "attacks": attacks,
        "checks": False,
        "feature_profile": False,
        "verbose": False,
    }
    assess(art, x, y, name="../../model", out=tmp_path / "a" / "b", **given)
    found = written(tmp_path)
    assert {path.partition("/")[0] for path in found} == {"a"}
    assert {str(Path(path).parent) for path in found} <= {".", "a", "a/b", "a/b/finished"}


def test_arrays_of_hostile_names_stay_in_memory(tmp_path: Path) -> None:
    ModelRecord("model", images={"x": np.zeros(2)}).save(tmp_path / "a")
    intact = (tmp_path / "a" / "images.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.npz", "w") as archive:
        (tmp_path / "whole").write_bytes(intact)
        with zipfile.ZipFile(tmp_path / "whole") as source:
            for name in PATHS[:4]:
                archive.writestr(f"{name}.npy", source.read("x.npy"))
    (tmp_path / "whole.npz").replace(tmp_path / "a" / "images.npz")
    before = written(tmp_path)
    assert set(ModelRecord.load(tmp_path / "a").images) == set(PATHS[:4])
    assert written(tmp_path) == before


# --- text in pages ---

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}</style></title>&lt;"


class Tags(HTMLParser):
    """Elements of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def hostile(value: Any) -> Any:
    """A result with markup before each of its texts and names; of settings and records of epochs, after the others."""
    if isinstance(value, Flag | float | int | bool | np.ndarray) or value is None:
        return value
    if isinstance(value, str):
        return f"{HOSTILE}{value}"
    if isinstance(value, tuple | list):
        return type(value)(map(hostile, value))
    if isinstance(value, dict):
        return {hostile(name): hostile(item) for name, item in value.items()}
    assert is_dataclass(value)
    changed = {}
    for field in fields(value):
        given = getattr(value, field.name)
        if field.name == "settings":
            changed[field.name] = {**given, HOSTILE: {HOSTILE: HOSTILE}}
        elif field.name == "history":
            changed[field.name] = tuple({**epoch, f"{HOSTILE}loss": 0.5} for epoch in given)
        elif field.name not in ("unit", "images", "ceilings"):
            changed[field.name] = hostile(given)
    return replace(value, **changed)


@pytest.fixture(scope="module")
def record() -> ModelRecord:
    """A record with everything in it, as the tests of the report have it, and every text hostile."""
    path = Path(__file__).parents[1] / "report" / "conftest.py"
    spec = importlib.util.spec_from_file_location("of_the_report", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    attacks = dict(zip(module.ATTACKS, (231, 171, 170, 190, 172, 169, 168), strict=True))
    found = module.make_record("m", drop=1.0, clean=486, attacks=attacks, wrong=2, failing=(Flag.BLACK_BOX_STRONGER,))
    made: ModelRecord = hostile(found)
    return made


def pages(record: ModelRecord) -> Iterator[str]:
    """All pages that there are on a record and its parts."""
    yield card([record], title=HOSTILE, settings={HOSTILE: HOSTILE}, command=HOSTILE)
    yield record.to_html()
    assert record.representation is not None
    assert record.robustness is not None
    yield record.representation.to_html(name=HOSTILE)
    yield record.robustness.to_html(name=HOSTILE)


def test_hostile_text_in_every_field_stays_text(record: ModelRecord, tally: Callable[..., None]) -> None:
    assert json.dumps(record.to_dict()).count("<script>") > 100
    for page in pages(record):
        assert "&lt;script&gt;" in page
        tags = Tags(page).found
        assert not {tag for tag, _ in tags} & {"script", "img", "iframe", "object", "link", "base", "form"}
        for _, attributes in tags:
            assert not [name for name in attributes if name.startswith("on") or name == "srcdoc"]
            links = [str(attributes[name]) for name in ("href", "src", "xlink:href") if name in attributes]
            assert all(link.startswith(("#", "data:image/")) for link in links)
    texts = json.dumps(record.to_dict()).count("<script>")
    tally("The security", "texts of a record that hold markup", texts, "shown as text on every page")


def test_hostile_text_in_every_field_stays_text_in_markdown(record: ModelRecord, tmp_path: Path) -> None:
    _, text, _ = write_card(
        [record], tmp_path / "card.html", title=HOSTILE, settings={HOSTILE: HOSTILE}, command=HOSTILE
    )
    lines = [line for line in text.read_text("utf-8").splitlines() if not line.startswith("    ")]  # of commands
    assert sum(r"\<script\>" in line for line in lines) > 50
    assert not [line for line in lines if re.search(r"(?<!\\)[<`|\]]script|(?<!\\)<", line)]


def test_hostile_text_in_every_field_stays_in_its_figure(record: ModelRecord, tmp_path: Path) -> None:
    files = write_figures([record], tmp_path)
    drawn = [file.read_text("utf-8") for file in files if file.suffix == ".svg"]
    assert len(drawn) > 5
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert not {node.tag.rpartition("}")[2] for node in root.iter()} & {"script", "foreignObject", "a", "img"}
        assert not [name for node in root.iter() for name in node.attrib if name.startswith("on")]


# --- the network ---

WATCH = """
import socket
tried = []
def refuse(*given, **named):
    tried.append(given)
    raise OSError("no network here")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
for name in ("getaddrinfo", "create_connection", "gethostbyname"):
    setattr(socket, name, refuse)
"""
ALONE = """
import importlib, pkgutil, art_mi
names = [m.name for m in pkgutil.walk_packages(art_mi.__path__, "art_mi.") if m.name != "art_mi.cli.__main__"]
assert len(names) > 90, len(names)
for name in names:
    importlib.import_module(name)
from art_mi.cli import main
from art_mi.models import from_timm, from_torchvision
from_torchvision("resnet18"), from_timm("resnet18")
assert main("demo --nb-epochs 1 --nb-samples 100 --quiet --out demo".split()) == 0
unasked = "demo --data mnist --data-dir data --quiet".split()
assert main(unasked) == 2
assert not tried, tried
assert main([*unasked, "--download"]) == 2
assert tried
"""
MORE = """
from art_mi.cli import main
assert main("selftest --nb-samples 400 --quiet".split()) == 0
assert main("train --trainer mimae --data digits --nb-epochs 1 --out run --quiet".split()) == 0
weights = "--model small-cnn --weights run/model.safetensors --data digits --eps 0.1 --nb-samples 100 --quiet"
assert main(["estimate", *weights.split()]) == 0
assert main(["evaluate", *weights.split(), "--out", "found"]) == 0
assert main(["report", "found", "--out", "card.html"]) == 0
assert not tried, tried
"""


@pytest.mark.parametrize("code", [pytest.param(ALONE, id="some"), pytest.param(MORE, id="all", marks=pytest.mark.slow)])
def test_only_a_download_that_is_asked_for_asks_for_the_network(code: str, tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WATCH + code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


def test_attempts_are_counted(tally: Callable[..., None]) -> None:
    tally("The security", "modules read for what runs data or reaches out", len(MODULES), "none does but where listed")
    tally("The security", "names that lead out of a folder", len(PATHS), "nothing written outside")
    tally("The security", "modules imported, demo run, networks made without a network", len(MODULES) + 3, "none asks")
