"""Vanish or explode, at a glance: how far the gradient reaches in each cell as a bar, and the cases with a fault."""

from __future__ import annotations

import math

from farreach.results.analysis.cell_reach import CellReach, measure_cells
from farreach.results.analysis.gradient_faults import Faults, find_faults
from farreach.results.analysis.labels import format_percent
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import sort_words
from farreach.results.analysis.task_verdicts import DEFAULT
from farreach.results.report.answers.base import GRADIENTS
from farreach.results.report.glances.base import Field, Glance, make_grid
from farreach.results.report.phrases import write_count
from farreach.results.vocabulary import CELLS

NOTE = (
    "Bar and figure: reach, the share of the steps before the scored ones over which 1 % of the gradient's norm is "
    "left at the end of training, mean over seeds, without a clip where that ran. Below: the cases of every clip."
)
UNSEEN = "not looked at"


def glance_at_gradients(rows: Rows) -> Glance:
    """Say how many cases vanished, exploded or diverged, over bars of reach."""
    found, cells = find_faults(rows), measure_cells(rows)
    if not found.cases:
        return Glance("gradients", GRADIENTS, "Not known: no case has finished.")
    fields = {(_name_row(one), one.cell): write_field(one) for one in cells}
    heads = sort_words([one.cell for one in cells], CELLS)
    return Glance("gradients", GRADIENTS, write_faults(found), make_grid("task", fields, heads), NOTE)


def write_faults(found: Faults) -> str:
    """Say how many cases have each fault, and how many were not looked at."""
    if not found.probed and not found.faults:
        return f"Not looked at: the gradient through time was measured in none of {write_count(found.cases, 'case')}."
    many = {label: found.labels.get(label, 0) or "none" for label in ("vanishing", "exploding", "diverged")}
    said = f"{many['vanishing']} vanishing, {many['exploding']} exploding, {many['diverged']} diverged"
    rest = "all were looked at" if not found.unprobed else f"{found.unprobed} were not looked at"
    return f"Of {write_count(found.cases, 'case')}: {said}; {rest}."


def write_field(one: CellReach) -> Field:
    """Return what the field of a task and cell says."""
    label = one.fault
    many = (
        f"{label} in {one.labels[label]} of {one.cases}" if label else f"no fault in {write_count(one.cases, 'case')}"
    )
    if not one.probed:
        return Field(UNSEEN, many if label else f"{write_count(one.cases, 'case')}", "fault" if label else "untried")
    if math.isnan(one.reach):
        return Field(UNSEEN, many, "untried")
    spread = f", {format_percent(one.low)} to {format_percent(one.high)}" if one.low < one.high else ""
    return Field(
        format_percent(one.reach),
        f"{many}{spread and '; seeds' + spread[1:]}",
        "fault" if label else "yes",
        share=min(max(one.reach, 0.0), 1.0),
    )


def _name_row(one: CellReach) -> str:
    length = f" {one.name}={one.length:g}" if one.name else ""
    return f"{one.task}{length}" + ("" if one.initial == DEFAULT else f", {one.initial} weights")
