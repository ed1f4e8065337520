"""``history``: many result sets, in the order in which they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, words
from farreach.benchmarks.matrix import registry


def history(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders of result sets, or folders that hold several of them."),
    ],
    *,
    out: Annotated[Path | None, options.make_folder_option("results/runs/history")] = None,
) -> None:
    """Show how each row changed over many result sets, and at which commit.

    Example:
        python -m benchmarks history results/runs/nightly-1 results/runs/nightly-2
    """
    from farreach.benchmarks.matrix import versions
    from farreach.results.analysis import history as histories
    from farreach.results.report import history as history_report
    from farreach.results.site import history_page as pages
    from farreach.results.storage import files

    folder = out or registry.RUNS / "history"
    files.require_writable(folder)
    changes = histories.trace_rows(histories.read_sets(folders, versions.collect_versions()))
    paths = history_report.write_page(folder, changes, command=words.format_command())
    paths += pages.write(folder, changes, command=words.format_command())
    output.print_list(history_report.write_findings(changes))
    output.print_written(paths)
