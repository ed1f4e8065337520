"""Rows that an older version of a task, its metrics or our numerical code made: told from the others, and said."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pandas as pd

from farreach.results.analysis.labels import OWN, joined

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


def stale(rows: pd.DataFrame, now: Versions) -> pd.Series[bool]:
    """Return which rows another version made; a user's own runs and tasks that are not known here are never stale."""
    found = pd.Series(data=False, index=rows.index)
    given = rows[["task", *RUN, *MADE_BY]]
    for (task, *run_and_made), part in given.groupby([*given], dropna=False, observed=True):
        run, made = run_and_made[: len(RUN)], run_and_made[len(RUN) :]
        found[part.index] = task in now.tasks and made != [*now.tasks[task], now.of(*map(str, run))]
    return found & (rows["mode"] != OWN)


def sentences(old: pd.DataFrame, now: Versions) -> list[str]:
    """Say which rows are left out because they are stale."""
    said = []
    for task, part in old.groupby(old["task"].astype(str)):
        made = set(part[MADE_BY].itertuples(index=False, name=None))
        stands = {(*now.tasks[str(task)], now.of(*run)) for run in part[RUN].itertuples(index=False, name=None)}
        said.append(
            f"{len(part)} row{'s' if len(part) > 1 else ''} of {task} left out as stale: made by version "
            f"{_versions(made)}; it is now {_versions(stands)}, and the same command runs them again."
        )
    return said


def _versions(made: Iterable[tuple[float, ...]]) -> str:
    return joined(sorted(f"{version:g}.{metric:g} with numerics {numerics:g}" for version, metric, numerics in made))
