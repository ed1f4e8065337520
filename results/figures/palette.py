"""A framework's colour and marker, the same in every figure and on every page; so is a cell's line."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from farreach.results.analysis.selection import LEARNER, sort_learner

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

CELL_COLOURS = {"rnn": COLOURS[3], "lstm": COLOURS[4], "gru": COLOURS[9]}
CELL_COLOURS |= {"mingru": COLOURS[0], "minlstm": COLOURS[1], "indrnn": COLOURS[2], "lru": COLOURS[6]}
CELL_COLOURS |= {"attention": COLOURS[5], "transformer": COLOURS[8]}
CELL_DASHES: dict[str, Any] = {"rnn": ":", "lstm": "-", "gru": "--"}
CELL_DASHES |= {"mingru": "-.", "minlstm": "-.", "indrnn": ":", "lru": "--"}
CELL_DASHES |= {"attention": "-.", "transformer": "-"}
CELL_MARKERS = {"rnn": "v", "lstm": "o", "gru": "s", "mingru": "P", "minlstm": "X", "indrnn": "<", "lru": ">"}
CELL_MARKERS |= {"attention": "D", "transformer": "*"}
RING = "lstm"
"""The cell whose mark is open and large, so that another at the same place shows within it."""


def choose_looks(table: pd.DataFrame) -> dict[str, Look]:
    """Return a look for each learner: its framework's own, and a spare one for any further path.

    Args:
        table: columns learner, framework and path.

    """
    facts = table[[LEARNER, "framework", "path"]].drop_duplicates().astype(object).to_dict("records")
    looks: dict[str, Look] = {}
    spare = iter(SPARE * 10)
    for line in sorted(facts, key=lambda line: sort_learner({str(name): value for name, value in line.items()})):
        if str(line[LEARNER]) not in looks:
            look = LOOKS.get(str(line["framework"]))
            looks[str(line[LEARNER])] = look if look and look not in looks.values() else next(spare)
    return looks
