"""Every parameter of what is public is documented, and nothing else is.

Ruff's D417 reads the "Args:" of the command line only, not the `:param name:` of everything else.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import art_mi

Function = ast.FunctionDef | ast.AsyncFunctionDef
PACKAGE = Path(art_mi.__file__).parent
CLASSES = {
    node.name: node
    for path in PACKAGE.rglob("*.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
}


def faults(source: str) -> list[str]:
    """What is undocumented or stale in the public functions, classes and methods of a module."""
    found = []
    for name, given, text in _public(ast.parse(source)):
        arguments = re.findall(r"(?m)^ {4}\**(\w+):", text.partition("Args:\n")[2])
        documented = re.findall(r":param (\w+):", text) + arguments
        found += [f"{name}: `{p}` is not documented" for p in given if p not in documented]
        found += [f"{name}: `{p}` is documented, but no parameter" for p in documented if p not in given]
        found += [f"{name}: `{p}` is documented twice" for p in set(documented) if documented.count(p) > 1]
    return found


def _public(module: ast.Module) -> Iterator[tuple[str, list[str], str]]:
    """Names, parameters and docstrings."""
    for node in module.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, _parameters(node), ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _of_class(node)


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, list[str], str]]:
    text = ast.get_docstring(node) or ""
    methods = {m.name: m for m in node.body if isinstance(m, Function)}
    if any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        yield node.name, [ast.unparse(f.target) for f in node.body if isinstance(f, ast.AnnAssign) and _is_set(f)], text
    elif (made := methods.get("__init__")) is not None:
        yield node.name, _parameters(made)[1:], f"{text}\n{ast.get_docstring(made) or ''}"
    for name, method in methods.items():
        if (name.startswith("_") and name != "__call__") or _is_property(method):
            continue
        said, static = ast.get_docstring(method) or "", "staticmethod" in map(ast.unparse, method.decorator_list)
        given = _parameters(method) if static else _parameters(method)[1:]
        yield f"{node.name}.{name}", given, said + _inherited(name, said)


def _inherited(name: str, said: str) -> str:
    """The docstring that "See :class:`.Other`" points to: that of the same method there."""
    if (other := re.match(r"See :class:`\.?(\w+)`", said)) is None:
        return ""
    (method,) = (m for m in CLASSES[other[1]].body if isinstance(m, Function) and m.name == name)
    return ast.get_docstring(method) or ""


def _is_set(field: ast.AnnAssign) -> bool:
    """Whether a field of a dataclass is a parameter of its constructor."""
    return "init=False" not in ast.unparse(field) and "ClassVar" not in ast.unparse(field.annotation)


def _is_property(method: Function) -> bool:
    return any(re.search(r"property|\.setter", ast.unparse(d)) for d in method.decorator_list)


def _parameters(function: Function) -> list[str]:
    a = function.args
    return [p.arg for p in (*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg) if p is not None]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_parameters_are_documented(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


def test_faults_are_found() -> None:
    source = '''
def f(x, *, y=1, **rest):
    """F.

    :param x: X.
    :param z: Z.
    """

def _private(x): ...

class A:
    """A.

    :param one: One.
    """

    def __init__(self, one, two): ...
    def g(self, x):
        """G."""
    def forward(self, x, z, more):
        """See :class:`.Critic`."""

@dataclass(frozen=True)
class B:
    """B.

    :param field: F.
    :param field: F.
    """

    field: int
    other: int = 0
    kind: str = field(default="b", init=False)

def command(x, y):
    """A command.

    Args:
        x: X.
        z: Z.
    """
'''
    assert faults(source) == [
        "f: `y` is not documented",
        "f: `rest` is not documented",
        "f: `z` is documented, but no parameter",
        "A: `two` is not documented",
        "A.g: `x` is not documented",
        "A.forward: `more` is not documented",
        "B: `other` is not documented",
        "B: `field` is documented twice",
        "command: `y` is not documented",
        "command: `z` is documented, but no parameter",
    ]
