"""Which rows a report leaves out because an older version made them."""

from __future__ import annotations

from collections.abc import Iterable

from farreach.results.analysis.labels import join_words
from farreach.results.analysis.staleness import Stale
from farreach.results.report.phrases import write_count


def write_stale(one: Stale) -> str:
    """Say how many rows of a task are left out, of which version, and which stands now."""
    before, now = _write_versions(one.made_by), _write_versions(one.now)
    return (
        f"{write_count(one.rows, 'row')} of {one.task} left out as stale: made by version {before}; it "
        f"is now {now}, and the same command runs them again."
    )


def _write_versions(made: Iterable[tuple[float, ...]]) -> str:
    return join_words(
        sorted(f"{version:g}.{metric:g} with numerics {numerics:g}" for version, metric, numerics in made)
    )
