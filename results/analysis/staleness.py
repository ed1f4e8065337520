"""Rows that an older version of a task, its metrics or our numerical code made."""

from __future__ import annotations

import dataclasses

import pandas as pd

from farreach.results.vocabulary import OWN

MADE_BY = ["task_version", "metric_version", "numerics"]
RUN = ["framework", "cell", "mode"]


@dataclasses.dataclass(frozen=True)
class Versions:
    """The versions that stand now.

    Attributes:
        numerics: of our own numerical code.
        tasks: for each task the version of its data and that of its metrics.
        moved: by framework, cell and mode what is added to `numerics`, where that is something.

    """

    numerics: int
    tasks: dict[str, tuple[int, int]]
    moved: dict[tuple[str, str, str], int] = dataclasses.field(default_factory=dict)

    def of(self, framework: str, cell: str, mode: str) -> int:
        """Return the version of the numerical code that runs such a case now."""
        return self.numerics + self.moved.get((framework, cell, mode), 0)


def find_stale(rows: pd.DataFrame, now: Versions) -> pd.Series[bool]:
    """Return which rows another version made; a user's own runs and tasks that are not known here are never stale."""
    found = pd.Series(data=False, index=rows.index)
    given = rows[["task", *RUN, *MADE_BY]]
    for (task, *run_and_made), part in given.groupby([*given], dropna=False, observed=True):
        run, made = run_and_made[: len(RUN)], run_and_made[len(RUN) :]
        found[part.index] = task in now.tasks and made != [*now.tasks[task], now.of(*map(str, run))]
    return found & (rows["mode"] != OWN)


@dataclasses.dataclass(frozen=True)
class Stale:
    """Rows of one task that are left out.

    Attributes:
        task: the task.
        rows: how many.
        made_by: the versions that made them: of the task, of its metrics, of the numerical code.
        now: those that stand now.

    """

    task: str
    rows: int
    made_by: frozenset[tuple[float, ...]]
    now: frozenset[tuple[float, ...]]


def count_stale(old: pd.DataFrame, now: Versions) -> list[Stale]:
    """Return for each task how many of these stale rows there are, and of which versions."""
    return [
        Stale(
            task=str(task),
            rows=len(part),
            made_by=frozenset(part[MADE_BY].itertuples(index=False, name=None)),
            now=frozenset(
                (*now.tasks[str(task)], now.of(*run)) for run in part[RUN].itertuples(index=False, name=None)
            ),
        )
        for task, part in old.groupby(old["task"].astype(str))
    ]
