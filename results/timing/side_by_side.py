"""Two environments timed side by side: what the files of a live comparison say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import comparison, statistics
from farreach.results.analysis.labels import label_learner, label_step
from farreach.results.timing import files

SCHEMA = 1
"""Version of the files."""

FOLDER = "live"

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
