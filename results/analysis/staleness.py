"""Rows that an older version of a task or of its metrics made."""

from __future__ import annotations

import dataclasses

import pandas as pd

from farreach.results.vocabulary import OWN

MADE_BY = ["task_version", "metric_version"]

Versions = dict[str, tuple[int, int]]
"""For each task the version of its data and that of its metrics, as they stand now."""


def find_stale(rows: pd.DataFrame, now: Versions) -> pd.Series[bool]:
    """Return which rows another version made; a user's own runs and tasks that are not known here are never stale."""
    found = pd.Series(data=False, index=rows.index)
    for (task, *made), part in rows[["task", *MADE_BY]].groupby(["task", *MADE_BY], dropna=False, observed=True):
        found[part.index] = task in now and tuple(made) != now[task]
    return found & (rows["mode"] != OWN)


@dataclasses.dataclass(frozen=True)
class Stale:
    """Rows of one task that are left out.

    Attributes:
        task: the task.
        rows: how many.
        made_by: the versions that made them: of the task and of its metrics.
        now: the one that stands now.

    """

    task: str
    rows: int
    made_by: frozenset[tuple[float, ...]]
    now: tuple[int, int]


def count_stale(old: pd.DataFrame, now: Versions) -> list[Stale]:
    """Return for each task how many of these stale rows there are, and of which versions."""
    return [
        Stale(
            task=str(task),
            rows=len(part),
            made_by=frozenset(part[MADE_BY].itertuples(index=False, name=None)),
            now=now[str(task)],
        )
        for task, part in old.groupby(old["task"].astype(str))
    ]
