"""What a newcomer reads runs as it stands, in an empty folder where the wheel is installed.

Blocks of shell and of Python run in their order, the Python ones of a page in one session. A block under a comment
`<!-- not run: reason -->` is skipped. A block of text directly below one that ran is what it printed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs/getting-started.md"]
NOT_RUN = {  # everything else runs
    "makes an environment and downloads packages",
    "needs a checkout",
}
TOLERANCE = 0.1, 0.03  # of a number with a fraction or a percent sign, relative and at least; whole numbers are equal
SETTINGS = re.compile(r"\bseed \d")  # a line that says how it was measured is the same
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.M | re.S
)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?%?(?![\w])")
SESSION = """
import contextlib, io, json, sys, traceback
names, real = {"__name__": "__main__"}, sys.stdout
for line in sys.stdin:
    out, failed = io.StringIO(), None
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(json.loads(line), "page", "exec"), names)
        except BaseException:
            failed = traceback.format_exc()
    print(json.dumps([out.getvalue(), failed]), file=real, flush=True)
"""


@dataclass
class Block:
    """A block that runs, and what it prints where the page says so."""

    language: str
    code: str
    line: int
    printed: str | None = None


def blocks(text: str) -> list[Block]:
    """Blocks that run, with the text directly below them."""
    listed: list[Block] = []
    end = None  # of the last one, while nothing stands below it
    for found in BLOCK.finditer(text):
        if found["language"] in ("bash", "python") and not found["reason"]:
            line = text.count("\n", 0, found.start("code"))
            listed.append(Block(found["language"], found["code"], line))
            end = found.end()
        else:
            if found["language"] == "text" and end is not None and not text[end : found.start()].strip():
                listed[-1].printed = found["code"]
            end = None
    return listed


def differences(shown: str, printed: str) -> list[str]:
    """Lines that differ by more than spaces and the tolerance of numbers."""
    lines, others = ([line.split() for line in text.strip().splitlines()] for text in (shown, printed))
    if len(lines) != len(others):
        return [f"{len(lines)} lines are shown, {len(others)} printed:\n{printed}"]
    return [
        f"shown {' '.join(one)!r}, printed {' '.join(other)!r}"
        for one, other in zip(lines, others, strict=True)
        if not _alike(" ".join(one), " ".join(other))
    ]


def _alike(one: str, other: str) -> bool:
    if SETTINGS.search(one):
        return one == other
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    relative, least = TOLERANCE
    for shown, printed in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True):
        a, b = (float(number.rstrip("%")) for number in (shown, printed))
        whole = not re.search(r"[.%]", shown + printed)
        if abs(a - b) > (0 if whole else max(least, relative * abs(a))):
            return False
    return True


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, id="packages of this Python"), pytest.param(True, id="own", marks=pytest.mark.slow)],
)
def newcomer(
    request: pytest.FixtureRequest, archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Environment variables in which `pip` installs the wheel; the packages it needs are those of this Python.

    In the slow case they are installed as a newcomer's are.
    """
    folder = tmp_path_factory.mktemp("newcomer")
    venv.create(folder, with_pip=True)
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    pip = {"FIND_LINKS": str(archives[1].parent)}
    if not request.param:
        paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
        theirs = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        (Path(paths["purelib"]) / "dependencies.pth").write_text("\n".join(theirs))
        pip |= {"NO_INDEX": "1", "NO_DEPS": "1", "IGNORE_INSTALLED": "1"}
    variables |= {f"PIP_{name}": value for name, value in pip.items()}
    variables |= {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "MPLBACKEND": "agg"}
    subprocess.run(["pip", "install", "--quiet", "art-mi"], env=variables, check=True, cwd=folder)
    return variables


@pytest.mark.xdist_group("packaging")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_stands(page: Path, newcomer: dict[str, str], tmp_path: Path) -> None:
    where = "import art_mi; print(art_mi.__file__)"
    python = str(Path(newcomer["PATH"].split(os.pathsep)[0]) / "python")
    found = subprocess.run(
        [python, "-c", where], env=newcomer, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(Path(python).parents[1])
    wrong: list[str] = []
    started = blocks(page.read_text(encoding="utf-8"))
    assert {block.language for block in started} >= {"python"}
    with subprocess.Popen(
        [python, "-c", SESSION], env=newcomer, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdin
        assert session.stdout
        for block in started:
            if block.language == "bash":
                ran = subprocess.run(
                    ["bash", "-e", "-c", block.code], env=newcomer, cwd=tmp_path, capture_output=True, text=True
                )
                printed, failed = ran.stdout, ran.stderr[-2000:] if ran.returncode else None
            else:
                print(json.dumps(block.code), file=session.stdin, flush=True)
                printed, failed = json.loads(session.stdout.readline())
            assert failed is None, f"{page.name}, line {block.line}:\n{failed}"
            if block.printed is not None:
                wrong += [f"line {block.line}: {what}" for what in differences(block.printed, printed)]
    assert wrong == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_has_one_of_few_reasons(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reasons = re.findall(r"<!-- not run: (.+?) -->", text)
    assert set(reasons) <= NOT_RUN
    assert len(reasons) == sum(found["reason"] is not None for found in BLOCK.finditer(text))


# --- the test itself ---

PAGE = """
```bash
echo 0.52
```
```text
0.5
```

<!-- not run: needs a checkout -->
```bash
false
```

```python
x = 1
```

It prints nothing.

```text
1
```
"""


def test_blocks_are_read_with_what_they_print() -> None:
    found = [(block.language, block.code, block.printed) for block in blocks(PAGE)]
    assert found == [("bash", "echo 0.52\n", "0.5\n"), ("python", "x = 1\n", None)]


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("RV 1.03 nats [0.98, 1.11]", "RV  1.05 nats [0.97, 1.12]", True),
        ("RV 1.03 nats", "RV 1.23 nats", False),
        ("ceiling 80%", "ceiling 83%", True),
        ("ceiling 80%", "ceiling 70%", False),
        ("ceiling 0.8019", "ceiling 0.7020", False),
        ("lost 0.05", "lost 0.00", False),
        ("500 samples", "501 samples", False),
        ("seed 0, eps 0.12", "seed 0, eps 0.12", True),
        ("seed 0, eps 0.12", "seed 0, eps 0.13", False),
        ("RV 1.03 nats", "RV 1.03 bits", False),
        ("one\ntwo", "one", False),
    ],
)
def test_numbers_may_differ_a_little_and_words_not_at_all(shown: str, printed: str, alike: bool) -> None:
    assert (differences(shown, printed) == []) == alike
