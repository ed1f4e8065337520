"""What a command prints, and how it ends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.markup import escape

from farreach.results.report.console import Screen

if TYPE_CHECKING:
    from farreach.benchmarks.running import sweep

console = Screen()


def print_line(text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False)


def print_list(sentences: Iterable[str]) -> None:
    """Print sentences as a list."""
    for sentence in sentences:
        print_line(f"- {sentence}")


def print_written(paths: list[Path]) -> None:
    """Print which files were written, one line per folder."""
    for parent in dict.fromkeys(path.parent for path in paths):
        names = [path.name for path in paths if path.parent == parent]
        few = names if len(names) <= 3 else [f"{len(names)} files"]  # noqa: PLR2004 - names that fit a line
        print_line(f"wrote {parent}/: {', '.join(few)}")


def print_failures(lines: Iterable[str]) -> None:
    """Print a line for each thing that failed."""
    for line in lines:
        console.print(f"[red]failed[/red] {escape(line)}")


def end_run(failed: list[sweep.Failure], *, told: bool = True) -> NoReturn:
    """Name the cases that failed and end the command, with status 1 where there are any, or the run is not `told`."""
    print_failures(f"{failure.case.label()}: {failure.reason}" for failure in failed)
    raise typer.Exit(1 if failed or not told else 0)
