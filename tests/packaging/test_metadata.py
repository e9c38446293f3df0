"""Files that describe the project agree with one another and with the Makefile."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import art_mi

ROOT = Path(art_mi.__file__).parents[1]
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values() for step in job["steps"]]


def test_the_version_is_one() -> None:
    assert SETUP["metadata"]["version"] == art_mi.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == art_mi.__version__
    assert f"## {art_mi.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_citation_has_what_its_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == SETUP["metadata"]["license_expression"]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        assert all({"family-names", "given-names"} == set(author) for author in reference["authors"])
        assert reference["url"].startswith("https://")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_targets_of_the_makefile_only(workflow: Path) -> None:
    commands = [line for step in steps(workflow) for line in step.get("run", "").splitlines()]
    assert commands
    for command in commands:
        make, *targets = command.split()
        assert make == "make"
        assert set(targets) <= TARGETS
    assert all({"run", "uses"} & set(step) for step in steps(workflow))


def test_workflows_cover_what_the_classifiers_promise() -> None:
    assert {path.stem for path in WORKFLOWS} == {"docs", "lint", "release", "tests"}
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf-8"))["jobs"]
    versions = re.findall(r":: Python :: (3\.\d+)$", SETUP["metadata"]["classifiers"], re.MULTILINE)
    assert versions
    assert set(versions) <= set(jobs["tests"]["strategy"]["matrix"]["python"])
    assert SETUP["options"]["python_requires"] == f">={versions[0]}"
    ran = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    assert {"make test", "make test-slow", "make test-minimum"} <= ran


def test_what_every_change_must_pass_is_made_of_targets() -> None:
    lines = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    ran = {line.removeprefix("make ") for line in lines if line.startswith("make ")}
    assert ran == {"browser", "test", "lint", "docs", "dist"}
    assert ran <= TARGETS


def test_the_lower_bounds_are_those_of_the_setup() -> None:
    command = [sys.executable, str(ROOT / ".ci/minimum.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bounds = dict(line.split(" == ") for line in printed.splitlines())
    required = SETUP["options"]["install_requires"].strip().splitlines()
    assert {re.split(r"[\[ ]", line)[0] for line in required} <= set(bounds)
    assert all(f"{name} >= {low}" in required for name, low in bounds.items() if name in ("torch", "numpy", "scipy"))
    assert {"matplotlib", "captum", "timm", "tensorboard", "pyautoattack"} <= set(bounds)


def test_every_requirement_of_a_user_has_a_lower_bound() -> None:
    of_users = [SETUP["options"]["install_requires"]]
    of_users += [
        SETUP["options.extras_require"][name] for name in ("autoattack", "report", "saliency", "tensorboard", "timm")
    ]
    for line in "\n".join(of_users).split("\n"):
        assert not line or re.fullmatch(r"[\w-]+(\[\w+\])? >= [\d.]+", line), line


def test_hooks_before_a_commit_are_those_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    entries = {hook["id"]: hook["entry"] for hook in hooks}
    assert entries["ruff"] == ".venv/bin/ruff check --fix"
    assert entries["ruff-format"] == ".venv/bin/ruff format"
    assert entries["mypy"] == ".venv/bin/mypy"
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(f"$(BIN)/{tool}" in makefile for tool in ("ruff check", "ruff format", "mypy"))
