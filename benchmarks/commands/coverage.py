"""``coverage``: how often the intervals and tests are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import output, refusals, runs
from farreach.benchmarks.matrix import registry


def coverage(
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Simulate ten times as often: half an hour, not minutes.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the table to this file, and every rate to a CSV file beside it. "
            "Default: results/published/coverage.md.",
        ),
    ] = None,
) -> None:
    """Simulate how often every interval and test that a sentence uses is wrong, and write the table.

    The exit status is 1 where any is wrong more often than 6 % of the time.

    Example:
        python -m benchmarks coverage --out coverage.md
    """
    from farreach.benchmarks.running import progress
    from farreach.benchmarks.studies import coverage as study
    from farreach.benchmarks.studies import measurement
    from farreach.results.storage.csv_files import write_csv

    path = out or registry.PUBLISHED / "coverage.md"
    refusals.check_page(path)
    with runs.end_on_interruption():
        with progress.make_bar(output.console) as bar:
            line = bar.add_task("simulations", total=1.0)
            rates = study.measure_rates(10.0 if full else 1.0, hear=lambda share: bar.update(line, completed=share))
        measurement.write_table(
            study.summarize_rates(rates),
            title="how often the intervals and tests are wrong",
            command="python -m benchmarks coverage" + (" --full" if full else ""),
            sentence=study.write_verdict(rates),
            out=path,
        )
        write_csv(path.with_suffix(".csv"), rates)
    output.print_written([path, path.with_suffix(".csv")])
    raise typer.Exit(0 if study.find_broken(rates).empty else 1)
