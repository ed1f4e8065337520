"""Which cells solve which task up to which length, and at which clip threshold.

A seed counts once: as solved where every framework that ran it solved it, since in mode matched they share its weights
and batches. What was selected as the best of several tried is said to be, and has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from farreach.results.analysis.labels import (
    NEVER,
    describe_clipping,
    format_metric,
    format_percent,
    join_words,
    label_recipe,
)
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.task_verdicts import (
    DEFAULT,
    CellLengths,
    CellMetric,
    ClipCount,
    Count,
    LengthCount,
    TaskClips,
    TaskLengths,
    TaskMetric,
    Verdict,
    compare_clips,
    find_lengths,
    find_metrics,
)
from farreach.results.report.answers.base import SOLVED, THRESHOLD, Answer
from farreach.results.report.phrases import write_count
from farreach.results.vocabulary import FEWEST_SEEDS, NONE

NOTHING = "not known: no case of a task with a criterion has finished"

LENGTHS = (
    f"Solved by more than half of the seeds, where an exact test from {FEWEST_SEEDS} seeds on shows it at 5 % "
    "(corrected for the clips and recipes tried), from the shortest length on; everything else is listed:"
)
CLIPS = (
    f"Seeds that solved it, compared from {FEWEST_SEEDS} seeds on by Fisher's exact test at 5 % (corrected for the "
    "number of comparisons, Holm) with no clip or what the suite had declared; everything else is listed:"
)


def answer_solved(rows: Rows, *, decided: Collection[str] = ()) -> Answer:
    """Say for each task up to which length each cell is shown to solve it, and what it did at the others.

    Nothing is said here of the tasks that are `decided`: declared contrasts say it.
    """
    lengths = [one for one in find_lengths(rows) if one.task not in decided]
    metrics = [one for one in find_metrics(rows) if one.task not in decided]
    if not lengths and not metrics:
        return Answer(SOLVED, "", () if decided else (NOTHING,), missing=True)
    known = any(cell.reached for task in lengths for cell in task.cells) or any(task.cells for task in metrics)
    parts = (*map(write_lengths, lengths), *map(write_metric, metrics))
    return Answer(SOLVED, LENGTHS if lengths else "", parts, missing=not known, verdicts=(*lengths, *metrics))


def answer_thresholds(rows: Rows, *, decided: bool = False) -> Answer:
    """Say for each task which clips worked, at the recipe that solved most.

    Where a declared contrast compared some (`decided`), or another task has several, a task with one clip says nothing.
    """
    verdicts = compare_clips(rows)
    if not verdicts:
        return Answer(THRESHOLD, "", (NOTHING,), missing=True)
    several = [one for one in verdicts if len(one.tried) > 1 and len(one.clips) != 1]
    verdicts = several if several or decided else verdicts
    missing = not any(one.clips for one in verdicts)
    lead = CLIPS if verdicts else ""
    return Answer(THRESHOLD, lead, tuple(map(write_clips, verdicts)), missing=missing, verdicts=tuple(verdicts))


def write_lengths(one: TaskLengths) -> str:
    """Return up to which length each cell solves a task, and what it did beyond."""
    return f"{one.task}: {', '.join(_write_cell(cell, one.parameter) for cell in one.cells)}"


def write_metric(one: TaskMetric) -> str:
    """Return the headline metric of a task without a criterion: mean and range over seeds, of the best tried."""
    metric = format_metric(one.metric)
    if not one.cells:
        return f"{one.task} has no criterion, and its {metric} is missing from every row"
    return f"{one.task} has no criterion; its {metric}: {', '.join(map(_write_metric, one.cells))}"


def write_clips(one: TaskClips) -> str:
    """Return which clips worked on a task, and what each is to the one that it is compared with."""
    if not one.clips:
        tried = ", ".join("no clip" if kind == NONE else label for kind, label in one.tried)
        return f"{one.task}: none of those tried ({tried}), since no cell solved it"
    more = f", {write_count(one.others, 'other recipe')} in the tables" if one.others else ""
    head = f"{one.task} ({label_recipe(one.recipe)}{more}): "
    listed = one.list_verdict(Verdict.LISTED)
    pivot = one.list_verdict(Verdict.PIVOT)
    alone = ", the only one tried" if len(one.clips) == 1 else ""
    if not pivot:
        return f"{head}{_write_clips(listed)}{alone}"
    words = {Verdict.WORSE: "better than", Verdict.BETTER: "worse than", Verdict.UNCLEAR: "not told apart from"}
    parts = [f"{word} {_write_clips(part)}" for verdict, word in words.items() if (part := one.list_verdict(verdict))]
    parts += [f"beside {_write_clips(listed)}"] if listed else []
    return head + ", ".join([_write_clips(pivot) + alone, *parts])


def _write_cell(cell: CellLengths, parameter: str) -> str:
    reached = cell.reached
    beyond = "; ".join(f"at {one.length:g} {_write_length(one)}" for one in cell.beyond)
    name = cell.cell if cell.initial == DEFAULT else f"{cell.cell} with {cell.initial} weights"
    if reached is None:
        return f"{name} not shown at any {parameter} ({beyond})"
    rest = beyond or ("the longest tried" if len(cell.lengths) > 1 else "the only one tried")
    return f"{name} up to {parameter}={reached.length:g} ({_write_length(reached)}; {rest})"


def _write_length(one: LengthCount) -> str:
    said = _write_count(one.count) + _write_interval(one.interval)
    if one.tried == 1:
        return said
    how = f"best of {one.tried} tried"
    return f"{said}, {how} chosen on the other seeds" if one.halved else f"{said}, {how}"


def _write_metric(one: CellMetric) -> str:
    spread = "" if one.seeds == 1 else f" ({one.least:.2g} to {one.most:.2g})"
    tried = "" if one.tried == 1 else f", best of {one.tried} tried"
    return f"{one.cell} {one.mean:.2g}{spread} over {write_count(one.seeds, 'seed')}{tried}"


def _write_clips(clips: Iterable[ClipCount]) -> str:
    """Return ``no clip (0 of 5 seeds) and norm 1 (5 of 5 seeds; 46 % of steps clipped)``."""
    return join_words(_write_clip(one) for one in clips)


def _write_clip(one: ClipCount) -> str:
    if one.clip == NONE:
        return f"no clip ({_write_count(one.count)})"
    share = NEVER if one.fraction == 0 else f"{describe_clipping(one.clip, one.fraction)} of steps clipped"
    return f"{one.label} ({_write_count(one.count)}; {share})"


def _write_count(one: Count) -> str:
    return f"{one.solved} of {write_count(one.seeds, 'seed')}"


def _write_interval(ends: tuple[float, float]) -> str:
    return "" if math.isnan(ends[0]) else f", 95 % interval {format_percent(ends[0])} to {format_percent(ends[1])}"
