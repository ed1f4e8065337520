"""The console script ``farreach``: the command line of the suite, which is ``python -m benchmarks`` in a checkout.

The recorders need nothing that the suite needs. So what a command needs is looked up before the suite is imported: it
is what pip wrote down of the extra, and what is missing of it is one line.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Sequence

READING = {"report", "show", "tail", "compare", "history", "pack", "unpack"}
"""The commands that read what is there; all others train, or may."""

REPORT, SUITE = "report", "suite"
"""The extras that the commands need."""


def main() -> None:
    """Run a command; where the packages of its extra are missing, say so in one line, with exit status 2."""
    words = sys.argv[1:]
    extra = choose_extra(words)
    missing = list_missing(extra)
    if missing:
        command = " ".join(["farreach", *words[:1]])
        sys.stderr.write(
            f"error: {command} needs the extra {extra}, of which is not installed: {', '.join(missing)}; in a clone, "
            f"pip install '.[{extra}]'\n"
        )
        sys.exit(2)
    from farreach.benchmarks import __main__ as suite  # noqa: PLC0415 - it needs the packages that were looked up

    suite.main()


def choose_extra(words: Sequence[str]) -> str:
    """Return the extra that the command of these words needs."""
    options = {word.partition("=")[0] for word in words}
    reads = words[:1] == ["advise"] and "--task" not in options
    reads = reads or (bool(words) and words[0] in READING and "--live" not in options)
    return REPORT if reads or not words or words[0].startswith("-") else SUITE


def list_missing(extra: str) -> list[str]:
    """Return the distributions of an extra that are not installed, by name."""
    return sorted(name for name in list_needs(extra) if not _is_installed(name))


def list_needs(extra: str) -> set[str]:
    """Return the distributions that an extra installs, as pip wrote down; none where pip did not install farreach."""
    try:
        lines = importlib.metadata.requires("farreach") or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    needs: set[str] = set()
    for line in lines:
        requirement, _, marker = line.partition(";")
        if re.search(rf"extra\s*==\s*['\"]{extra}['\"]", marker) is None:
            continue
        name, extras = re.match(r"\s*([\w.-]+)(?:\[([\w,\s-]+)\])?", requirement).groups()  # type: ignore[union-attr]
        if name == "farreach":
            needs |= {need for one in extras.split(",") for need in list_needs(one.strip())}
        else:
            needs.add(name)
    return needs


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
