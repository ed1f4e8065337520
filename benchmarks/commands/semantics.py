"""``semantics``: what the frameworks' own clips do, and what one misplaced epsilon does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals
from farreach.benchmarks.matrix import registry


def semantics(
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the table to this file. Default: results/published/semantics.md.",
            callback=options.settle_path,
        ),
    ] = None,
) -> None:
    """Call the frameworks' own clip functions on small gradients, measure what one misplaced epsilon does, write both.

    Example:
        python -m benchmarks semantics --out semantics.md
    """
    from farreach.benchmarks.studies import clip_semantics_table
    from farreach.results.storage import files

    path = out or registry.PUBLISHED / "semantics.md"
    refusals.check_page(path)
    text = clip_semantics_table.make_table(out.parent / "logs" if out else registry.RUNS / "semantics")
    files.write_text(path, text)
    output.print_line(text)
    output.print_written([path])
