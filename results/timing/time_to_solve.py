"""Time to solve: the steps that a task took, times the seconds of a step as it was timed in alternation.

Which framework is faster, and at which setting fewer steps are needed, is one number here. A seed that did not solve
its task took longer than it was trained: it counts as infinitely many steps. Compiling and evaluating are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import GROUP
from farreach.results.analysis.statistics import Estimate
from farreach.results.timing.interleaved import list_step
from farreach.results.timing.ratios import IMPLEMENTATION, LAUNCHES, STEP
from farreach.results.vocabulary import MATCHED

USUAL = {"activation": "tanh", "mode": MATCHED}
"""What a timing is of that does not say, beside the facts of `STEP`."""

COST = [*(name for name in STEP if name != "initial"), *USUAL, *IMPLEMENTATION]
"""What the time of a step depends on, in the words of a case; how weights begin is no part of a step."""

TIMES = ["seconds to solve", "seconds low", "seconds high", "seconds trained"]
"""The columns that `add_times` adds."""

StepTimes = Mapping[tuple[Any, ...], Estimate]


def list_step_times(groups: list[dict[str, Any]], launches: float | None = None) -> StepTimes:
    """Return the seconds of each step that was timed, by `COST`, with an interval that launches are part of."""
    found: dict[tuple[Any, ...], Estimate] = {}
    for group in groups:
        step = USUAL | group["step"] | list_step(group)
        for one in group["contenders"]:
            if not one["loop"]:
                facts = step | {name: one[name] for name in IMPLEMENTATION}
                seconds = statistics.estimate_ratio(one["seconds"], 1.0)
                widened = statistics.widen_ratio(seconds, launches or LAUNCHES)
                found.setdefault(tuple(facts[name] for name in COST), widened)
    return found


def add_times(table: pd.DataFrame, rows: Rows, times: StepTimes) -> pd.DataFrame:
    """Return a table that has a line a setting, cell, clip and learner with `TIMES` behind its steps to solve.

    The time to solve is the median over seeds; infinite where half of them or more did not solve their task, NaN where
    none has a criterion or no such step was timed. Low and high: the ends of a 95 % interval of both, the median's and
    the step's, from `statistics.FEWEST_PAIRS` seeds on; below, the range over seeds with the ends of the step's.
    Seconds trained is what a seed that solved nothing was trained for at least. A table of a set without timings is
    returned as it is.
    """
    if not times:
        return table
    lines = [_time_line(part, times) for _, part in rows.as_drawn.frame.groupby(GROUP, observed=True)]
    added = pd.DataFrame(lines, columns=TIMES, index=table.index)
    at = table.columns.get_loc("steps to solve") + 1  # type: ignore[operator]
    return pd.concat([table.iloc[:, :at], added, table.iloc[:, at:]], axis="columns")


def time_cases(frame: pd.DataFrame, times: StepTimes) -> pd.DataFrame:
    """Return the first three of `TIMES` for each case, under the frame's index; NaN where it solved nothing."""
    seconds = [times.get(tuple(line)) or Estimate(*[np.nan] * 3) for line in frame[COST].itertuples(index=False)]
    ends = np.reshape(np.array(seconds, float), (-1, 3)) * frame["steps_to_solve"].to_numpy(float)[:, None]
    return pd.DataFrame(ends, columns=TIMES[:3], index=frame.index)


def _time_line(part: pd.DataFrame, times: StepTimes) -> list[float]:
    """Return `TIMES` of the rows of one line; a seed that several rows share took as long as the last of them."""
    known = part[part["solved"].notna()]
    ways = {tuple(line) for line in known[COST].itertuples(index=False)}
    second = times.get(*ways) if len(ways) == 1 else None
    if second is None:
        return [np.nan] * len(TIMES)
    steps = known["steps_to_solve"].astype(float).fillna(np.inf)
    each = steps.groupby(known["seed"]).max()
    found = Estimate(float(each.median()), *statistics.bound_median(each))
    if len(each) < statistics.FEWEST_PAIRS:
        found = Estimate(found.value, float(each.min()), float(each.max()))
    trained = known.loc[~np.isfinite(steps), "steps_done"].astype(float).min()
    return [*statistics.multiply_estimates(found, second), trained * second.value]
