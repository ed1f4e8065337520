"""How far, at a glance: the longest length that each cell is shown to solve, and where it stops."""

from __future__ import annotations

import math

from farreach.results.analysis.labels import format_percent
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import sort_words
from farreach.results.analysis.task_verdicts import (
    DEFAULT,
    CellLengths,
    LengthCount,
    TaskLengths,
    find_lengths,
)
from farreach.results.report.answers.base import SOLVED
from farreach.results.report.glances.base import Field, Glance, make_grid, name_places
from farreach.results.report.phrases import write_count
from farreach.results.vocabulary import CELLS, FEWEST_SEEDS

NOTE = (
    "The longest that more than half of the seeds are shown to solve (exact test at 5 %, corrected for what was "
    f"tried), all shorter ones with it; below {FEWEST_SEEDS} seeds nothing is tested. Stops: the next one, which is "
    "not shown."
)


def glance_at_lengths(rows: Rows) -> Glance:
    """Say how far the cells get, over a grid of tasks and cells."""
    tasks = find_lengths(rows.listed)
    if not any(one.cells for one in tasks):
        return Glance("lengths", SOLVED, "Not known: no case of a task with a criterion has finished.")
    fields = {
        (_name_row(task, cell), cell.cell): write_field(cell, task.parameter) for task in tasks for cell in task.cells
    }
    cells = sort_words([cell for _, cell in fields], CELLS)
    return Glance("lengths", SOLVED, write_lengths(tasks), make_grid("task", fields, cells), NOTE)


def write_lengths(tasks: list[TaskLengths]) -> str:
    """Say up to which length cells are shown to solve a task: the longest of each task, at most three by name."""
    places = []
    for task in tasks:
        solved = [(cell.reached.length, cell.cell) for cell in task.cells if cell.reached is not None]
        if solved:
            longest = max(length for length, _ in solved)
            cells = dict.fromkeys(cell for length, cell in solved if length == longest)
            length = f" {task.parameter}={longest:g}" if task.parameter else ""
            places.append(f"{task.task}{length} ({', '.join(cells)})")
    tested = any(one.p is not None for task in tasks for cell in task.cells for one in cell.lengths)
    if not places:
        why = "no cell is shown to solve a task" if tested else f"fewer than {FEWEST_SEEDS} seeds ran, which are listed"
        return f"Not shown: {why}."
    left = len(tasks) - len(places)
    rest = f"; {left} of {write_count(len(tasks), 'task')} by no cell" if left else ""
    return f"Shown to be solved, at the longest: {name_places(places)}{rest}."


def write_field(cell: CellLengths, parameter: str) -> Field:
    """Return what the field of a task and cell says."""
    reached, beyond = cell.reached, cell.beyond
    if not parameter:  # a task of one length
        only = cell.lengths[0]
        if only.solves:
            return Field("solved", _write_count(only), "yes")
        return Field("not shown", _write_count(only), "inconclusive")
    if reached is not None:
        stop = f"stops at {_write_length(beyond[0], parameter)}" if beyond else "the longest tried"
        return Field(f"{parameter}={reached.length:g}", f"{_write_count(reached)}; {stop}", "yes")
    if any(one.p is None for one in cell.lengths):
        return Field("listed", ", ".join(_write_length(one, parameter) for one in cell.lengths[:3]), "inconclusive")
    none = all(one.count.solved == 0 for one in cell.lengths)
    first = _write_length(beyond[0], parameter)
    return Field("none", f"stops at {first}", "no") if none else Field("not shown", first, "inconclusive")


def _write_length(one: LengthCount, parameter: str) -> str:
    return f"{parameter}={one.length:g}: {_write_count(one)}"


def _write_count(one: LengthCount) -> str:
    seeds = f"{one.count.solved}/{one.count.seeds}"
    low, high = one.interval
    if math.isnan(low):
        return f"{seeds}, best of {one.tried} tried" if one.tried > 1 and not one.halved else seeds
    return f"{seeds} ({format_percent(low)} to {format_percent(high)})"


def _name_row(task: TaskLengths, cell: CellLengths) -> str:
    return task.task if cell.initial == DEFAULT else f"{task.task}, {cell.initial} weights"
