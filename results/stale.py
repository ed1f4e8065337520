"""Rows that an older version of a task, its metrics or our numerical code made: told from the others, and said."""

from __future__ import annotations

import dataclasses

import pandas as pd

from results.cases import OWN, joined


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
    tasks = rows["task"].astype(str)
    then = zip(tasks, rows["task_version"], rows["metric_version"], rows["numerics"], strict=True)
    found = [
        task in now.tasks and (version, metric, numerics) != (*now.tasks[task], now.numerics)
        for task, version, metric, numerics in then
    ]
    return pd.Series(found, rows.index, dtype=bool) & (rows["mode"] != OWN)


def sentences(old: pd.DataFrame, now: Versions) -> list[str]:
    """Say which rows are left out because they are stale."""
    said = []
    for task, part in old.groupby(old["task"].astype(str)):
        made = set(part[["task_version", "metric_version", "numerics"]].itertuples(index=False, name=None))
        was = joined(sorted(f"{version:g}.{metric:g} with numerics {numerics:g}" for version, metric, numerics in made))
        version, metric = now.tasks[str(task)]
        said.append(
            f"{len(part)} row{'s' if len(part) > 1 else ''} of {task} left out as stale: made by version {was}; "
            f"it is now {version}.{metric} with numerics {now.numerics}, and the same command runs them again."
        )
    return said
