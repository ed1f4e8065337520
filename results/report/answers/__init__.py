"""The five questions that a result set is asked first, and what its data say to each.

Every answer is a claim with its numbers and intervals, or says what is missing. The page, report.md and the terminal
show the same ones.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from farreach.results.analysis.labels import labelled
from farreach.results.report.answers import solving, speed
from farreach.results.report.answers.agreement import answer_agreement
from farreach.results.report.answers.base import Answer
from farreach.results.report.answers.gradients import answer_gradients
from farreach.results.timing.aa_check import Check

__all__ = ["Answer", "answers"]


def answers(
    rows: pd.DataFrame,
    timed: pd.DataFrame | None = None,
    groups: list[dict[str, Any]] | None = None,
    checked: Check | None = None,
) -> list[Answer]:
    """Return the five answers.

    Args:
        rows: the rows of a store, none where there are none.
        timed: what `speed.load` returned, or None where nothing was timed that way.
        groups: what `timings.read` returned; paired timings come before `timed`.
        checked: the check of the paired timings, where there is one.

    """
    frame = labelled(rows)
    return [
        speed.answer(timed, groups or [], checked.launches if checked else None),
        solving.solved(frame),
        solving.thresholds(frame),
        answer_gradients(frame),
        answer_agreement(frame),
    ]
