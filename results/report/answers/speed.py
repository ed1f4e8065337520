"""Which framework is faster on what, by how much: from timed training steps, never from the times of a sweep."""

from __future__ import annotations

from typing import Any

import pandas as pd

from farreach.results.analysis.labels import label_learner
from farreach.results.report.answers.base import FASTER, MOST, Answer
from farreach.results.report.speed_sentences import METHOD, describe_step, write_ratio
from farreach.results.timing import ratios
from farreach.results.vocabulary import PROGRAM

Row = dict[str, Any]
Implementation = tuple[str, tuple[str, ...]]
"""A framework, and the path or the paths that it ran the sizes of a cell by."""


def answer_speed(pairs: pd.DataFrame | None) -> Answer:
    """Say for each cell and pair of implementations who is faster by how much; None where no step was timed."""
    if pairs is None:
        missing = f"not known: no training step was timed ({PROGRAM} speed times them)"
        return Answer(FASTER, "", (missing,), missing=True)
    if pairs.empty:
        return Answer(FASTER, "", ("not known: no step was timed in two frameworks",), missing=True)
    sizes = [name for name in ratios.STEP if name in pairs and name != "cell"]
    varying = [name for name in sizes if len(pairs[name].unique()) > 1]
    shared = describe_step(pairs.iloc[0].to_dict(), [name for name in sizes if name not in varying])
    parts = []
    for cell, part in pairs.groupby("cell", sort=False, observed=True):
        rows = [{str(name): value for name, value in row.items()} for row in part.to_dict("records")]
        rows = [row | {"size": describe_step(row, varying)} for row in rows]
        parts.append(f"{cell}: {', '.join(map(_write_pair, _group_pairs(rows)))}")
    known = bool((pairs["verdict"] == ratios.FASTER).any())
    what = f"One training step of {shared}" if shared else "One training step"
    return Answer(FASTER, f"{what} ({METHOD}):", tuple(parts), missing=not known)


def _group_pairs(rows: list[Row]) -> list[list[Row]]:
    """Group the rows of a cell by their two implementations over all sizes, who are added as `winner` and `loser`.

    A framework that ran each size by one path, though not all by the same, is one implementation: ``pytorch (eager or
    flushed)``; one that was timed by several paths at a size is as many.
    """
    runs = {(row["size"], *_get_side(row, side)) for row in rows for side in ("faster", "slower")}
    names: dict[tuple[str, str], Implementation] = {}
    for framework in {framework for _, framework, _ in runs}:
        sizes = [size for size, name, _ in runs if name == framework]
        paths = tuple(sorted({path for _, name, path in runs if name == framework}))
        once = len(set(sizes)) == len(sizes)
        names |= {(framework, path): (framework, paths if once else (path,)) for path in paths}
    groups: dict[tuple[Implementation, ...], list[Row]] = {}
    for row in rows:
        winner, loser = names[_get_side(row, "faster")], names[_get_side(row, "slower")]
        groups.setdefault(tuple(sorted((winner, loser))), []).append(row | {"winner": winner, "loser": loser})
    return list(groups.values())


def _get_side(row: Row, side: str) -> tuple[str, str]:
    return row[f"{side} framework"], row[f"{side} path"]


def _write_pair(rows: list[Row]) -> str:
    """Say who is faster of two, in one cell: at each size, or in short where these are many or all agree."""
    known = [row for row in rows if row["verdict"] == ratios.FASTER]
    won: dict[Implementation, list[Row]] = {}
    for row in known:
        won.setdefault(row["winner"], []).append(row)
    if len(rows) > 1 and len(known) == len(rows) and len(won) == 1:
        winner, loser = _label(rows[0]["winner"]), _label(rows[0]["loser"])
        return f"{winner} is {_write_range(rows)} times as fast as {loser} ({len(rows)} sizes, {_write_ends(rows)})"
    if len(rows) <= MOST:
        return ", ".join((f"at {row['size']} " if row["size"] else "") + write_ratio(row) for row in rows)
    clauses = [
        f"{_label(winner)} is faster than {_label(part[0]['loser'])} at {len(part)} of {len(rows)} sizes "
        f"({_write_range(part)} times, {_write_ends(part)})"
        for winner, part in won.items()
    ]
    unclear = [row for row in rows if row["verdict"] != ratios.FASTER]
    if unclear:
        who = f"{_label(unclear[0]['winner'])} against {_label(unclear[0]['loser'])}"
        clauses.append(f"{who} is inconclusive at {len(unclear)} of {len(rows)} sizes")
    return ", ".join(clauses)


def _label(implementation: Implementation) -> str:
    framework, (*others, last) = implementation
    return label_learner({"framework": framework, "path": f"{', '.join(others)} or {last}" if others else last})


def _write_range(rows: list[Row]) -> str:
    low, high = (f"{end(row['times as fast'] for row in rows):.3g}" for end in (min, max))
    return low if low == high else f"{low} to {high}"


def _write_ends(rows: list[Row]) -> str:
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    return f"every 95 % interval within {low:.3g} to {high:.3g}"
