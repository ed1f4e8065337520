"""Which rows a report leaves out because an older version made them."""

from __future__ import annotations

from farreach.results.analysis.labels import join_words
from farreach.results.analysis.staleness import Stale
from farreach.results.report.phrases import write_count


def write_stale(one: Stale) -> str:
    """Say how many rows of a task are left out, of which version, and which stands now."""
    before = join_words(sorted(f"{version:g}.{metric:g}" for version, metric in one.made_by))
    return (
        f"{write_count(one.rows, 'row')} of {one.task} left out as stale: made by version {before}; it "
        f"is now {one.now[0]}.{one.now[1]}, and the same command runs them again."
    )
