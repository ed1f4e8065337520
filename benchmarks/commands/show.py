"""``show``: any slice of a result set, on the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry

if TYPE_CHECKING:
    import pandas as pd


def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A result set.")],
    *,
    only: common.Only = None,
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which table; a name that is none lists them.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="So many lines alone.")] = None,
    style: Annotated[
        Literal["text", "csv", "markdown", "latex"], typer.Option("--as", help="How it is written.")
    ] = "text",
) -> None:
    """Print a slice of a result set as a table; nothing is written, except what is damaged is set aside."""
    from farreach.benchmarks.matrix import versions
    from farreach.results.report import contents, slices, terminal, timing_contents
    from farreach.results.storage.files import StoreError
    from farreach.results.storage.sanitising import clean, line

    try:
        results, timed = contents.read(folder, now=versions.current()), timing_contents.read(folder)
    except StoreError as error:
        raise registry.UsageError(str(error)) from error
    there = slices.there(results, timed)
    if not there:
        message = f"no results in {folder}"
        raise registry.UsageError(message)
    name = registry.known("table", table, there) if table is not None else there[0]
    if name in slices.TIMES:
        frame = _narrowed(slices.timed(name, results, timed), only, folder)
    else:
        frame = slices.ROWS[name](_narrowed(results.rows, only, folder))
    frame = slices.shown(frame).head(top or len(frame))
    if style == "text":
        lines, shared = slices.split(slices.texts(frame))
        terminal.show(terminal.grouped(lines, f"{contents.title(results)}: {name}", shared), common.console)
    else:
        sys.stdout.write(clean(slices.written(frame, style)))
    for said in (*results.trouble, *timed.damaged):
        sys.stderr.write(f"{line(said)}\n")


def _narrowed(frame: pd.DataFrame, only: list[str] | None, folder: Path) -> pd.DataFrame:
    """Return the lines that --only leaves."""
    from farreach.benchmarks.matrix import narrowing
    from farreach.results.report import slices

    described = [narrowing.words(values) for values in slices.described(frame)] if only else []
    return frame.iloc[narrowing.kept(described, only, str(folder))] if only else frame
