"""Which implementation is the fastest of each timed step, and by how much it leads the next framework."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import pandas as pd

from farreach.results.analysis.statistics import Estimate
from farreach.results.timing.ratios import FASTER, IMPLEMENTATION, STEP

Side = tuple[str, str]
"""Framework and path."""


@dataclasses.dataclass(frozen=True)
class StepWinner:
    """The fastest implementation of one step.

    Attributes:
        step: the facts of the step, columns of `ratios.STEP`.
        fastest: framework and path with the shortest step time.
        next: the fastest implementation of another framework; of the same one where no other was timed.
        ratio: how many times as fast `fastest` is as `next`, with its 95 % interval; NaN ends where there is none.
        decided: whether `fastest` is shown to be faster than every implementation of another framework.

    """

    step: dict[str, Any]
    fastest: Side
    next: Side
    ratio: Estimate
    decided: bool


def find_winners(pairs: pd.DataFrame) -> list[StepWinner]:
    """Return the winner of each step of `interleaved.compare_pairs`, in the order of the steps."""
    names = [name for name in STEP if name in pairs]
    return [_find_winner(part, names) for _, part in pairs.groupby(names, sort=False, observed=True, dropna=False)]


def _find_winner(part: pd.DataFrame, names: list[str]) -> StepWinner:
    lines = part.to_dict("records")
    won = collections.Counter(_get_side(line, "faster") for line in lines)
    sides = dict.fromkeys(_get_side(line, side) for line in lines for side in ("faster", "slower"))
    ranked = sorted(sides, key=lambda side: -won[side])
    fastest = ranked[0]
    others = [side for side in ranked[1:] if side[0] != fastest[0]] or ranked[1:]
    found = {frozenset((_get_side(line, "faster"), _get_side(line, "slower"))): line for line in lines}
    against = [line for side in others if (line := found.get(frozenset((fastest, side)))) is not None]
    first = against[0]
    return StepWinner(
        step={name: first[name] for name in names},
        fastest=fastest,
        next=others[0],
        ratio=Estimate(first["times as fast"], first["low"], first["high"]),
        decided=all(line["verdict"] == FASTER and _get_side(line, "faster") == fastest for line in against),
    )


def _get_side(line: Any, side: str) -> Side:
    framework, path = (str(line[f"{side} {name}"]) for name in IMPLEMENTATION)
    return framework, path
