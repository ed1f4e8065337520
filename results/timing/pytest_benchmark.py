"""Step times from pytest-benchmark's JSON: medians, and ratios of frameworks, each with its interval."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from farreach.results.analysis import statistics
from farreach.results.analysis.selection import sort_words
from farreach.results.storage.files import StoreError
from farreach.results.storage.interface import ResultSet
from farreach.results.timing import files
from farreach.results.timing.ratios import LAUNCHES, RATIO, describe_pair
from farreach.results.vocabulary import CELLS, FRAMEWORKS

CASE = ["task", "T", "cell", "hidden", "batch", "threads", "device"]
"""What two timings must share to be compared."""

INFO = ["task", "T", "framework", "cell", "hidden", "batch", "path", "threads", "device"]
TIMINGS = [*INFO, "compile_seconds", "framework_version", "seconds"]
STEPS = ["parameters" if name == "T" else name for name in INFO]
STEPS += ["step ms", "low ms", "high ms", "rounds", "compile s", "version"]
PAIRS = ["parameters" if name == "T" else name for name in CASE] + RATIO
"""`STEP` as far as these files say it, and `RATIO`."""

FILE = "speed.json"


def read_benchmarks(store: ResultSet) -> pd.DataFrame | None:
    """Return one row per benchmark of a result set: what was timed, and ``seconds``, one per round.

    None where the set has none. Raises `StoreError` where their file is damaged.
    """
    paths = store.list_documents(FILE)
    if not paths:
        return None
    try:
        benchmarks = files.parse(store.read_document(paths[0]), paths[0], files.Benchmarks)["benchmarks"]
    except (OSError, StoreError) as error:
        message = f"{FILE} cannot be read as speed rows ({error})"
        raise StoreError(message) from error
    lines = [
        {name: one["extra_info"][name] for name in TIMINGS[:-1]}
        | {"seconds": np.asarray(one["stats"]["data"], dtype=float)}
        for one in benchmarks
    ]
    timings = pd.DataFrame(lines, columns=TIMINGS)
    timings["cell"] = pd.Categorical(timings["cell"], sort_words(timings["cell"], CELLS), ordered=True)
    timings["framework"] = pd.Categorical(
        timings["framework"], sort_words(timings["framework"], FRAMEWORKS), ordered=True
    )
    return timings.sort_values([*CASE, "framework", "path"], ignore_index=True)


def list_steps(timings: pd.DataFrame) -> pd.DataFrame:
    """Return the median step time of each line, its 95 % interval in ms, and what was reported apart."""
    rows = []
    for _, row in timings.iterrows():
        times = [value * 1e3 for value in (np.median(row["seconds"]), *bound_medians([row["seconds"]]))]
        facts = [_write_parameters(row) if name == "T" else row[name] for name in INFO]
        rows.append([*facts, *times, len(row["seconds"]), row["compile_seconds"], row["framework_version"]])
    return pd.DataFrame(rows, columns=STEPS)


def compare_pairs(timings: pd.DataFrame) -> pd.DataFrame:
    """Return for each step and pair of frameworks how many times as fast the faster one is.

    Each framework stands with the path that was fastest there. ``times as fast`` is the slower one's median step time
    over the faster one's, low and high its 95 % bootstrap interval over the rounds. Nobody is faster whose ratio is not
    beyond what two launches of identical code differ by (`ratios.LAUNCHES`), since no two steps alternated.
    """
    rows = []
    for case, group in timings.groupby(CASE, observed=True):
        step = dict(zip(PAIRS, case, strict=False)) | {"parameters": _write_parameters(group.iloc[0])}
        medians = group["seconds"].map(np.median)
        best = group.loc[medians.groupby(group["framework"], observed=True).idxmin()]
        for (_, a), (_, b) in itertools.combinations(best.iterrows(), 2):
            fast, slow = sorted((a, b), key=lambda one: float(np.median(one["seconds"])))
            samples = [slow["seconds"], fast["seconds"]]
            ratio = statistics.Estimate(float(np.median(samples[0]) / np.median(samples[1])), *bound_medians(samples))
            rows.append(
                step | describe_pair(fast.to_dict(), slow.to_dict(), ratio, min(map(len, samples)), least=LAUNCHES)
            )
    return pd.DataFrame(rows, columns=PAIRS)


def bound_medians(samples: list[NDArray[Any]]) -> statistics.Interval:
    """Return the 95 % bootstrap interval of the median of one sample, or of the ratio of two medians.

    Percentile bootstrap, the rounds of each sample resampled on their own; NaN where a sample has
    fewer than `statistics.FEWEST` rounds. The stream is fixed, so that a report made again is the same.
    """
    if min(len(sample) for sample in samples) < statistics.FEWEST:
        return statistics.MISSING
    return statistics.bound_by_bootstrap(samples, _median if len(samples) == 1 else _ratio)


def _write_parameters(row: pd.Series[Any]) -> str:
    """Return the parameters of a timing's task as a row has them."""
    return json.dumps({"T": int(row["T"])})


def _median(sample: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    return np.asarray(np.median(sample, axis=axis))


def _ratio(first: NDArray[Any], second: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    return np.asarray(np.median(first, axis=axis) / np.median(second, axis=axis))
