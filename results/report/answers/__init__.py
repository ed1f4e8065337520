"""The five questions that a result set is asked first, and what its data say to each.

Every answer is a claim with its numbers and intervals, or says what is missing. The page, report.md and the terminal
show the same ones.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from farreach.results.analysis.contrasts import ContrastVerdict, find_covered, judge_contrasts
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.tuning import TunedTask, judge_tuning
from farreach.results.report.answers.agreement import answer_agreement
from farreach.results.report.answers.base import GRADIENTS, SOLVED, THRESHOLD, Answer
from farreach.results.report.answers.gradients import answer_gradients
from farreach.results.report.answers.solving import answer_solved, answer_thresholds
from farreach.results.report.answers.speed import answer_speed
from farreach.results.report.contrasts import write_contrast
from farreach.results.report.tuning import write_tuning

__all__ = ["Answer", "answer_all"]


def answer_all(
    rows: Rows,
    pairs: pd.DataFrame | None = None,
) -> list[Answer]:
    """Return the five answers.

    Args:
        rows: the rows of a store, none where there are none.
        pairs: what `interleaved.compare_pairs` returned, None where nothing was timed.

    """
    tuned, declared = judge_tuning(rows), judge_contrasts(rows)
    asked = {_find_question(one) for one in declared}
    decided = find_covered(rows, declared) if SOLVED in asked else set()
    found = [
        answer_speed(pairs),
        _add_tuned(answer_solved(rows.listed if tuned else rows, decided=decided), tuned),
        answer_thresholds(rows, decided=THRESHOLD in asked),
        answer_gradients(rows),
        answer_agreement(rows),
    ]
    return [_open_with(one, [two for two in declared if _find_question(two) == one.question]) for one in found]


def _find_question(one: ContrastVerdict) -> str:
    """Return the question that a contrast answers."""
    if one.outcome == "diverged":
        return GRADIENTS
    return THRESHOLD if one.is_of_clips else SOLVED


def _open_with(answer: Answer, declared: list[ContrastVerdict]) -> Answer:
    """Return an answer that opens with the contrasts that were declared before the run."""
    if not declared:
        return answer
    parts = (*map(write_contrast, declared), *answer.parts)
    missing = answer.missing and not any(trial.winner for one in declared for trial in one.plain)
    return dataclasses.replace(answer, parts=parts, missing=missing, verdicts=(*declared, *answer.verdicts))


def _add_tuned(answer: Answer, tuned: list[TunedTask]) -> Answer:
    """Return the answer of the other rows, if there are any, with what tuned cells solve."""
    if not tuned:
        return answer
    others = Answer(answer.question, "", ()) if not answer.verdicts else answer
    parts = (*others.parts, *map(write_tuning, tuned))
    return dataclasses.replace(others, parts=parts, missing=False, verdicts=(*others.verdicts, *tuned))
