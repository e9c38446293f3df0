"""How the documentation is built: `make docs`, without a network and with warnings as errors."""

import inspect
import os
from pathlib import Path
from pydoc import locate
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import art_mi

# Pages that are executed share the classifiers of digits.py
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # of tqdm, which needs no widgets here
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

project = "art_mi"
author = copyright = "the authors of art_mi"
version = release = art_mi.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx-mathjax-offline"]
# Notebooks are read from their Markdown halves
exclude_patterns = ["_build", "examples/*.ipynb", "examples/*.py", "examples/README.md"]
html_theme = "furo"
html_title = f"art_mi {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
nb_merge_streams = True  # lines printed one by one make one box
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_render_markdown_format = "myst"  # with tables

default_role = "code"  # docstrings put code between single backticks
nitpicky = True
autoclass_content = "both"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
maximum_signature_line_length = 100


def _undocumented(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of every public name without an entry on some page."""
    described = _described(env)
    for name, value in sorted(_public().items()):
        if id(value) not in described:
            logging.getLogger(__name__).warning("the public name %s has no page", name)


def _described(env: BuildEnvironment) -> dict[int, str]:
    """Names that have an entry, by the functions and classes they stand for: one may be imported from many places."""
    found = {}
    for name, _, kind, *_ in env.get_domain("py").get_objects():
        if kind in ("class", "function"):
            found[id(locate(name))] = name
    return found


def _public() -> dict[str, Any]:
    """Functions and classes that the package and its parts export, by the names of their definitions."""
    modules = [art_mi, *(value for name in art_mi.__all__ if inspect.ismodule(value := getattr(art_mi, name)))]
    return {
        f"{value.__module__}.{value.__qualname__}": value
        for module in modules
        for name, value in inspect.getmembers(module, lambda v: inspect.isclass(v) or inspect.isfunction(v))
        if (name in module.__all__ if hasattr(module, "__all__") else value.__module__ == module.__name__)
        if value.__module__.startswith("art_mi.") and not name.startswith("_")
    }


def _elsewhere(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Element | None:
    """A reference to what has its entry under another name that it is imported by."""
    if node.get("refdomain") != "py" or not (target := node.get("reftarget", "")).startswith("art_mi."):
        return None
    name = _described(env).get(id(locate(target)))
    domain = env.get_domain("py")
    return name and domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, contnode)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("env-updated", _undocumented)
    app.connect("missing-reference", _elsewhere)
    app.extensions["sphinx-mathjax-offline"].parallel_read_safe = True  # it only adds static files, but does not say so
    return {"parallel_read_safe": True}
