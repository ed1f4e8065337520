"""What a set concludes, drawn again from a part of its rows: one kind of processor, or one permuted replicate.

A conclusion is the outcome of an exact test over seeds: which side of a declared contrast does it, whether a cell is
shown to solve a task at a length, what a clip is to the one that it is compared with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

from farreach.results.analysis.contrasts import Winner, judge_contrasts
from farreach.results.analysis.labels import format_parameters, label_length, label_replicate
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CASE, LEARNER, number_places
from farreach.results.analysis.task_verdicts import DEFAULT, Verdict, compare_clips, find_lengths

Found = frozenset[Winner | None] | bool | Verdict


@dataclasses.dataclass(frozen=True)
class Question:
    """What a conclusion is about.

    Attributes:
        kind: ``contrast``, ``length`` (whether a cell solves a task there) or ``clip``.
        task: the task.
        about: the parameters of a contrast, a cell with its length, or a clip.

    """

    kind: Literal["contrast", "length", "clip"]
    task: str
    about: str


@dataclasses.dataclass(frozen=True)
class PartsVerdict:
    """Whether parts of a set conclude the same.

    Attributes:
        parts: what the parts are called.
        same: what at least two parts have enough seeds for, and conclude alike.
        turned: what they conclude differently.
        alone: how many conclusions one part alone has enough seeds for.

    """

    parts: tuple[str, ...]
    same: tuple[Question, ...]
    turned: tuple[Question, ...]
    alone: int


def list_conclusions(rows: Rows) -> dict[Question, Found]:
    """Return what some rows conclude, where they have seeds enough for a test."""
    return dict([*_list_contrasts(rows), *_list_lengths(rows), *_list_clips(rows)])


def _list_contrasts(rows: Rows) -> Iterator[tuple[Question, Found]]:
    """Yield the winner of each declared contrast, in the frameworks that tested it: one, where they agree."""
    for contrast in judge_contrasts(rows):
        tested = [trial.winner for trial in contrast.plain if trial.p is not None]
        if tested:
            about = format_parameters(contrast.parameters, " ")
            yield Question("contrast", contrast.task, about), frozenset(tested)


def _list_lengths(rows: Rows) -> Iterator[tuple[Question, Found]]:
    for task in find_lengths(rows):
        for cell in task.cells:
            drawn = cell.cell if cell.initial == DEFAULT else f"{cell.cell} ({cell.initial})"
            for one in cell.lengths:
                if one.p is not None:
                    yield Question("length", task.task, label_length(drawn, task.parameter, one.length)), one.solves


def _list_clips(rows: Rows) -> Iterator[tuple[Question, Found]]:
    for task in compare_clips(rows):
        for clip in task.clips:
            if clip.verdict not in {Verdict.LISTED, Verdict.PIVOT}:
                yield Question("clip", task.task, clip.label), clip.verdict


def compare_processors(rows: Rows) -> PartsVerdict | None:
    """Return whether each kind of processor concludes the same; None where all rows come from one."""
    kinds = sorted(map(str, rows.frame["processor"].dropna().unique()))
    if len(kinds) < 2:  # noqa: PLR2004
        return None
    return _compare({kind: list_conclusions(rows.select(rows.frame["processor"] == kind)) for kind in kinds})


def compare_replicates(rows: Rows) -> Iterator[PartsVerdict]:
    """Yield for each permuted replicate of a framework whether it concludes what the same cases as drawn do."""
    frame = rows.matched.frame
    same = [name for name in CASE if name in frame and name != "replicate"]
    frame = frame.assign(place=number_places(frame, same))
    for (learner, replicate), part in frame[frame["replicate"] > 0].groupby([LEARNER, "replicate"], observed=True):
        ours = frame[(frame[LEARNER] == learner) & (frame["replicate"] == 0)]
        drawn = ours[ours["place"].isin(part["place"])]
        sides = {str(learner): drawn, label_replicate(int(str(replicate))): part.assign(replicate=0)}
        yield _compare({name: list_conclusions(Rows(side)) for name, side in sides.items()})


def _compare(parts: dict[str, dict[Question, Found]]) -> PartsVerdict:
    questions = [*dict.fromkeys(one for found in parts.values() for one in found)]
    several = {one: {found[one] for found in parts.values() if one in found} for one in questions}
    shared = [one for one in questions if sum(one in found for found in parts.values()) > 1]
    return PartsVerdict(
        parts=tuple(parts),
        same=tuple(one for one in shared if len(several[one]) == 1),
        turned=tuple(one for one in shared if len(several[one]) > 1),
        alone=len(questions) - len(shared),
    )
