"""What all timings of two implementations share: the columns of a pair and the verdict on it.

An implementation is a framework on one of its paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farreach.results.analysis.statistics import INCONCLUSIVE, Estimate

USUAL = {"clip": "norm", "optimizer": "adam", "schedule": "constant", "regulariser": "none", "initial": "default"}
"""The words of a step's recipe, and what each is for most: a table in which all have that leaves the column out."""

STEP = ["task", "parameters", "cell", *USUAL, "layers", "hidden", "batch", "dtype", "device", "threads"]
"""What makes a training step, in the words of a case."""

IMPLEMENTATION = ["framework", "path"]

RATIO = ["faster framework", "faster path", "slower framework", "slower path"]
RATIO += ["times as fast", "low", "high", "rounds", "verdict"]
"""The columns of a pair, behind those of its step."""

FASTER = "faster"
"""The verdict where the interval of the ratio lies above 1; else `INCONCLUSIVE`."""

LAUNCHES = 1.035
"""The factor that two launches of identical code, timed in alternation, stay within 95 % of the time, where a set has
no A/A test of its own: that of the published one."""


def describe_pair(fast: Mapping[Any, Any], slow: Mapping[Any, Any], ratio: Estimate, rounds: int) -> dict[str, Any]:
    """Return the columns `RATIO` of two implementations.

    Args:
        fast: framework and path of the faster one.
        slow: the same of the slower one.
        ratio: how many times as fast the faster one is.
        rounds: timed of each.

    """
    sides = [str(side[name]) for side in (fast, slow) for name in IMPLEMENTATION]
    verdict = FASTER if ratio.interval.lies_above(1) else INCONCLUSIVE
    return dict(zip(RATIO, [*sides, *ratio, rounds, verdict], strict=True))
