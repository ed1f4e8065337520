"""What an answer at a glance is: one sentence, and a grid whose fields say it place by place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

LONGEST = 30
"""Words of the sentence above a grid, at most."""

SHOWN = 12
"""Rows of a grid that stand in it at once; further ones unfold."""

NAMED = 3
"""Places that a sentence names; further ones are counted."""

State = Literal["decided", "yes", "no", "harmful", "inconclusive", "untried", "fault"]


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a grid.

    Attributes:
        text: what it says, a word or a figure.
        detail: what stands below, smaller.
        state: how it looks; never the only sign of what it says.
        framework: whose colour it has, empty for none.
        share: the length of its bar, 0 to 1; None for no bar.

    """

    text: str
    detail: str = ""
    state: State = "untried"
    framework: str = ""
    share: float | None = None


EMPTY = Field("not tried")


@dataclasses.dataclass(frozen=True)
class Grid:
    """A grid: what its rows are, the heads of its columns, and its rows, each with its head and a field a column."""

    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Field, ...]], ...]


@dataclasses.dataclass(frozen=True)
class Glance:
    """An answer at a glance.

    Attributes:
        name: of its place in a page.
        question: as `answers.base` has it.
        sentence: the answer in at most `LONGEST` words.
        grid: what shows it; None where there is nothing to show.
        note: what the words in the grid mean.

    """

    name: str
    question: str
    sentence: str
    grid: Grid | None = None
    note: str = ""


def make_grid(
    corner: str, fields: dict[tuple[str, str], Field], columns: Iterable[str], missing: Field = EMPTY
) -> Grid:
    """Return a grid of the fields by row and column, rows in the order of the fields; `missing` where there is none."""
    heads, rows = tuple(columns), dict.fromkeys(row for row, _ in fields)
    return Grid(corner, heads, tuple((row, tuple(fields.get((row, head), missing) for head in heads)) for row in rows))


def name_places(places: Iterable[str], *, nowhere: str = "nowhere") -> str:
    """Return the first `NAMED` of some places, and how many more there are."""
    listed = [*places]
    if not listed:
        return nowhere
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    if more:
        return ", ".join(listed[:NAMED]) + more
    *most, last = listed
    return f"{', '.join(most)} and {last}" if most else last
