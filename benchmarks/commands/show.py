"""``show``: any slice of a result set, on the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from farreach.benchmarks.commands.shared import options, output
from farreach.benchmarks.matrix import registry

if TYPE_CHECKING:
    import pandas as pd


def show(
    folder: options.ResultSet,
    *,
    only: options.Only = None,
    table: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Print this table instead of the first; with an unknown NAME all tables are listed."
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help="Show only the first N rows.")] = None,
    style: Annotated[
        Literal["text", "csv", "markdown", "latex"], typer.Option("--as", help="Print the table in this format.")
    ] = "text",
) -> None:
    """Print a slice of a result set as a table. Nothing is written, but damaged files are set aside.

    Example:
        python -m benchmarks show results/published/quick --only cell=gru --top 10 --as csv
    """
    from farreach.benchmarks.matrix import versions
    from farreach.results.analysis.tables import show_parameters
    from farreach.results.report import contents, slices, terminal
    from farreach.results.storage.sanitising import clean_text, format_line

    results = contents.read_results(folder, now=versions.collect_versions())
    tables = slices.list_tables(results)
    if not tables:
        message = f"no results in {folder}"
        raise registry.UsageError(message)
    table = slices.ALSO.get(table, table) if table is not None else None
    name = registry.require_name("table", table, tables) if table is not None else tables[0]
    if name in slices.TIMES:
        frame = slices.tabulate_timed(name, results)
        frame = show_parameters(frame[_choose_rows(frame, only, folder)])
    else:
        chosen = results.rows.select(_choose_rows(results.rows.frame, only, folder))
        frame = slices.ROWS[name](chosen, results.timed.step_times)
    frame = slices.drop_known(frame).head(top or len(frame))
    if style == "text":
        lines, shared = slices.split_shared(slices.format_cells(frame))
        terminal.print_table(
            terminal.render_groups(lines, f"{contents.name_report(results)}: {name}", shared), output.console
        )
    else:
        sys.stdout.write(clean_text(slices.write_lines(frame, style)))
    for trouble in (*results.trouble, *results.timed.damaged):
        sys.stderr.write(f"{format_line(trouble)}\n")


def _choose_rows(frame: pd.DataFrame, only: list[str] | None, folder: Path) -> pd.Series[bool]:
    """Return which rows --only leaves."""
    import pandas as pd

    from farreach.benchmarks.matrix import narrowing
    from farreach.results.report import slices

    chosen = pd.Series(data=not only, index=frame.index)
    if only:
        described = [narrowing.to_words(values) for values in slices.describe_lines(frame)]
        chosen.iloc[narrowing.find_matches(described, only, str(folder))] = True
    return chosen
