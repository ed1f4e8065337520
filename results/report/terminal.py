"""Tables and answers as the terminal shows them."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from farreach.results.analysis import tables
from farreach.results.analysis.calibration import Calibration
from farreach.results.analysis.labels import NEVER
from farreach.results.analysis.rows import Rows
from farreach.results.report.answers import Answer
from farreach.results.report.console import Screen
from farreach.results.report.glances import Glance


def render_summary(rows: Rows) -> Table:
    """Return `tabulate_summary` as a table of rich: each setting's name once, a rule below it."""
    return render_groups(
        tables.tabulate_summary(rows).astype(str), "skill, seeds that solved it, share of steps clipped"
    )


def render_groups(frame: pd.DataFrame, title: str, caption: str = "") -> Table:
    """Return a table of texts as a table of rich: what opens several lines once, a rule below them."""
    table = Table(title=escape(title), title_justify="left", caption=escape(caption) or None, caption_justify="left")
    for name in frame.columns:
        table.add_column(escape(str(name)), overflow="fold")
    opens = frame.iloc[:, 0].tolist() if len(frame.columns) > 1 else []
    several = len(set(opens)) < len(opens)
    before = None
    for case, *rest in frame.itertuples(index=False):
        if several and before not in {None, case}:
            table.add_section()
        table.add_row("" if several and case == before else escape(case), *(escape(cell) for cell in rest))
        before = case
    return table


def print_table(table: Table, console: Console) -> None:
    """Print a table; where that is no terminal, in lines as long as it takes to fold no field."""
    if console.is_terminal:
        console.print(table)
    else:
        Screen(file=console.file, width=Screen(width=10_000).measure(table).maximum).print(table)


def render_answers(asked: list[Answer], glances: list[Glance] | None = None) -> Text:
    """Return the answers as text of rich, each below its question, its sentence first; markup in names stays text."""
    text = Text()
    short = {one.question: one.sentence for one in glances or []}
    for one in asked:
        text.append(f"{one.question}\n", style="bold")
        text.append(f"  {short[one.question]}\n" if one.question in short else "")
        lead, *parts = one.lines()
        text.append(f"  {lead}\n")
        text.append("".join(f"  - {part}\n" for part in parts))
    return text


def render_advice(tried: pd.DataFrame, *, clip: str, setting: str) -> Table:
    """Return what an advice tried (`advice.tabulate_tried`) as a table of rich, a rule below each learning rate."""
    frame = tried.drop(columns=["clip", "skill", "recommended"])  # 80 columns, so only what is needed
    frame = frame.replace({NEVER: "never"}).rename(columns={"learning rate": "rate", "threshold": clip})
    table = Table(title=escape(setting), title_justify="left", box=box.SIMPLE, show_edge=False, pad_edge=False)
    for name in frame.columns:
        table.add_column(escape(str(name)), no_wrap=True)
    before = None
    for row, recommended in zip(frame.astype(str).itertuples(index=False), tried["recommended"], strict=True):
        rate, *rest = row
        if before not in {None, rate}:
            table.add_section()
        bold = "bold" if recommended else None
        table.add_row("" if rate == before else escape(rate), *(escape(cell) for cell in rest), style=bold)
        before = rate
    return table


def render_confusion(found: Calibration) -> Table:
    """Return the confusion table of planted cases as a table of rich."""
    table = Table(title="planted (rows) and diagnosed (columns)", title_justify="left")
    for name in found.confusion.columns:
        table.add_column(str(name))
    for row in found.confusion.astype(str).itertuples(index=False):
        table.add_row(*row)
    return table
