"""``pack``: a result set as a few files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output


def pack(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run, for example results/runs/quick.")],
    *,
    out: Annotated[Path | None, options.make_folder_option("DIR-packed")] = None,
    thin: Annotated[
        bool,
        typer.Option(
            "--thin",
            help="Thin curves of more than 5,000 steps: keep quantiles over each hundredth of the run, the count of "
            "clipped steps and a digest of the whole curve, as published sets do.",
        ),
    ] = False,
) -> None:
    """Pack a result set into a few files, without loss. Every command that reads a result set takes a packed one too.

    Example:
        python -m benchmarks pack results/runs/quick --out results/published/quick
    """
    from farreach.results.publishing import packing

    place = out or folder.with_name(f"{folder.resolve().name}-packed")
    output.print_list(packing.pack_set(folder, place, thin=thin).sentences())
