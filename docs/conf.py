"""How Sphinx builds these pages: MyST for the Markdown, furo for the look, nothing loaded from elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the contracts are read from the code

project = "Farreach"
author = "the Farreach authors"
project_copyright = "the Farreach authors, MIT licence"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("Array", "Weights", "Predict")}
napoleon_use_ivar = True
exclude_patterns = ["_build"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "Farreach"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["style.css"]

_SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
_MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace"
_FONTS = {"font-stack": _SANS, "font-stack--headings": _SANS, "font-stack--monospace": _MONO}
html_theme_options = {"light_css_variables": _FONTS, "dark_css_variables": _FONTS}

_OUTSIDE = re.compile(r"(?<!!)(\[[^\]]*\]\()(\.\./)")


def link_files(app: Any, page: str, source: list[str]) -> None:
    """Make a link to a file outside docs/ bring the file along: MyST takes a Markdown file for a page of its own."""
    del app, page
    source[0] = _OUTSIDE.sub(r"\1path:\2", source[0])


def keep_colons(app: Any, what: str, *rest: Any) -> None:
    """Keep a sentence with a colon whole: napoleon takes what stands before it for a type."""
    del app
    lines: list[str] = rest[-1]
    if what in {"attribute", "data", "property"} and lines:
        lines[0] = lines[0].replace(": ", "; ")


def setup(app: Any) -> None:
    """Connect what is above with the build."""
    app.connect("source-read", link_files)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # before napoleon's
