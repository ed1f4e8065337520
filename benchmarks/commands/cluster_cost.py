"""``cluster-cost``: what a cluster gives and costs."""

from __future__ import annotations

from farreach.benchmarks.commands import options, output, refusals, runs
from farreach.benchmarks.matrix import registry


def cluster_cost(*, out: options.Page = None) -> None:
    """Measure the cases per second that 1, 2, 4 and 8 Dask workers on this machine finish.

    On a busy machine the figures are worse, and nothing fails.

    Example:
        python -m benchmarks cluster-cost --out cluster-cost.md
    """
    if registry.installed("distributed") is None:
        message = "cluster-cost needs the package distributed, which is not installed"
        raise registry.UsageError(message)
    from farreach.benchmarks.studies import cluster_cost as study
    from farreach.benchmarks.studies import measurement

    refusals.check_page(out)
    with runs.end_on_interruption():
        frame, said = study.measure_workers(output.print_line)
        measurement.write_table(
            frame,
            title="what a cluster gives and costs",
            command="python -m benchmarks cluster-cost",
            said=said,
            out=out,
        )
