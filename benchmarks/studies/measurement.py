"""What a benchmark of the suite itself found: a table, printed, and kept as a page that says where it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from farreach.benchmarks.running import environment
from farreach.results.report import terminal
from farreach.results.report.console import Screen
from farreach.results.report.markdown import code, table

Out = Annotated[Path | None, typer.Option(help="Write the table here too, as Markdown.")]


def tell(frame: pd.DataFrame, *, title: str, command: str, said: str = "", out: Path | None = None) -> None:
    """Print a table of texts and what is said of it; with `out` write both, and where they come from, as Markdown."""
    console = Screen()
    terminal.show(terminal.grouped(frame.astype(str), title), console)
    if said:
        console.print(said, markup=False)
    if out:
        facts = environment.facts()
        place = f"{facts['processor']}, {facts['cores']} cores, commit {facts['commit']}"
        paragraphs = [f"# {title[0].upper()}{title[1:]}", f"Made by {code(command)} on {place}.", said, table(frame)]
        out.write_text("\n\n".join(part for part in paragraphs if part), encoding="utf-8")
