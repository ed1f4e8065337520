"""``semantics``: what the frameworks' own clips do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry


def semantics(
    out: Annotated[Path | None, typer.Option(help="Default: results/published/semantics.md.")] = None,
) -> None:
    """Ask the frameworks' own clip functions what they do, and write the table."""
    from farreach.benchmarks.studies import clip_semantics_table

    path = out or registry.ROOT / "results" / "published" / "semantics.md"
    common.place(path)
    text = clip_semantics_table.text(registry.RUNS / "semantics")
    common.saved(path, text)
    common.say_line(text)
    common.say_line(f"wrote {path}")
