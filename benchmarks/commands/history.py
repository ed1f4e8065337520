"""``history``: many result sets, in the order in which they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry


def history(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Result sets, or folders of several.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/history.")] = None,
) -> None:
    """Show how each row went over many result sets, and the commit at which it moved."""
    from farreach.benchmarks.matrix import versions
    from farreach.results.analysis import history as histories
    from farreach.results.report import history as history_report
    from farreach.results.site import history_page as pages
    from farreach.results.storage.files import StoreError

    folder = out or registry.RUNS / "history"
    common.writable(folder)
    try:
        found = histories.history(histories.read(folders, versions.current()))
        written = history_report.write(folder, found, command=common.command_line())
        written += pages.write(folder, found, command=common.command_line())
    except StoreError as error:
        raise registry.UsageError(str(error)) from error
    for sentence in histories.sentences(found):
        common.console.print(f"- {sentence}", markup=False)
    common.wrote(written)
