"""``cluster-cost``: what a cluster gives and costs."""

from __future__ import annotations

from farreach.benchmarks.commands.shared import options, output, refusals, runs


def cluster_cost(*, out: options.Page = None) -> None:
    """Measure the cases per second that 1, 2, 4 and 8 Dask workers on this machine finish.

    On a busy machine the figures are worse, and nothing fails.

    Example:
        python -m benchmarks cluster-cost --out cluster-cost.md
    """
    refusals.require_distributed("cluster-cost")
    from farreach.benchmarks.studies import cluster_cost as study
    from farreach.benchmarks.studies import measurement

    refusals.check_page(out)
    with runs.end_on_interruption():
        frame, sentence = study.measure_workers(output.print_line)
        measurement.write_table(
            frame,
            title="what a cluster gives and costs",
            command="python -m benchmarks cluster-cost",
            sentence=sentence,
            out=out,
        )
