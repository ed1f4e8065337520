"""Rows that an older version of a task, its metrics or our numerical code made: told from the others, and said."""

from __future__ import annotations

import dataclasses

import pandas as pd

from results.cases import OWN, joined

MADE_BY = ["task_version", "metric_version", "numerics"]


@dataclasses.dataclass(frozen=True)
class Versions:
    """The versions that stand now.

    Attributes:
        numerics: of our own numerical code.
        tasks: for each task the version of its data and that of its metrics.

    """

    numerics: int
    tasks: dict[str, tuple[int, int]]


def stale(rows: pd.DataFrame, now: Versions) -> pd.Series[bool]:
    """Return which rows another version made; a user's own runs and tasks that are not known here are never stale."""
    found = pd.Series(data=False, index=rows.index)
    made = rows[["task", *MADE_BY]]
    for (task, *then), part in made.groupby(["task", *MADE_BY], dropna=False, observed=True):
        found[part.index] = task in now.tasks and tuple(then) != (*now.tasks[task], now.numerics)
    return found & (rows["mode"] != OWN)


def sentences(old: pd.DataFrame, now: Versions) -> list[str]:
    """Say which rows are left out because they are stale."""
    said = []
    for task, part in old.groupby(old["task"].astype(str)):
        made = set(part[MADE_BY].itertuples(index=False, name=None))
        was = joined(sorted(f"{version:g}.{metric:g} with numerics {numerics:g}" for version, metric, numerics in made))
        version, metric = now.tasks[str(task)]
        said.append(
            f"{len(part)} row{'s' if len(part) > 1 else ''} of {task} left out as stale: made by version {was}; "
            f"it is now {version}.{metric} with numerics {now.numerics}, and the same command runs them again."
        )
    return said
