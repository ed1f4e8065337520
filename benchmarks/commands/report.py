"""``report``: tables, figures and page of a result set."""

from __future__ import annotations

from farreach.benchmarks.commands.shared import options, refusals, reports


def report(folder: options.ResultSet) -> None:
    """Write the tables, the figures and the report of a result set into its folder.

    Example:
        python -m benchmarks report results/runs/quick
    """
    refusals.check_result_set(folder)
    reports.write_report(folder)
