"""Many result sets in the order in which they were made: for each row how it went, and where it moved.

Bits are exact: where two sets in a row hold the same case and the same environment and their results differ, the code
between their commits changed them. Times are not: identical code differs from run to run, so a row's step time is said
to have moved only where the largest step between an earlier and a later part of the runs is beyond what shuffled runs
show, and its p-value survives the correction for the number of rows (Holm 1979).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.comparison import CHANGED, IDENTICAL, LEVEL, WORST, add_outcomes, compare_bits
from farreach.results.analysis.labels import join_words
from farreach.results.analysis.rows import label_rows
from farreach.results.analysis.selection import GROUP, LINE, restore_order
from farreach.results.analysis.staleness import Versions, find_stale
from farreach.results.storage.files import StoreError
from farreach.results.storage.sets import list_sets, open_set
from farreach.results.vocabulary import OWN

FEWEST = 8
"""Runs below which no step of the times is looked for."""

SMALLEST = 0.02
"""Shares by which a step time may move without being named."""

MACHINE = ("processor", "cores", "device_name", "jobs", "threads")
"""What must be the same for two runs' step times to be of one series."""

FACTS = [name for name in LINE if name != "path"]
"""The facts of a row that all sets share, beside its labels."""

LINES = [*GROUP, *FACTS, "sets", "seeds", "other seeds", "skill", "skills", "bits", "result moved at"]
LINES += ["skill before", "skill after", "ms", "times", "machines", "times moved near", "new / old", "p", "speed"]

MOVED, STEADY = "moved", "no step found"


@dataclasses.dataclass(frozen=True)
class History:
    """What many sets show.

    Attributes:
        points: one line per set, oldest first: name, started, commit, versions (of the frameworks), rows.
        lines: one line per row: `LINES`. ``skills`` and ``times`` (milliseconds) have one value per set, NaN where it
            has no such row; ``result moved at`` and ``times moved near`` are places in `points`. Skills are of the
            seeds that every set with the row has: ``seeds`` of them; ``other seeds`` that some have are left out.
            ``skill before`` and ``skill after`` are of the seeds of the two sets between which the result moved.

    """

    points: pd.DataFrame
    lines: pd.DataFrame


def read_sets(folders: Sequence[Path], now: Versions | None = None) -> pd.DataFrame:
    """Return the rows of all sets, without stale ones, with the columns ``run`` (its place, from 0) and ``name``.

    Each folder is a result set or holds several. Raises `StoreError` where there are fewer than two.
    """
    parts = []
    for path in dict.fromkeys(path for folder in folders for path in list_sets(folder)):
        rows = open_set(path).rows()
        rows = rows[rows["mode"] != OWN]
        rows = rows if now is None else rows[~find_stale(rows, now)]
        if len(rows):
            parts.append(rows.assign(name=path.resolve().name))
    if len(parts) < 2:  # noqa: PLR2004 - one set has no history
        message = f"a history takes two result sets at least; {join_words(map(str, folders))} has {len(parts)}"
        raise StoreError(message)
    parts.sort(key=lambda rows: (str(rows["started"].min()), str(rows["name"].iloc[0])))
    return pd.concat([rows.assign(run=at) for at, rows in enumerate(parts)], ignore_index=True)


def trace_rows(rows: pd.DataFrame) -> History:
    """Return how each row went over the sets that `read` found."""
    frame = add_outcomes(label_rows(rows).as_drawn.frame)
    frame["mean"] = pd.to_numeric(frame["skill"]).fillna(WORST).clip(lower=WORST)
    frame["ms"] = pd.to_numeric(frame["step_seconds"]) * 1e3
    frame["cores"] = pd.to_numeric(frame["cores_granted"]).fillna(frame["cores"])
    points = pd.DataFrame([_describe_set(part) for _, part in rows.groupby("run", sort=True)])
    count = len(points)
    lines = [
        dict(zip(GROUP, names, strict=True)) | {name: part[name].iloc[0] for name in FACTS} | _trace_line(part, count)
        for names, part in frame.groupby(GROUP, observed=True, sort=True)
    ]
    table = restore_order(pd.DataFrame(lines, columns=LINES), frame)
    table["p"] = statistics.correct_p_values(table["p"].to_numpy(float))
    told = (table["p"] < LEVEL) & (np.abs(np.log(table["new / old"].astype(float))) > np.log1p(SMALLEST))
    table["speed"] = np.where(told, MOVED, np.where(table["p"].isna(), statistics.INCONCLUSIVE, STEADY))
    table.loc[~told, ["times moved near", "new / old"]] = [None, np.nan]
    return History(points, table)


def _describe_set(rows: pd.DataFrame) -> dict[str, object]:
    versions = rows[["framework", "framework_version"]].drop_duplicates().astype(str).agg(" ".join, axis="columns")
    return {
        "name": str(rows["name"].iloc[0]),
        "started": str(rows["started"].min())[:16].replace("T", " "),
        "commit": join_words(sorted({str(commit) for commit in rows["commit"]})),
        "versions": join_words(sorted(versions)),
        "rows": len(rows),
    }


def _trace_line(part: pd.DataFrame, count: int) -> dict[str, object]:
    """Return what one row's sets show, but for what is judged over all rows."""
    by_run = {int(str(run)): rows for run, rows in part.groupby("run", sort=True)}
    shared = _list_shared(by_run.values())
    middle = {run: _average_skill(rows, shared) for run, rows in by_run.items()}
    times = {run: float(rows["ms"].median()) for run, rows in by_run.items()}
    machines = part.groupby("run")[[*MACHINE]].first().astype(str).agg(", ".join, axis="columns").to_dict()
    line: dict[str, object] = {"sets": len(by_run), "machines": len({*machines.values()})}
    line |= {"seeds": len(shared), "other seeds": part["seed"].nunique() - len(shared)}
    line |= {"skill": middle[max(middle)], "ms": times[max(times)]}
    for name, values in (("skills", middle), ("times", times)):
        line[name] = [values.get(at, float("nan")) for at in range(count)]
    runs = list(by_run)
    verdicts = [compare_bits(old, new) for old, new in itertools.pairwise(by_run.values())]
    line["bits"] = next((one for one in (CHANGED, IDENTICAL) if one in verdicts), statistics.INCONCLUSIVE)
    if CHANGED in verdicts:
        last = len(verdicts) - 1 - verdicts[::-1].index(CHANGED)
        line["result moved at"] = runs[last + 1]
        two = [by_run[runs[last]], by_run[runs[last + 1]]]
        before, after = (_average_skill(rows, _list_shared(two)) for rows in two)
        line |= {"skill before": before, "skill after": after}
    newest = [run for run in runs if machines[run] == machines[runs[-1]]]
    seen = np.array([times[run] for run in newest])
    if len(seen) >= FEWEST and np.isfinite(seen).all():
        at, ratio, p = statistics.find_step(seen)
        line |= {"times moved near": newest[at], "new / old": ratio, "p": p}
    return line


def _list_shared(sets: Iterable[pd.DataFrame]) -> set[Any]:
    """Return the seeds that every one of some sets of rows has."""
    return set.intersection(*({*rows["seed"]} for rows in sets))


def _average_skill(rows: pd.DataFrame, seeds: set[Any]) -> float:
    """Return the mean skill of these seeds, each counted once; NaN where there is none."""
    return float(rows[rows["seed"].isin(seeds)].groupby("seed")["mean"].mean().mean())
