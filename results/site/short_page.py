"""A page of sentences, tables and pictures whose rows open their facts alone: a comparison's, a history's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.figures import palette
from farreach.results.site import bundle, encoding
from farreach.results.site import tables as lines
from farreach.results.site.charts import Chart
from farreach.results.site.tables import Table
from farreach.results.storage.files import list_files, write_text
from farreach.results.storage.staging import replace_files


@dataclasses.dataclass(frozen=True)
class Short:
    """What such a page shows.

    Attributes:
        name: of the page, NAME.html, of its text twin, NAME.md, and of the folder beside them.
        title: its heading.
        facts: what stands below that.
        sentences: what was found.
        words: what the words of the tables mean.
        tables: the tables.
        charts: the pictures.
        command: what made it.
        points: the sets that a history is of: name, started, commit and more; None on another page.

    """

    name: str
    title: str
    facts: list[str]
    sentences: list[str]
    words: tuple[str, ...]
    tables: list[Table]
    charts: list[Chart]
    command: str
    points: pd.DataFrame | None = None


def write(folder: Path, short: Short) -> list[Path]:
    """Write the page and what lies beside it, return their paths; raise `StoreError` where they cannot be written."""
    points = [] if short.points is None else short.points.to_dict("records")
    data = encoding.encode_tables(short.tables) | {
        "beside": short.name,
        "opens": {},
        "keys": [],
        "shard": 1,
        "points": [f"{row['started']}, {row['commit']}" for row in points],
        "charts": {one.name: one.figure for one in short.charts},
        "colours": {name: look.colour for name, look in palette.LOOKS.items()},
    }
    context: dict[str, Any] = {field.name: getattr(short, field.name) for field in dataclasses.fields(short)}
    context |= {"beside": short.name, "text": f"{short.name}.md", "most": lines.MOST}
    path = folder / f"{short.name}.html"
    with replace_files(folder, {short.name: bundle.BESIDE}) as stage:
        bundle.write_plotly(stage / short.name)
        encoding.write_tables(stage / short.name, short.tables)
        write_text(stage / path.name, bundle.render("short.html.j2", context, data))
    return [path, *list_files(folder / short.name, bundle.BESIDE)]
