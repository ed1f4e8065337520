"""What cells that were tuned with the same budget came to, in words."""

from __future__ import annotations

import math

from farreach.results.analysis.labels import format_parameters, format_percent
from farreach.results.analysis.tuning import TunedCell, TunedTask
from farreach.results.report.phrases import write_count


def write_tuning(one: TunedTask) -> str:
    """Say which share of the seeds each tuned cell solves, and which cells are told apart."""
    where = " ".join(part for part in (one.task, format_parameters(one.parameters, between=" ")) if part)
    judged = one.cells[0].studies[0].seeds
    head = (
        f"{where} in {one.learner}, each cell tuned with the same budget: {write_count(one.recipes, 'drawn recipe')} "
        f"of {one.steps:,} steps per study, chosen on {one.chosen_on} seeds and judged on {judged} others"
    )
    cells = ", ".join(map(_write_cell, one.cells))
    told = [
        f"{first} better than {second} (signs flipped over studies, corrected p = {pair.p:.2g})"
        for pair in one.pairs
        if pair.winner
        for first, second in [(pair.first, pair.second) if pair.winner == 1 else (pair.second, pair.first)]
    ]
    others = [f"{pair.first} and {pair.second}" for pair in one.pairs if pair.p is not None and not pair.winner]
    parts = [cells, *told, *([f"not told apart: {', '.join(others)}"] if others else [])]
    if one.pairs and all(pair.p is None for pair in one.pairs):
        parts.append("too few studies for a test (6 are needed)")
    return f"{head}: {', '.join(parts)}"


def _write_cell(one: TunedCell) -> str:
    share = one.share
    ends = (
        "" if math.isnan(share.low) else f", 95 % interval {format_percent(share.low)} to {format_percent(share.high)}"
    )
    return (
        f"{one.cell} solves a median of {format_percent(share.value)} of them"
        f" ({write_count(len(one.studies), 'study', 'studies')}{ends})"
    )
