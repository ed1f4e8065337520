"""Pages to read: Markdown and answers at a glance as HTML, without a script, in the look of the other pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jinja2
from markdown_it import MarkdownIt

from farreach.results.figures import palette
from farreach.results.report.glances import Glance
from farreach.results.report.glances.base import SHOWN
from farreach.results.site.bundle import HERE, clean_value, trust

LINKS = (
    ("index.html", "Answers"),
    ("sets/index.html", "Sets"),
    ("claims/index.html", "Published claims"),
    ("certificates.html", "Certificates"),
    ("semantics.html", "Clip semantics"),
    ("docs/index.html", "Documentation"),
)
"""The pages of a site that every page to read links to, from its top."""


@dataclasses.dataclass(frozen=True)
class Found:
    """An answer at a glance, and the set that gives it: its name and the address of its page."""

    glance: Glance
    name: str
    address: str


def render_markdown(title: str, text: str, *, up: str = "") -> str:
    """Return Markdown as a page; `up` leads from it to the top of the site. HTML in the text is shown as text."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _render(title, up, body=trust(body))


def render_front(title: str, lead: str, found: Sequence[Found]) -> str:
    """Return the front page: each answer over the newest set that gives one."""
    return _render(title, "", lead=lead, found=found)


def _render(title: str, up: str, **context: Any) -> str:
    loader = jinja2.FileSystemLoader(HERE / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=clean_value
    )
    ours = {
        "title": title,
        "links": [(f"{up}{address}", name) for address, name in LINKS],
        "styles": trust((HERE / "static" / "style.css").read_text("utf-8")),
        "shown": SHOWN,
        "colours": {name: look.colour for name, look in palette.LOOKS.items()},
    }
    return environment.get_template("reading.html.j2").render(ours | context)
