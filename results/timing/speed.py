"""Which timings of a set say who is faster: the interleaved ones where there are some, else pytest-benchmark's."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

from farreach.results.timing import interleaved, pytest_benchmark

Method = Literal["interleaved", "pytest-benchmark"]


def compare_pairs(
    timings: pd.DataFrame | None, groups: list[dict[str, Any]], launches: float | None = None
) -> tuple[pd.DataFrame, Method | None]:
    """Return every pair of implementations with its ratio, and how the steps were timed; None where none was.

    Args:
        timings: what `pytest_benchmark.read_benchmarks` returned, or None.
        groups: what `interleaved.read_groups` returned.
        launches: the factor by which two launches of identical code differ, where that is known.

    """
    if groups:
        return interleaved.compare_pairs(groups, launches), "interleaved"
    if timings is None or timings.empty:
        return pd.DataFrame(columns=interleaved.PAIRS), None
    return pytest_benchmark.compare_pairs(timings), "pytest-benchmark"
