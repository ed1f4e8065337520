"""``live-check``: how far ``compare --live`` can be trusted."""

from __future__ import annotations

from typing import Annotated

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry


def live_check(
    *,
    pairs: Annotated[
        int, typer.Option(min=1, help="Live comparisons of one environment with itself; half as many are slowed.")
    ] = 20,
    limit: Annotated[float, typer.Option(help="Seconds that the rounds of a launch may take.")] = 3.0,
    framework: Annotated[str, typer.Option(help="The framework whose training step is timed.")] = "pytorch",
    out: common.Page = None,
) -> None:
    """Measure how often compare --live flags equal environments, and how often it flags an injected slowdown.

    Example: python -m benchmarks live-check --pairs 20 --limit 3 --out live-check.md
    """
    from farreach.benchmarks.speed import pairs as timing
    from farreach.benchmarks.studies import live_check as study
    from farreach.benchmarks.studies import measurement

    registry.require(registry.known("framework", framework, registry.compared()))
    common.check_page(out)
    with common.interruptible():
        frame = study.measure_pairs(framework, pairs, timing.Plan(limit=limit), common.say_line)
        measurement.write_table(
            frame,
            title="live comparisons of equals",
            command=f"python -m benchmarks live-check --pairs {pairs} --limit {limit:g}",
            said=study.summarize_pairs(frame),
            out=out,
        )
