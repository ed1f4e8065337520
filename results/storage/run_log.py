"""What the log of a run must hold, checked when it is read: it may be a stranger's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from farreach.results.storage.files import DamagedError
from farreach.results.storage.sanitising import format_line
from farreach.results.storage.typed_json import Count, parse_typed

LARGEST = 2**24
"""Bytes that a log may have; the longest name thousands of cases that failed."""

Words = Annotated[str, AfterValidator(format_line)]
"""What a framework said, as it may be shown: its own colours are no damage."""

Seconds = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]


class Failed(TypedDict):
    """A case that gave no row."""

    case: NotRequired[Words]
    reason: NotRequired[Words]


class Run(TypedDict):
    """A file of ``runs/``."""

    started: NotRequired[Words]
    command: NotRequired[Words]
    planned: NotRequired[Count]
    done_before: NotRequired[Count]
    finished: NotRequired[Count]
    failed: NotRequired[list[Failed]]
    wall_seconds: NotRequired[Seconds]
    jobs: NotRequired[Count]
    seconds: NotRequired[dict[Words, Seconds]]


def parse_log(text: bytes, path: Path) -> dict[str, Any]:
    """Return what a log holds; raise `DamagedError`, of the file that it is from, where it is none."""
    if len(text) > LARGEST:
        raise DamagedError(path, f"it has {len(text)} bytes, more than {LARGEST}")
    return parse_typed(text, path, Run)
