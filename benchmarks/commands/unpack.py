"""``unpack``: a packed set as the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output


def unpack(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a packed set, for example results/published/quick.")
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Write the run folder here; it must be new or empty.", callback=options.settle_path
        ),
    ],
) -> None:
    """Unpack a result set into the folder of a run, one file per case, so that runs can go on in it or be merged.

    Example:
        python -m benchmarks unpack results/published/quick --out results/runs/quick
    """
    from farreach.results.publishing import unpacking

    output.print_list(unpacking.unpack_set(folder, out).sentences())
