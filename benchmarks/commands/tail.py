"""``tail``: where the user's own runs are, while they train."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals
from farreach.benchmarks.matrix import registry


def tail(
    folder: options.ResultSet,
    *,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Show the last N steps of each run.")] = 5,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show them again whenever there are new ones, until Ctrl-C.")
    ] = False,
) -> None:
    """Show the last recorded steps of your own runs, with what their recorders warned of. Nothing is written.

    Example:
        python -m benchmarks tail results/runs/mine --steps 3
    """
    from farreach.results.analysis.rows import label_rows
    from farreach.results.report import own_runs
    from farreach.results.storage.sets import open_set

    refusals.check_result_set(folder)
    before: list[str] = []
    try:
        while True:
            store = open_set(folder)
            lines = own_runs.write_tails(label_rows(store.rows()), store.curves, steps)
            if not lines:
                message = f"no run of your own in {folder}"
                raise registry.UsageError(message)
            if lines != before:
                output.print_list(lines)
            if not follow:
                return
            before = lines
            time.sleep(1)
    except KeyboardInterrupt:
        return
