"""Step times from pytest-benchmark's JSON: medians, and ratios of frameworks, each with its interval."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from farreach.results.analysis import statistics
from farreach.results.analysis.labels import CELLS, FRAMEWORKS, ordered
from farreach.results.storage.files import StoreError
from farreach.results.timing import files

CASE = ["task", "T", "cell", "hidden", "batch", "threads", "device"]
"""What two timings must share to be compared."""

INFO = ["task", "T", "framework", "cell", "hidden", "batch", "path", "threads", "device"]
TIMINGS = [*INFO, "compile_seconds", "framework_version", "seconds"]
STEPS = [*INFO, "step ms", "low ms", "high ms", "rounds", "compile s", "version"]
RATIOS = [*CASE, "faster", "slower", "times as fast", "low", "high", "verdict"]

FILE = "speed.json"

LAUNCHES = 1.06
"""Identical code has been seen to differ by this factor from one launch to the next."""


class SpeedError(Exception):
    """A file that is not pytest-benchmark's JSON of our speed rows; the message is one line."""


def load(path: Path) -> pd.DataFrame:
    """Return one line a benchmark: what was timed, and ``seconds``, the array of seconds a step, one a round."""
    try:
        benchmarks = files.read(path, files.Benchmarks)["benchmarks"]
    except (OSError, StoreError) as error:
        message = f"{path.name} cannot be read as speed rows ({error})"
        raise SpeedError(message) from error
    lines = [
        {name: one["extra_info"][name] for name in TIMINGS[:-1]}
        | {"seconds": np.asarray(one["stats"]["data"], dtype=float)}
        for one in benchmarks
    ]
    timings = pd.DataFrame(lines, columns=TIMINGS)
    timings["cell"] = pd.Categorical(timings["cell"], ordered(timings["cell"], CELLS), ordered=True)
    timings["framework"] = pd.Categorical(timings["framework"], ordered(timings["framework"], FRAMEWORKS), ordered=True)
    return timings.sort_values([*CASE, "framework", "path"], ignore_index=True)


def steps(timings: pd.DataFrame) -> pd.DataFrame:
    """Return the step time of each benchmark in ms: the median over rounds and its 95 % interval."""
    lines = []
    for _, row in timings.iterrows():
        low, high = interval([row["seconds"]])
        times = [np.median(row["seconds"]) * 1e3, low * 1e3, high * 1e3, len(row["seconds"])]
        lines.append([*row[INFO], *times, row["compile_seconds"], row["framework_version"]])
    return pd.DataFrame(lines, columns=STEPS)


def ratios(timings: pd.DataFrame) -> pd.DataFrame:
    """Return for each case and pair of frameworks how many times as fast the faster one is.

    Each framework stands with the path that was fastest there. ``times as fast`` is the slower
    one's median step time over the faster one's, low and high its 95 % bootstrap interval over
    the rounds. The verdict is ``faster`` only where the interval excludes 1 and the ratio is
    beyond what two launches of identical code differ by (`LAUNCHES`), else ``inconclusive``.
    """
    lines = []
    for case, group in timings.groupby(CASE, observed=True):
        medians = group["seconds"].map(np.median)
        best = group.loc[medians.groupby(group["framework"], observed=True).idxmin()]
        for (_, a), (_, b) in itertools.combinations(best.iterrows(), 2):
            fast, slow = sorted((a, b), key=lambda one: float(np.median(one["seconds"])))
            ratio = float(np.median(slow["seconds"]) / np.median(fast["seconds"]))
            low, high = interval([slow["seconds"], fast["seconds"]])
            verdict = "faster" if low > 1 and ratio > LAUNCHES else statistics.INCONCLUSIVE
            lines.append([*case, _runner(fast), _runner(slow), ratio, low, high, verdict])
    return pd.DataFrame(lines, columns=RATIOS)


def timed(timings: pd.DataFrame) -> pd.DataFrame:
    """Return `steps` with a setting and a learner to each line, as the figure of step times wants them."""
    table = steps(timings)
    paths = table.groupby([*CASE, "framework"], observed=True)["path"].transform("nunique") > 1
    torn = table["framework"].isin(table.loc[paths, "framework"])
    name = table["framework"].astype(str)
    table["learner"] = name.where(~torn, name + " (" + table["path"].astype(str) + ")")
    shared = [column for column in ("hidden", "batch", "device", "threads") if len(table[column].unique()) > 1]
    table["setting"] = [
        ", ".join([f"{row['task']} T={row['T']}", *(f"{column} {row[column]}" for column in shared)])
        for _, row in table.iterrows()
    ]
    return table


def interval(samples: list[NDArray[Any]]) -> statistics.Interval:
    """Return the 95 % bootstrap interval of the median of one sample, or of the ratio of two medians.

    Percentile bootstrap, the rounds of each sample resampled on their own; NaN where a sample has
    fewer than `statistics.FEWEST` rounds. The stream is fixed, so that a report made again is the same.
    """
    if min(len(sample) for sample in samples) < statistics.FEWEST:
        return statistics.MISSING
    return statistics.bound_by_bootstrap(samples, _median if len(samples) == 1 else _ratio)


def _median(sample: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    return np.asarray(np.median(sample, axis=axis))


def _ratio(first: NDArray[Any], second: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    return np.asarray(np.median(first, axis=axis) / np.median(second, axis=axis))


def _runner(row: pd.Series[Any]) -> str:
    return f"{row['framework']} ({row['path']})"
