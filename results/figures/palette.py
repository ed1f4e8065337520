"""A framework's colour and marker, the same in every figure and on every page; so is a cell's line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from farreach.results.analysis.labels import ordered

COLOURS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"]
"""Seaborn's "colorblind"."""

GREY = COLOURS[7]


@dataclasses.dataclass(frozen=True)
class Look:
    """A framework's colour and marker."""

    colour: str
    marker: str


LOOKS = {
    "pytorch": Look(COLOURS[0], "o"),
    "tensorflow": Look(COLOURS[1], "s"),
    "jax": Look(COLOURS[2], "^"),
    "reference": Look(GREY, "D"),
}
SPARE = [Look(COLOURS[at], marker) for at, marker in ((4, "v"), (3, "P"), (9, "X"), (5, "<"), (6, ">"), (8, "h"))]

CELL_DASHES: dict[str, Any] = {"rnn": ":", "lstm": "-", "gru": "--"}
CELL_MARKERS = {"rnn": "v", "lstm": "o", "gru": "s"}
RING = "lstm"
"""The cell whose mark is open and large, so that another at the same place shows within it."""


def looks(learners: Iterable[str]) -> dict[str, Look]:
    """Return a look for each learner: its framework's own, and a spare one for any further path."""
    found: dict[str, Look] = {}
    spare = iter(SPARE * 10)
    for learner in ordered(learners, LOOKS):
        own = LOOKS.get(learner.split(" ", 1)[0])
        found[learner] = own if own and own not in found.values() else next(spare)
    return found
