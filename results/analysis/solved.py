"""How many seeds solved a task, at each setting, cell and clip.

A seed counts as solved where every framework that ran it solved it: in mode matched they share its weights and
batches, so that another framework is no further evidence about a cell.
"""

from __future__ import annotations

import pandas as pd

from farreach.results.analysis.rows import Rows, cache_on_rows
from farreach.results.analysis.selection import LINE, PLACE, find_length

FACTS = [name for name in LINE if name not in {"framework", "path"}]
COUNTS = [*PLACE, *FACTS, "name", "length", "solved", "seeds", "clip fraction"]


@cache_on_rows
def count_solved(rows: Rows) -> pd.DataFrame:
    """Return for each setting, cell and clip how many seeds solved the task, of those that a verdict counts.

    Columns: `PLACE` and the facts of the case; name and length (of the parameter that says how long the dependency
    is), solved and seeds (counts), and clip fraction (mean, 0 to 1). Rows of mode native where no others ran.
    """
    frame = (rows.counted if len(rows.counted) else rows.ours.as_drawn).frame
    frame = frame[frame["solved"].notna()]
    if frame.empty:
        return pd.DataFrame(columns=COUNTS)
    seeds = frame.assign(solved=frame["solved"].astype(bool)).groupby([*PLACE, "seed"], observed=True, sort=False)
    each = seeds.agg(solved=("solved", "min"), fraction=("clip_fraction", "mean")).reset_index()
    lines = each.groupby(PLACE, observed=True, sort=False)
    counts = lines.agg(solved=("solved", "sum"), seeds=("solved", "size"), fraction=("fraction", "mean")).reset_index()
    facts = [name for name in FACTS if name in frame]
    places = frame.loc[~frame.duplicated(PLACE), [*PLACE, *facts]]
    lengths = [find_length(str(text)) or ("", 0.0) for text in places["parameters"]]
    places = places.assign(name=[name for name, _ in lengths], length=[value for _, value in lengths])
    table = places.merge(counts.rename(columns={"fraction": "clip fraction"}), on=PLACE)
    return table[[name for name in COUNTS if name in table]]
