"""Warnings of a recorder: each once, by the line of the user's own code, and kept for the report."""

from __future__ import annotations

import os
import sys
import sysconfig
import types
import warnings

Line = tuple[str, int]
"""A file and a line number."""

MOST = 20
"""Warnings that a row keeps."""

MOST_FILES = 10_000
"""Names of files of which it is kept whose they are."""

LONGEST = 400
"""Characters of one of them."""


class ClipWarning(UserWarning):
    """A clip or a recording that is not what it seems to be; the message names the line."""


class NoGradientWarning(ClipWarning):
    """A clip that changes nothing, because there is no gradient, an old one or a zero; the message names the line."""


class Warner:
    """Warns once for each message and line of the user's code.

    Attributes:
        texts: what was said, each with the name of its file, without the folder.

    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._said: set[tuple[str, Line]] = set()

    def warn(self, what: str, line: Line | None = None, kind: type[ClipWarning] = ClipWarning) -> None:
        """Warn, as if the line itself did; where none is given, the user's line that is running now."""
        line = line or caller()
        if (what, line) in self._said:
            return
        self._said.add((what, line))
        if len(self.texts) < MOST:
            name = "".join(letter if letter.isprintable() else "?" for letter in os.path.basename(line[0]))  # noqa: PTH119
            self.texts.append(f"{name}:{line[1]}: {what}"[:LONGEST])
        warnings.warn_explicit(f"{line[0]}:{line[1]}: {what}", kind, filename=line[0], lineno=line[1])


def caller() -> Line:
    """Return file and line of the nearest caller in the user's own code.

    That is the nearest that lies neither in this package, nor where libraries are installed, nor in the standard
    library; where there is none, the nearest outside this package.
    """
    outside: Line | None = None
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - what inspect calls, at a third of its cost
    while frame is not None:
        name = frame.f_code.co_filename
        kind = _KINDS.get(name) or _find_kind(name)
        if kind == _USERS:
            return name, frame.f_lineno
        if kind == _LIBRARYS and outside is None:
            outside = name, frame.f_lineno
        frame = frame.f_back
    return outside or ("unknown", 0)


_OURS, _LIBRARYS, _USERS = "ours", "a library's", "the user's"
_KINDS: dict[str, str] = {}
"""Whose each file of code is, as far as it was asked."""


def _find_kind(name: str) -> str:
    kind = _OURS if _is_here(name) else _LIBRARYS if _is_library(name) else _USERS
    if len(_KINDS) < MOST_FILES:  # a notebook has a new file for every cell
        _KINDS[name] = kind
    return kind


def _is_here(name: str) -> bool:
    return os.path.dirname(name) == os.path.dirname(__file__)  # noqa: PTH120 - names of code objects, which are text


def _is_library(name: str) -> bool:
    return name.startswith(_LIBRARIES) or any(f"{os.sep}{part}{os.sep}" in name for part in _PARTS)


_PARTS = ("site-packages", "dist-packages")
_LIBRARIES = ("<frozen", *(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib")))
