"""``history``: many result sets, in the order in which they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks import plugins
from benchmarks.commands import common


def history(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Result sets, or folders of several.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/history.")] = None,
) -> None:
    """Show how each row went over many result sets, and the commit at which it moved."""
    from benchmarks import versions
    from results import history as histories
    from results import history_report
    from results.files import StoreError
    from results.site import histories as pages

    folder = out or plugins.ROOT / "results" / "runs" / "history"
    common.writable(folder)
    try:
        found = histories.history(histories.read(folders, versions.current()))
        written = history_report.write(folder, found, command=common.command_line())
        written += pages.write(folder, found, command=common.command_line())
    except StoreError as error:
        raise plugins.UsageError(str(error)) from error
    for sentence in histories.sentences(found):
        common.console.print(f"- {sentence}", markup=False)
    common.wrote(written)
