"""The import direction and the other rules of the code, read from its syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import art_mi

ROOT = Path(art_mi.__file__).parent
LAYERS = (
    "bounds preprocessing critics copula reading channels codes risk threat intervals results distributions splits "
    "datasets models losses rules interrupts randomness extras files",
    "bridge loaders finished representations gradients",
    "attacks fitting estimation",
    "metrics evaluation trainers saliency",
    "backbone assessment",
    "report",
    "demo cli",
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}
ATTACKS = ("attacks.tensor_attack", "attacks.langevin", "attacks.margin", "attacks.worst_case_mi")
MAY_IMPORT_ART = (
    *("bridge", "models", *ATTACKS),
    *("metrics", "evaluation", "saliency", "trainers", "backbone", "assessment", "demo", "cli"),
)
RESULTS = "art_mi.results.vulnerability"
OFFER_THEIR_REPORT = (RESULTS, "art_mi.results.robustness", "art_mi.results.record")
RANDOMNESS = "art_mi.randomness"  # the one place that seeds the global generators, and puts them back


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}
INNER = [name for name in MODULES if name != "art_mi"]  # the package itself only names what it offers


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _area(module: str) -> str:
    return module.split(".")[1]


def _is_typing_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _nodes(tree: ast.AST, *, in_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node that runs, and whether it runs in a function only; what is there for types only is left out."""
    for child in ast.iter_child_nodes(tree):
        if _is_typing_guard(child):
            continue
        yield child, in_function
        inner = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _nodes(child, in_function=inner)


def _imports(module: str, tree: ast.AST, *, known: set[str] | None = None) -> set[tuple[str, bool]]:
    """Modules imported at run time, and whether inside a function."""
    known = set(MODULES) if known is None else known
    found = set()
    for node, in_function in _nodes(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, in_function) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
                base = package.rsplit(".", node.level - 1)[0]
                source = f"{base}.{source}" if source else base
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                found.add((submodule if submodule in known else source, in_function))
    return found


def _own(module: str) -> set[str]:
    """Modules of this package that a module imports, without the one exception."""
    own = set()
    for name, in_function in _imports(module, _tree(module)):
        offers_its_report = module in OFFER_THEIR_REPORT and in_function and name.split(".")[:2] == ["art_mi", "report"]
        if name.split(".")[0] == "art_mi" and not offers_its_report:
            own.add(name)
    return own


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def _external(module: str) -> set[str]:
    return {name.split(".")[0] for name, _ in _imports(module, _tree(module))}


# --- rules, as functions of a tree, so that they can be shown to bite ---


def _private_model(tree: ast.AST) -> list[str]:
    return [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "_model"]


def _global_seeds(tree: ast.AST) -> list[str]:
    # Reading the global state and putting it back is how ART's attacks, which draw from it, are made repeatable.
    fine = {
        "default_rng",
        "Generator",
        "SeedSequence",
        "BitGenerator",
        "PCG64",
        "get_state",
        "set_state",
        "RandomState",
    }
    found = []
    forks = [n for n in ast.walk(tree) if isinstance(n, ast.With) and "fork_rng" in ast.unparse(n.items[0])]
    restored = {id(node) for fork in forks for node in ast.walk(fork)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        if id(node) in restored and ast.unparse(node) == "torch.default_generator.manual_seed":
            continue  # unlike torch.manual_seed it leaves the accelerators' generators alone
        name = ast.unparse(node)
        if not re.fullmatch(r"[\w.]+", name):  # an attribute of a value, as of a generator
            continue
        legacy = name.startswith(("np.random.", "numpy.random.")) and node.attr not in fine
        if legacy or (name.startswith("torch.") and node.attr in ("manual_seed", "manual_seed_all", "set_rng_state")):
            found.append(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names):
            found.append("import random")
        if isinstance(node, ast.ImportFrom) and node.module in ("random", "numpy.random"):
            found.append(f"from {node.module}")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "manual_seed" for alias in node.names):
            found.append("from torch import manual_seed")
    return found


def _prints(tree: ast.AST) -> list[str]:
    return [name for name, _ in _calls(tree) if name == "print"]


def _code_from_data(tree: ast.AST) -> list[str]:
    found = [name for name, _ in _calls(tree) if name in ("eval", "exec", "builtins.eval", "builtins.exec")]
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [name for name in names if name.split(".")[0] in unsafe]
    for _, call in _calls(tree):
        for keyword in call.keywords:
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                found.append(ast.unparse(call))
    return found


def _unsafe_loads(tree: ast.AST) -> list[str]:
    return [
        ast.unparse(call)
        for name, call in _calls(tree)
        if name == "torch.load"
        and not any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords)
    ]


def _relative_imports(tree: ast.AST) -> list[str]:
    return [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]


# --- imports ---


