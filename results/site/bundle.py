"""A page out of a template: styles, scripts and data inlined, all else escaped, loading from elsewhere forbidden.

Text of a result set (names, reasons of failures) reaches a page through Jinja's autoescape, or through JSON in which no
tag can close.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from farreach.results.storage import files
from farreach.results.storage.files import StoreError
from farreach.results.storage.sanitising import clean_text

SCRIPTS = ("format", "state", "tables", "panel", "pictures", "page")
"""The page's own scripts, in the order in which they stand in it."""

PLOTLY = "plotly.min.js"
"""The script that lies beside a page, and is loaded when the first picture is about to be seen."""

BESIDE = re.compile(
    r"plotly\.min\.js|curves-\d+\.js|(lines|cases|steps|ratios|whole|quality|speed|rows|claims|tried)\.parquet"
)
"""What may lie beside a page: plotly's script, the curves of cases, and the data of its tables."""

HERE = Path(__file__).parent


def render(template: str, context: dict[str, Any], data: dict[str, Any]) -> str:
    """Return a page.

    Args:
        template: a file in ``templates/``.
        context: what it shows.
        data: what its scripts read.

    """
    script = "\n".join(
        [_wrap_module(read_bundled("itables", "html", "dt_bundle.js").decode()), *map(_read_script, SCRIPTS)]
    )
    styles = read_bundled("itables", "html", "dt_bundle.css").decode() + (HERE / "static" / "style.css").read_text(
        "utf-8"
    )
    ours = {
        "styles": trust(styles),
        "script": trust(script),
        "hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": jinja2.utils.htmlsafe_json_dumps(data, separators=(",", ":"), allow_nan=False),
    }
    loader = jinja2.FileSystemLoader(HERE / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=clean_value
    )
    return environment.get_template(template).render(context | ours)


def write_plotly(folder: Path) -> None:
    """Write plotly's script into the folder beside a page."""
    files.write_file(folder / PLOTLY, lambda part: part.write_bytes(read_plotly()), flush=False)


def read_plotly() -> bytes:
    """Return plotly's own script, which lies beside a page as `PLOTLY`."""
    return read_bundled("plotly", "package_data", PLOTLY)


def read_bundled(package: str, folder: str, name: str) -> bytes:
    """Return a file of an installed package, which is not imported: itables would read a user's files."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        message = f"a page needs the package {package}, which is not installed"
        raise StoreError(message)
    return (Path(spec.origin).parent / folder / name).read_bytes()


def _read_script(name: str) -> str:
    return (HERE / "static" / f"{name}.js").read_text("utf-8")


def clean_value(value: object) -> object:
    """Return a value as a template may show it: text without what a page would obey."""
    return clean_text(value) if type(value) is str else value


def trust(text: str) -> Markup:
    """Return text that Jinja does not escape: our own scripts and styles and those of the libraries, never a set's."""
    return Markup(text)  # noqa: S704


def _wrap_module(source: str) -> str:
    """Return the table library as part of our own script: what it exports as default and as jQuery, by these names.

    A page from the disk may not import a module from a file.
    """
    exported = re.search(r"export\s*\{([^}]*)\};?", source)
    names = dict(re.findall(r"([\w$]+) as (\w+)", exported[1])) if exported else {}
    kept = {name: inner for inner, name in names.items()}
    if exported is None or "jQuery" not in kept:
        message = "the table library exports no jQuery: its version is not the one that constraints.txt names"
        raise StoreError(message)
    body = (source[: exported.start()] + source[exported.end() :]).replace("</script", "<\\/script")
    return f"const jQuery = (() => {{{body}\nreturn {kept['jQuery']};}})();"
