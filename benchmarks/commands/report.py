"""``report``: tables, figures and page of a result set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry


def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A result set.")]) -> None:
    """Write the tables, the figures and the report of a result set."""
    if not any((folder / part).is_dir() for part in ("rows", "timings", "check")):
        message = f"no results in {folder}"
        raise registry.UsageError(message)
    common.told(folder)
