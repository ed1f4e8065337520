"""How many seeds solved a task, at each setting, cell and clip.

A seed counts as solved where every framework that ran it solved it: in mode matched they share its weights and
batches, so that another framework is no further evidence about a cell.
"""

from __future__ import annotations

import pandas as pd

from farreach.results.analysis.rows import Rows, cache_on_rows
from farreach.results.analysis.selection import LINE, PLACE, RECIPE, find_length

FACTS = [name for name in LINE if name not in {"framework", "path"}]
COUNTS = [*PLACE, *FACTS, "name", "length", "solved", "seeds", "clip fraction"]
SEEDS = [*PLACE, *FACTS, *RECIPE, "initial", "name", "length", "seed", "solved", "clip fraction", "pivot"]


@cache_on_rows
def list_seeds(rows: Rows) -> pd.DataFrame:
    """Return one line a setting, cell, clip and seed that a verdict counts: whether the seed solved the task there.

    Columns: `PLACE` and the facts of the case; name and length (of the parameter that says how long the dependency
    is), seed, solved, clip fraction (mean over frameworks, 0 to 1), and pivot (whether the suite had declared it as the
    first side of a contrast of solved seeds). Rows of mode native where no others ran.
    """
    frame = (rows.counted if len(rows.counted) else rows.ours.as_drawn).frame
    frame = frame[frame["solved"].notna()]
    if frame.empty:
        return pd.DataFrame(columns=SEEDS)
    pivot = (frame["side"] == 1) & (frame["contrast"] == "solved") if "side" in frame else False
    groups = frame.assign(pivot=pivot).groupby([*PLACE, "seed"], observed=True)
    whole = {"solved": ("solved", "min"), "clip fraction": ("clip_fraction", "mean"), "pivot": ("pivot", "max")}
    each = groups.agg(**whole).reset_index().astype({"solved": bool, "pivot": bool})
    facts = [name for name in (*FACTS, *RECIPE, "initial") if name in frame]
    places = frame.loc[~frame.duplicated(PLACE), [*PLACE, *facts]]
    lengths = [find_length(str(text)) or ("", 0.0) for text in places["parameters"]]
    places = places.assign(name=[name for name, _ in lengths], length=[value for _, value in lengths])
    table = places.merge(each, on=PLACE)
    return table[[name for name in SEEDS if name in table]]


@cache_on_rows
def count_solved(rows: Rows) -> pd.DataFrame:
    """Return for each setting, cell and clip how many seeds solved the task: `list_seeds`, its seeds counted.

    Columns: `PLACE` and the facts of the case, name and length, solved and seeds (counts), clip fraction (mean).
    """
    table = list_seeds(rows)
    if table.empty:
        return pd.DataFrame(columns=COUNTS)
    sums = {"solved": ("solved", "sum"), "seeds": ("seed", "nunique"), "fraction": ("clip fraction", "mean")}
    counts = table.groupby(PLACE, observed=True, sort=False).agg(**sums).reset_index()
    places = table.loc[~table.duplicated(PLACE)].drop(columns=["solved", "clip fraction"])
    counted = places.merge(counts.rename(columns={"fraction": "clip fraction"}), on=PLACE)
    return counted[[name for name in COUNTS if name in counted]]
