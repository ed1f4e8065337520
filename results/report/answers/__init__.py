"""The five questions that a result set is asked first, and what its data say to each.

Every answer is a claim with its numbers and intervals, or says what is missing. The page, report.md and the terminal
show the same ones.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from farreach.results.analysis.rows import Rows
from farreach.results.report.answers.agreement import answer_agreement
from farreach.results.report.answers.base import Answer
from farreach.results.report.answers.gradients import answer_gradients
from farreach.results.report.answers.solving import answer_solved, answer_thresholds
from farreach.results.report.answers.speed import answer_speed
from farreach.results.timing.aa_check import AATest

__all__ = ["Answer", "answers"]


def answer_all(
    rows: Rows,
    timings: pd.DataFrame | None = None,
    groups: list[dict[str, Any]] | None = None,
    test: AATest | None = None,
) -> list[Answer]:
    """Return the five answers.

    Args:
        rows: the rows of a store, none where there are none.
        timings: what `pytest_benchmark.read_benchmarks` returned, or None where nothing was timed that way.
        groups: what `interleaved.read_groups` returned; interleaved timings come before `timings`.
        test: the A/A test of the interleaved timings, where there is one.

    """
    return [
        answer_speed(timings, groups or [], test.launches if test else None),
        answer_solved(rows),
        answer_thresholds(rows),
        answer_gradients(rows),
        answer_agreement(rows),
    ]