@pytest.mark.parametrize("module", INNER)
def test_every_module_has_a_place_in_a_layer(module: str) -> None:
    assert _area(module) in RANKS


@pytest.mark.parametrize("module", INNER)
def test_imports_point_to_the_same_layer_or_a_lower_one(module: str) -> None:
    rank = RANKS[_area(module)]
    wrong = {name for name in _own(module) if name == "art_mi" or RANKS[_area(name)] > rank}
    assert not wrong


@pytest.mark.parametrize("module", INNER)
def test_every_imported_module_of_the_package_exists(module: str) -> None:
    assert _own(module) <= set(MODULES)


def test_imports_are_acyclic() -> None:
    order = list(TopologicalSorter({module: _own(module) - {module} for module in MODULES}).static_order())
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("module", OFFER_THEIR_REPORT)
def test_results_offer_their_report_inside_functions_only(module: str) -> None:
    reports = {(name, inside) for name, inside in _imports(module, _tree(module)) if ".report" in name}
    assert reports
    assert all(inside for _, inside in reports)


def _is_border(module: str) -> bool:
    return any(f"{module}.".startswith(f"art_mi.{name}.") for name in MAY_IMPORT_ART)


@pytest.mark.parametrize("module", [m for m in INNER if not _is_border(m)])
def test_art_stays_at_the_border(module: str) -> None:
    assert "art" not in _external(module)


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("art_mi.report")])
def test_only_the_report_draws_and_renders(module: str) -> None:
    assert not _external(module) & {"matplotlib", "jinja2", "markupsafe"}


def test_what_only_an_extra_brings_is_imported_inside_functions_only() -> None:
    imports = {found for module in MODULES for found in _imports(module, _tree(module)) if "tensorboard" in found[0]}
    assert imports == {("torch.utils.tensorboard", True)}


# --- contents ---


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("rule", [_private_model, _global_seeds, _code_from_data, _unsafe_loads, _relative_imports])
def test_rule_holds(module: str, rule: Callable[[ast.AST], list[str]]) -> None:
    if rule is _global_seeds and module == RANDOMNESS:
        assert rule(_tree(module))
        return
    assert rule(_tree(module)) == []


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("art_mi.cli")])
def test_only_the_command_line_prints(module: str) -> None:
    assert _prints(_tree(module)) == []


@pytest.mark.parametrize("module", INNER)
def test_modules_are_named_for_what_they_hold(module: str) -> None:
    vague = {"util", "utils", "helper", "helpers", "config", "common", "misc"}
    assert not vague & {part.strip("_") for part in module.split(".")}


# --- the rules bite ---


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (_private_model, "classifier._model(x)"),
        (_global_seeds, "torch.manual_seed(0)"),
        (_global_seeds, "torch.default_generator.manual_seed(0)"),
        (_global_seeds, "with torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)"),
        (_global_seeds, "torch.cuda.manual_seed_all(0)"),
        (_global_seeds, "np.random.seed(0)"),
        (_global_seeds, "noise = np.random.randn(3)"),
        (_global_seeds, "import random"),
        (_global_seeds, "from torch import manual_seed"),
        (_prints, "def f():\n    print(1)"),
        (_code_from_data, "import pickle"),
        (_code_from_data, "from pickle import loads"),
        (_code_from_data, "eval('1')"),
        (_code_from_data, "exec('1')"),
        (_code_from_data, "np.load(path, allow_pickle=True)"),
        (_unsafe_loads, "torch.load(path)"),
        (_unsafe_loads, "torch.load(path, weights_only=False)"),
        (_relative_imports, "from .bridge import outputs"),
    ],
)
def test_rule_notices_a_breach(rule: Callable[[ast.AST], list[str]], source: str) -> None:
    assert rule(ast.parse(source))


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (_private_model, "classifier.model(x)"),
        (_global_seeds, "torch.Generator().manual_seed(0)"),
        (_global_seeds, "with torch.random.fork_rng(devices=[]):\n    torch.default_generator.manual_seed(0)"),
        (_global_seeds, "np.random.default_rng(0)"),
        (_code_from_data, "model.eval()"),
        (_code_from_data, "np.load(path, allow_pickle=False)"),
        (_unsafe_loads, "torch.load(path, weights_only=True)"),
    ],
)
def test_rule_lets_the_rest_pass(rule: Callable[[ast.AST], list[str]], source: str) -> None:
    assert not rule(ast.parse(source))


def test_imports_are_read_wherever_they_stand() -> None:
    source = (
        "import art\n"
        "from art_mi import bridge\n"
        "from art_mi.results.information import Flag\n"
        "def f():\n    from art_mi.report.card import card\n"
        "if TYPE_CHECKING:\n    import matplotlib\n"
    )
    assert _imports(RESULTS, ast.parse(source)) == {
        ("art", False),
        ("art_mi.bridge", False),
        ("art_mi.results.information", False),
        ("art_mi.report.card", True),
    }
