"""The five answers at a glance: a sentence of at most 30 words over a grid, for page, report.md and terminal."""

from __future__ import annotations

from typing import Any

import pandas as pd

from farreach.results.analysis.rows import Rows
from farreach.results.report.glances.agreement import glance_at_agreement
from farreach.results.report.glances.base import Glance
from farreach.results.report.glances.clips import glance_at_clips
from farreach.results.report.glances.gradients import glance_at_gradients
from farreach.results.report.glances.lengths import glance_at_lengths
from farreach.results.report.glances.speed import glance_at_speed

__all__ = ["Glance", "glance_at_all"]


def glance_at_all(rows: Rows, pairs: pd.DataFrame, groups: list[dict[str, Any]]) -> list[Glance]:
    """Return an answer at a glance for each question that a set can be asked.

    Args:
        rows: its rows, none where there are none.
        pairs: what `interleaved.compare_pairs` returned.
        groups: its timing files, none where nothing was timed.

    """
    if groups and not len(rows):
        return [glance_at_speed(pairs, groups)]
    looks = (glance_at_lengths, glance_at_clips, glance_at_gradients, glance_at_agreement)
    return [glance_at_speed(pairs, groups), *(look(rows) for look in looks)]
