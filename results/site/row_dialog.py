"""The curves of single cases, in script files that the page loads when a row is opened.

A page that was opened from the disk may not fetch a file, but may load a script. Each file holds some cases and hands
them to ``farreach.shard``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import reach
from farreach.results.site import rerun_command
from farreach.results.site.encoding import make_plain, round_number
from farreach.results.storage.columns import COLUMNS
from farreach.results.storage.files import StoreError, write_text
from farreach.results.storage.interface import ResultSet

CASES = 40
"""Cases of one file."""

MOST = 1_000
"""Cases whose curves lie beside the page of a set with more rows than a page holds: the first seeds of every line."""

POINTS = 100
"""A curve of training is drawn by at most so many points, each the median over a stretch of steps."""

TIMES = 120
"""A profile of the gradient through time is drawn by at most so many time steps."""

FIGURES = 3
"""Significant figures of a curve."""


def write_curves(folder: Path, store: ResultSet, runs: pd.DataFrame) -> dict[str, int]:
    """Write the curves of these runs as ``curves-N.js`` and return which file holds which key."""
    also = rerun_command.list_varying(runs)
    places: dict[str, int] = {}
    rows = runs.to_dict("records")
    for number, start in enumerate(range(0, len(rows), CASES)):
        cases = {str(row["key"]): _describe_case(store, row, also) for row in rows[start : start + CASES]}
        text = json.dumps(cases, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        write_text(folder / f"curves-{number}.js", f"farreach.shard({number},{text});\n")
        places |= dict.fromkeys(cases, number)
    return places


def _describe_case(store: ResultSet, row: dict[Any, Any], also: list[str]) -> dict[str, Any]:
    """Return what the panel of one case shows."""
    key = str(row["key"])
    facts = {name: make_plain(row.get(name)) for name in FACTS}
    metrics = {name: make_plain(value) for name, value in row.items() if str(name).startswith("metric.")}
    return {
        "facts": {name: value for name, value in (facts | metrics).items() if value is not None},
        "diagnosis": f"{row['diagnosis']}: {row['finding']}",
        "remarks": row["remarks"],
        "again": rerun_command.write_command(row, also),
        "floor": make_plain(row["floor"]),
        "unit": row.get("unit") or "",
        "evaluations": _read(lambda: _list_columns(store.evaluations(key), ("step", "loss"))),
        "training": _read(
            lambda: _list_columns(_take_medians(store.curves(key)), ("step", "loss", "norm_before", "norm_after"))
        ),
        "flow": _read(lambda: _summarise_flow(store.flow(key), row.get("steps_before"))),
    }


FACTS = [name for name in COLUMNS if name not in {"command", "unit", "floor", "skill"}]


def _read(load: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a file beside the row holds, nothing where it is missing or damaged."""
    try:
        return load()
    except (OSError, StoreError, KeyError, ValueError):
        return {}


def _list_columns(frame: pd.DataFrame, names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {name: _round_numbers(frame[name]) for name in names if name in frame and name != "step"}
    return found | {"step": [int(step) for step in frame["step"]]}


def _take_medians(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the medians of each stretch of steps; what is not finite stays in, so that a divergence shows."""
    width = max(1, -(-len(curves) // POINTS))
    if width == 1:
        return curves
    numbers = curves.select_dtypes("number").astype(float)
    return numbers.groupby(np.arange(len(curves)) // width).median()


def _summarise_flow(seen: pd.DataFrame, before: Any) -> dict[str, Any]:
    """Return the first layer's norms of dL/dh_t and dL/dc_t at start, middle and end of training."""
    if seen.empty:
        return {}
    first = seen[seen["layer"] == 0]
    points = reach.find_points(sorted(set(first["step"])))
    if not points:
        return {}
    times = np.array(sorted(set(first["time"])))
    times = times[:: -(-len(times) // TIMES)]
    found: dict[str, Any] = {"before": make_plain(before), "time": [int(one) for one in times], "steps": points}
    for name in ("h", "c"):
        norms = {point: _read_times(first[first["step"] == step], name, times) for point, step in points.items()}
        if any(one is not None for values in norms.values() for one in values):
            found[name] = norms
    return found


def _read_times(part: pd.DataFrame, name: str, times: np.ndarray) -> list[float | int | None]:
    """Return the norms of one look at these time steps."""
    return _round_numbers(part.set_index("time")[name].astype(float).reindex(times))


def _round_numbers(values: Any) -> list[float | int | None]:
    return [round_number(float(one), FIGURES + 1 if abs(one) >= 1000 else FIGURES) for one in np.asarray(values, float)]  # noqa: PLR2004
