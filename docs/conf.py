"""How the documentation is built: `make docs`, without a network and with warnings as errors."""

import inspect
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import art_mi

project = "art_mi"
author = "the authors of art_mi"
version = release = art_mi.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx-mathjax-offline"]
# Notebooks are read from their Markdown halves
exclude_patterns = ["_build", "examples/*.ipynb", "examples/*.py", "examples/README.md"]
html_theme = "furo"
html_title = f"art_mi {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
nb_merge_streams = True
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True  # lines printed one by one make one box

autodoc_member_order = "bysource"
autodoc_typehints = "none"
maximum_signature_line_length = 100


def _undocumented(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of every public name without an entry on some page."""
    described = {name for name, *_ in env.get_domain("py").get_objects()}
    for name in sorted(_public() - described):
        logging.getLogger(__name__).warning("the public name %s has no page", name)


def _public() -> set[str]:
    """Functions and classes that the package and its parts export, by the names of their definitions."""
    modules = [art_mi, *(value for name in art_mi.__all__ if inspect.ismodule(value := getattr(art_mi, name)))]
    return {
        f"{value.__module__}.{value.__qualname__}"
        for module in modules
        for name, value in inspect.getmembers(module, lambda v: inspect.isclass(v) or inspect.isfunction(v))
        if (name in module.__all__ if hasattr(module, "__all__") else value.__module__ == module.__name__)
        if value.__module__.startswith("art_mi.") and not name.startswith("_")
    }


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("env-updated", _undocumented)
    app.extensions["sphinx-mathjax-offline"].parallel_read_safe = True  # it only adds static files, but does not say so
    return {"parallel_read_safe": True}
