"""``semantics``: what the frameworks' own clips do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks import plugins
from benchmarks.commands import common


def semantics(
    out: Annotated[Path | None, typer.Option(help="Default: results/published/semantics.md.")] = None,
) -> None:
    """Ask the frameworks' own clip functions what they do, and write the table."""
    from benchmarks import semantics_table

    path = out or plugins.ROOT / "results" / "published" / "semantics.md"
    common.place(path)
    text = semantics_table.text(plugins.ROOT / "results" / "runs" / "semantics")
    common.saved(path, text)
    common.say_line(text)
    common.say_line(f"wrote {path}")
