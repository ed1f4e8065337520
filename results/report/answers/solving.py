"""Which cells solve which task up to which length, and at which clip threshold.

A share of seeds stands with its 95 % Clopper-Pearson interval. A seed counts as solved where every framework that ran
it solved it: in mode matched they share its weights and batches, so that another framework is no further evidence about
a cell.
"""

from __future__ import annotations

import math

from farreach.results.analysis.labels import NEVER, describe_clipping, format_metric, format_percent, join_words
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.task_verdicts import (
    ClipCount,
    Count,
    Ranking,
    TaskClips,
    TaskLengths,
    TaskMetric,
    compare_clips,
    find_lengths,
    find_metrics,
)
from farreach.results.report.answers.base import SOLVED, THRESHOLD, Answer
from farreach.results.report.phrases import write_count
from farreach.results.vocabulary import NONE

NOTHING = "not known: no case of a task with a criterion has finished"


def answer_solved(rows: Rows) -> Answer:
    """Say for each task up to which length each cell solved it, at the best of the clips and recipes tried."""
    lengths, metrics = find_lengths(rows), find_metrics(rows)
    if not lengths and not metrics:
        return Answer(SOLVED, "", (NOTHING,), missing=True)
    lead = "By more than half of the seeds (with the 95 % interval of the share), at the best clip and recipe tried:"
    known = any(cell.reached is not None for task in lengths for cell in task.cells)
    known |= any(cell.low > 0 for task in metrics for cell in task.cells)
    parts = (*map(write_lengths, lengths), *map(write_metric, metrics))
    return Answer(SOLVED, lead if lengths else "", parts, missing=not known, verdicts=(*lengths, *metrics))


def answer_thresholds(rows: Rows) -> Answer:
    """Say for each task which clips worked, at the recipe that solved most."""
    verdicts = compare_clips(rows)
    if not verdicts:
        return Answer(THRESHOLD, "", (NOTHING,), missing=True)
    lead = "Seeds that solved it, with the 95 % interval of the share:"
    missing = all(one.ranking is Ranking.UNSOLVED for one in verdicts)
    return Answer(THRESHOLD, lead, tuple(map(write_clips, verdicts)), missing=missing, verdicts=tuple(verdicts))


def write_lengths(one: TaskLengths) -> str:
    """Return up to which length each cell solved a task; cells that never did stand together at the end."""
    parts = []
    never: dict[str, list[str]] = {}
    for cell in one.cells:
        if cell.reached is None:
            tried = ", ".join(f"{length:g}" for length in cell.tried)
            why = f"({tried} tried; at {cell.tried[0]:g} {_count(cell.count)})"
            never.setdefault(why, []).append(cell.cell)
            continue
        notes = [_count(cell.count)]
        notes += [f"not at {', '.join(f'{length:g}' for length in cell.missed)}"] if cell.missed else []
        notes += [f"at {cell.beyond[0]:g} {_count(cell.beyond[1])}"] if cell.beyond else ["the longest tried"]
        parts.append(f"{cell.cell} up to {one.parameter}={cell.reached:g} ({'; '.join(notes)})")
    parts += [f"{join_words(cells)} at no {one.parameter} {why}" for why, cells in never.items()]
    return f"{one.task}: {', '.join(parts)}"


def write_metric(one: TaskMetric) -> str:
    """Return what the headline metric of a task without a criterion is at best, and whether an interval includes 0."""
    metric = format_metric(one.metric)
    if not one.cells:
        return f"{one.task} has no criterion, and its {metric} is missing from every row"
    cells = [
        f"{cell.cell} {cell.value:.2g}" + ("" if math.isnan(cell.low) else f" ({cell.low:.2g} to {cell.high:.2g})")
        for cell in one.cells
    ]
    nothing = [cell.cell for cell in one.cells if cell.low <= 0]
    verdict = f", where the interval of {join_words(nothing)} includes 0" if nothing else ""
    return f"{one.task} has no criterion; its best {metric} with a 95 % interval: {', '.join(cells)}{verdict}"


def write_clips(one: TaskClips) -> str:
    """Return which clips worked on a task, and which of them are better than which others."""
    if one.ranking is Ranking.UNSOLVED:
        tried = ", ".join("no clip" if kind == NONE else label for kind, label in one.tried)
        return f"{one.task}: none of those tried ({tried}), since no cell solved it"
    more = f", {write_count(one.others, 'other recipe')} in the tables" if one.others else ""
    head = f"{one.task} ({one.optimizer} {one.learning_rate:g}{more}): {_write_clips(one.best)}"
    if one.ranking is Ranking.ALONE:
        return f"{head}, the only one tried"
    if one.ranking is Ranking.EQUAL:
        return f"{head}, without a difference"
    better = [f"better than {_write_clips(one.worse)}"] if one.worse else []
    unclear = f"whether better than {_write_clips(one.unclear)} cannot be told from so few seeds" if one.unclear else ""
    return ", ".join([head, *better, *([unclear] if unclear else [])])


def _write_clips(clips: tuple[ClipCount, ...]) -> str:
    """Return ``no clip (4/4 seeds, 51 % to 100 %) and norm 1 (4/4 seeds, 51 % to 100 %; 46 % of steps clipped)``."""
    return join_words(_write_one_clip(one) for one in clips)


def _write_one_clip(one: ClipCount) -> str:
    if one.clip == NONE:
        return f"no clip ({_count(one.count)})"
    share = NEVER if one.fraction == 0 else f"{describe_clipping(one.clip, one.fraction)} of steps clipped"
    return f"{one.label} ({_count(one.count)}; {share})"


def _count(one: Count) -> str:
    low, high = (format_percent(end) for end in one.interval)
    return f"{one.solved}/{one.seeds} seed{'s' if one.seeds > 1 else ''}, {low} to {high}"
