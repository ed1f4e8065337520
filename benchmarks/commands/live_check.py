"""``live-check``: how far ``compare --live`` can be trusted."""

from __future__ import annotations

from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, runs
from farreach.benchmarks.matrix import registry


def live_check(
    *,
    pairs: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Compare one environment with itself N times, and half as often with a slowed copy of itself.",
        ),
    ] = 20,
    limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Spend at most so long on the rounds of a launch.")
    ] = 3.0,
    framework: options.Framework = "pytorch",
    out: options.Page = None,
) -> None:
    """Measure how often compare --live flags equal environments, and how often it flags an injected slowdown.

    Example:
        python -m benchmarks live-check --pairs 20 --limit 3 --out live-check.md
    """
    from farreach.benchmarks.speed import pairs as timing
    from farreach.benchmarks.studies import live_check as study
    from farreach.benchmarks.studies import measurement

    registry.require_framework(registry.require_name("framework", framework, registry.list_compared()))
    refusals.check_page(out)
    with runs.end_on_interruption():
        frame = study.measure_pairs(framework, pairs, timing.TimingPlan(limit=limit), output.print_line)
        measurement.write_table(
            frame,
            title="live comparisons of equals",
            command=f"python -m benchmarks live-check --pairs {pairs} --limit {limit:g}",
            sentence=study.summarize_pairs(frame),
            out=out,
        )
