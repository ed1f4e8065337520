"""The words of a command line: as they were given, and as rows and pages repeat them."""

from __future__ import annotations

import shlex
import sys
from contextvars import ContextVar
from pathlib import Path

from farreach.benchmarks.matrix import registry
from farreach.results.vocabulary import PROGRAM

GIVEN: ContextVar[list[str] | None] = ContextVar("GIVEN", default=None)
"""The words of the command that runs now; None where they are those of the process."""


def split_plugins(words: list[str]) -> tuple[list[str], list[str]]:
    """Return a command without its options ``--plugins DIR``, which may stand anywhere, and their folders."""
    rest: list[str] = []
    folders: list[str] = []
    given = iter(words)
    for word in given:
        option, equals, value = word.partition("=")
        if option != "--plugins":
            rest.append(word)
            continue
        folder = value if equals else next(given, "")
        if not folder:
            message = "--plugins takes a folder"
            raise registry.UsageError(message)
        folders.append(folder)
    return rest, folders


def format_command() -> str:
    """Return the command that was given, as people type it, with its folders of plug-ins at the end.

    Of an absolute path the last part stays: rows are published, and where a machine keeps its files says nothing.
    """
    given = GIVEN.get()
    rest, folders = split_plugins(sys.argv[1:] if given is None else given)
    options = [word for folder in folders for word in ("--plugins", folder)]
    return shlex.join([*PROGRAM.split(), *map(_shorten_path, [*rest, *options])])


def _shorten_path(word: str) -> str:
    option, equals, path = word.partition("=") if "=" in word else ("", "", word)
    return f"{option}{equals}{Path(path).name}" if Path(path).is_absolute() else word
