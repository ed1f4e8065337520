"""The documents, as tests read them: their texts, their commands and the files and changes that they show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from farreach.benchmarks.matrix import registry

PAGES = sorted((registry.ROOT / "docs").glob("*.md"))
DOCUMENTS = [
    *(registry.ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tasks/data/README.md")),
    registry.ROOT / "results" / "published" / "README.md",
    *PAGES,
]


class Snippet(NamedTuple):
    """A fenced block below the line that names its file: ``diff`` changes that file, all else is the whole of it."""

    path: str
    language: str
    text: str


def read_page(name: str) -> str:
    """Return a page of docs/."""
    return (registry.ROOT / "docs" / f"{name}.md").read_text()


def read_section(name: str, title: str) -> str:
    """Return the part of a page below a heading of the second rank, up to the next one."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", read_page(name), re.DOTALL | re.MULTILINE)
    assert match, title
    return match[1]


def list_snippets(text: str) -> list[Snippet]:
    """Return the files and changes that a text shows."""
    pattern = r"^`([\w./-]+)`:\n\n```(\w+)\n(.*?)^```"
    return [Snippet(*match) for match in re.findall(pattern, text, re.DOTALL | re.MULTILINE)]


def apply_snippets(snippets: list[Snippet], root: Path) -> None:
    """Write the files and make the changes that a text shows in a copy of the project."""
    for snippet in snippets:
        path = root / snippet.path
        if snippet.language != "diff":
            assert not path.exists(), f"{snippet.path} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(snippet.text)
            continue
        text = path.read_text()
        for hunk in re.split(r"^@@.*\n", snippet.text, flags=re.MULTILINE):
            lines = hunk.splitlines()
            old, new = ("".join(f"{line[1:]}\n" for line in lines if line[:1] != sign) for sign in "+-")
            assert text.count(old) == 1, f"{snippet.path} does not hold once:\n{old}"
            text = text.replace(old, new)
        path.write_text(text)


def list_commands(path: Path) -> Iterator[str]:
    """Yield every command line of a document that starts the suite, whether on a line of its own or in a sentence."""
    text = path.read_text()
    yield from (line.strip() for line in re.findall(r"^ {4,6}(python -m benchmarks .*)$", text, re.MULTILINE))
    prose = re.sub(r"^(    |\|)[^\n]*$|```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(found.split()) for found in re.findall(r"`(python -m benchmarks [^`]*)`", prose))
