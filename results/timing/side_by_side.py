"""Step times of two sides: environments that were timed side by side, and sets of timings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import comparison, statistics
from farreach.results.analysis.labels import label_learner, label_step
from farreach.results.storage.interface import ResultSet
from farreach.results.timing import files, interleaved

SCHEMA = 1
"""Version of the files."""

FOLDER = "live"

SIDES = ("old", "new")

COLUMNS = ["step", "framework", "speed", "version old", "version new", "runs old", "runs new", "ms old", "ms new"]
COLUMNS += ["new / old", "low", "high", "p"]


def compare_environments(paths: Iterable[Path]) -> comparison.Comparison:
    """Return the speed of two environments; a launch of both counts as one run of each.

    The ratio is the geometric mean over launches of each launch's median ratio over rounds; its interval and its p, of
    a difference beyond `comparison.SPEED_MARGIN`, are Student's, over launches. Raises `DamagedError` where a file is
    damaged.
    """
    rows = [_summarize_launches(files.read_file(path, files.Live, SCHEMA)) for path in paths]
    table = comparison.judge_rows(pd.DataFrame(rows, columns=COLUMNS), "speed", comparison.judge_speed)
    table = table.sort_values(["framework", "step"], ignore_index=True)
    nothing = pd.DataFrame(columns=comparison.QUALITY)
    return comparison.Comparison(nothing, table, [], pd.DataFrame(columns=comparison.WHOLE))


def compare_timings(old: Iterable[ResultSet], new: Iterable[ResultSet]) -> comparison.Comparison:
    """Return the speed of two sides of timing sets; a set that timed a step is one run of it.

    The ratio of a step is that of the medians over runs; it is tested where both sides have `comparison.RUNS` of them,
    as step times of trained cases are. Steps of one side alone are named, and not compared.
    """
    sides = [_read_runs(sets) for sets in (old, new)]
    shared = [step for step in sides[0] if step in sides[1]]
    rows = []
    for step in shared:
        a, b = (np.array(side[step], float) for side in sides)
        times = (a, b)
        row: dict[str, Any] = dict(zip(("step", "framework"), step, strict=True))
        row |= {f"runs {name}": len(at) for name, at in zip(SIDES, times, strict=True)}
        row |= {f"ms {name}": float(np.median(at)) * 1e3 for name, at in zip(SIDES, times, strict=True)}
        if min(map(len, times)) < comparison.RUNS:
            rows.append(row | {"new / old": row["ms new"] / row["ms old"]})
            continue
        test = statistics.compare_geometric_means(a, b, comparison.SPEED_MARGIN)
        rows.append(row | {"new / old": test.ratio, "low": test.low, "high": test.high, "p": test.p})
    table = comparison.judge_rows(pd.DataFrame(rows, columns=COLUMNS), "speed", comparison.judge_speed)
    table = table.sort_values(["framework", "step"], ignore_index=True)
    alone = [
        comparison.Alone(step, name)
        for name, side, other in zip(SIDES, sides, sides[::-1], strict=True)
        for step in side
        if step not in other
    ]
    nothing = pd.DataFrame(columns=comparison.QUALITY)
    return comparison.Comparison(nothing, table, alone, pd.DataFrame(columns=comparison.WHOLE))


def _read_runs(sets: Iterable[ResultSet]) -> dict[tuple[str, str], list[float]]:
    """Return the median seconds of each step and implementation, a value a set."""
    found: dict[tuple[str, str], list[float]] = {}
    for store in sets:
        for group in interleaved.read_groups(store):
            for one in group["contenders"]:
                name = one["loop"] or label_learner(one)
                found.setdefault((label_step(group["step"]), name), []).append(float(np.median(one["seconds"])))
    return found


def _summarize_launches(content: dict[str, Any]) -> dict[str, Any]:
    old, new = ([np.asarray(launch[side], float) for launch in content["launches"]] for side in ("old", "new"))
    logs = np.array([np.median(np.log(b / a)) for a, b in zip(old, new, strict=True)])
    framework = label_learner(content)
    row: dict[str, Any] = {"step": label_step(content["step"]), "framework": framework}
    for side, launches in (("old", old), ("new", new)):
        row |= {f"version {side}": content[side]["framework_version"], f"runs {side}": len(logs)}
        row |= {f"ms {side}": float(np.median([np.median(seconds) for seconds in launches])) * 1e3}
    row["new / old"] = float(np.exp(logs.mean()))
    if len(logs) < comparison.RUNS:
        return row
    test = statistics.compare_mean_ratio(logs, comparison.SPEED_MARGIN)
    return row | {"low": test.low, "high": test.high, "p": test.p}
