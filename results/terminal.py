"""The one compact table as the terminal shows it at the end of a run."""

from __future__ import annotations

import pandas as pd
from rich.markup import escape
from rich.table import Table

from results import tables


def summary(rows: pd.DataFrame) -> Table:
    """Return `tables.summary` as a table of rich: each setting's name once, a rule below it."""
    frame = tables.summary(rows)
    table = Table(title="skill, seeds that solved it, share of steps clipped", title_justify="left")
    for name in frame.columns:
        table.add_column(escape(str(name)), overflow="fold")
    before = None
    for row in frame.astype(str).itertuples(index=False):
        case, *rest = row
        if before not in {None, case}:
            table.add_section()
        table.add_row("" if case == before else escape(case), *(escape(cell) for cell in rest))
        before = case
    return table
