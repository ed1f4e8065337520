"""The table that a study of the suite itself makes: printed, and written as a page that says where it was made."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from farreach.benchmarks.running import environment
from farreach.results.report import terminal
from farreach.results.report.console import Screen
from farreach.results.report.markdown import code, table
from farreach.results.report.phrases import write_cores
from farreach.results.storage.files import write_text


def write_table(frame: pd.DataFrame, *, title: str, command: str, sentence: str = "", out: Path | None = None) -> None:
    """Print a table of texts and the sentence `sentence` about it; with `out` write both as Markdown.

    The page names the command that made it, the machine and the commit.
    """
    console = Screen()
    terminal.print_table(terminal.render_groups(frame.astype(str), title), console)
    if sentence:
        console.print(sentence, markup=False)
    if out:
        facts = environment.collect_facts()
        place = f"{facts['processor']}, {write_cores(facts['cores'], facts['cores_granted'])}, commit {facts['commit']}"
        paragraphs = [
            f"# {title[0].upper()}{title[1:]}",
            f"Made by {code(command)} on {place}.",
            sentence,
            table(frame),
        ]
        write_text(out, "\n\n".join(part for part in paragraphs if part))
