"""The five questions that a result set is asked first, and what its data say to each.

Every answer is a claim with its numbers and intervals, or says what is missing. The page, report.md and the terminal
show the same ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from farreach.results.analysis.contrasts import ContrastVerdict, judge_contrasts
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CLIP
from farreach.results.report.answers.agreement import answer_agreement
from farreach.results.report.answers.base import GRADIENTS, SOLVED, THRESHOLD, Answer
from farreach.results.report.answers.gradients import answer_gradients
from farreach.results.report.answers.solving import answer_solved, answer_thresholds
from farreach.results.report.answers.speed import answer_speed
from farreach.results.report.contrasts import write_contrast
from farreach.results.timing.aa_check import AATest

__all__ = ["Answer", "answers"]


def answer_all(
    rows: Rows,
    groups: list[dict[str, Any]] | None = None,
    test: AATest | None = None,
) -> list[Answer]:
    """Return the five answers.

    Args:
        rows: the rows of a store, none where there are none.
        groups: what `interleaved.read_groups` returned, none where nothing was timed.
        test: the A/A test of the interleaved timings, where there is one.

    """
    found = [
        answer_speed(groups or [], test.factor if test else None),
        answer_solved(rows),
        answer_thresholds(rows),
        answer_gradients(rows),
        answer_agreement(rows),
    ]
    declared = judge_contrasts(rows)
    return [_open_with(one, [two for two in declared if _find_question(two) == one.question]) for one in found]


def _find_question(one: ContrastVerdict) -> str:
    """Return the question that a contrast answers."""
    if one.outcome == "diverged":
        return GRADIENTS
    return THRESHOLD if one.differing == {CLIP} else SOLVED


def _open_with(answer: Answer, declared: list[ContrastVerdict]) -> Answer:
    """Return an answer that opens with the contrasts that were declared before the run."""
    if not declared:
        return answer
    parts = (*map(write_contrast, declared), *answer.parts)
    missing = answer.missing and not any(trial.winner for one in declared for trial in one.plain)
    return dataclasses.replace(answer, parts=parts, missing=missing, verdicts=(*declared, *answer.verdicts))
