"""``own-cost``: what the suite itself costs."""

from __future__ import annotations

from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, refusals, runs


def own_cost(
    *,
    repeats: Annotated[
        int, typer.Option(min=1, metavar="N", help="Measure each figure N times and show the median.")
    ] = 5,
    out: options.Page = None,
) -> None:
    """Measure what the suite itself costs: its commands, the start of a case, large reports.

    Each figure stands beside the seconds that it should stay within. On a busy machine the figures are larger, and
    nothing fails.

    Example:
        python -m benchmarks own-cost --repeats 5 --out own-cost.md
    """
    from farreach.benchmarks.studies import measurement
    from farreach.benchmarks.studies import own_cost as study

    refusals.check_page(out)
    with runs.end_on_interruption():
        frame = study.measure_costs(repeats)
        measurement.write_table(
            frame, title="what the suite itself costs", command="python -m benchmarks own-cost", out=out
        )
