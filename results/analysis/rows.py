"""The rows of a result set: labelled once, on load, with the selections of them that tables and verdicts ask for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import diagnosis, labels, selection
from farreach.results.analysis.selection import CELL, CLIP, FURTHER, GROUP, LEARNER, NAMED, RECIPE, SETTING
from farreach.results.storage.columns import COLUMNS
from farreach.results.vocabulary import MATCHED, OWN

SEEDS, FILES = 20, 1_000
"""Seeds of a line, and cases in all, whose curves a report reads."""

SETTINGS = 24
"""Settings of a task that one figure shows."""

NUMBERS = [
    *("threshold", "learning_rate", "loss", "floor", "score", "skill", "steps_to_solve", "diverged_at"),
    *("clip_fraction", "clipped_elements", "norm_before_median", "norm_before_max", "step_seconds"),
]


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a result set.

    Attributes:
        frame: one line a row: every fact, and the ordered categories `GROUP`: setting, cell, clip and learner. A
            setting is everything but cell, clip, framework and seed. A learner is a framework, with its path where it
            ran the same case by several. Sorted by these, then by seed, copy and key. Never changed in place.
        whole: the rows that these were selected from.
        tables: what `cache_on_rows` worked out of these rows.

    """

    frame: pd.DataFrame
    whole: Rows | None = None
    tables: dict[Any, pd.DataFrame] = dataclasses.field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.frame)

    def select(self, chosen: pd.Series[bool]) -> Rows:
        """Return the rows for which `chosen` is true; these very rows where that is all of them."""
        return self if chosen.all() else Rows(self.frame[chosen], self.whole or self)

    @functools.cached_property
    def as_drawn(self) -> Rows:
        """The rows of every mode whose hidden units are as drawn: what tables and figures show."""
        return self.select(self.frame["replicate"] == 0)

    @functools.cached_property
    def matched(self) -> Rows:
        """The rows of mode matched, copies too, which tables leave out by themselves."""
        return self.select(self.frame["mode"] == MATCHED)

    @functools.cached_property
    def counted(self) -> Rows:
        """The rows that a verdict may count: mode matched, hidden units as drawn."""
        return self.as_drawn.matched

    @functools.cached_property
    def listed(self) -> Rows:
        """The rows whose recipe a suite lists: those that were drawn are judged by study."""
        return self.select(self.frame["study"].isna()) if "study" in self.frame else self

    @functools.cached_property
    def own(self) -> Rows:
        """The rows of the user's own runs."""
        return self.select(self.frame["mode"] == OWN)

    @functools.cached_property
    def ours(self) -> Rows:
        """The rows of a suite: all but the user's own runs."""
        return self.select(self.frame["mode"] != OWN)

    @functools.cached_property
    def diagnoses(self) -> pd.DataFrame:
        """Label, reason and remarks of every row, under the frame's index."""
        if self.whole is None:
            return diagnosis.diagnose_rows(self.frame)
        return self.whole.diagnoses.loc[self.frame.index]


def cache_on_rows(make: Callable[[Rows], pd.DataFrame]) -> Callable[[Rows], pd.DataFrame]:
    """Work a table out once and keep it with the rows, since several parts of a report ask for it.

    Nobody changes it in place: whoever adds a column takes a copy first.
    """

    @functools.wraps(make)
    def look_up(rows: Rows) -> pd.DataFrame:
        if make not in rows.tables:
            rows.tables[make] = make(rows)
        return rows.tables[make]

    return look_up


def make_empty() -> pd.DataFrame:
    """Return a result set without rows, with every column."""
    return pd.DataFrame(columns=[*COLUMNS])


def label_rows(frame: pd.DataFrame) -> Rows:
    """Return the rows of a store, or of several beneath each other, labelled and sorted."""
    frame = frame.copy()
    for column in [*NUMBERS, *selection.find_metrics(frame)]:
        frame[column] = pd.to_numeric(frame[column])
    frame["solved"] = frame["solved"].astype("boolean")
    facts = [name for name in (*NAMED, *RECIPE, *FURTHER) if name in frame]
    frame[SETTING] = _categorise(frame[facts], labels.label_settings, selection.sort_setting)
    apart = {name: selection.find_extra(frame, "cell", name, ["cell"]) for name in ("activation", "heads")}
    cells = frame[["cell"]].assign(**apart)
    frame[CELL] = _categorise(cells, _each(labels.label_cell), selection.sort_cell)
    frame[CLIP] = _categorise(frame[["clip", "threshold"]], _each(labels.label_clip), selection.sort_clip)
    within = [SETTING, CELL, CLIP, "framework", "seed", "replicate"]
    learners = frame[["framework"]].assign(path=selection.find_extra(frame, "framework", "path", within))
    frame[LEARNER] = _categorise(learners, _each(labels.label_learner), selection.sort_learner)
    return Rows(frame.sort_values([*GROUP, "seed", "replicate", "key"], ignore_index=True))


def limit_curves(rows: Rows) -> Rows:
    """Return the rows whose curves a report reads, the first seeds of every line first; these very rows if all are.

    At most `SEEDS` of a line and `FILES` in all: beyond that, further curves move no mean that an eye can see, and
    reading them would take the time.
    """
    nth = rows.frame.groupby(GROUP, observed=True).cumcount()
    first = nth[nth < SEEDS].sort_values(kind="stable").index[:FILES]
    return rows.select(pd.Series(rows.frame.index.isin(first), rows.frame.index))


def limit_settings(rows: Rows) -> Rows:
    """Return the rows of each task's first `SETTINGS` settings, which a picture takes; these very rows if all are."""
    there = rows.frame[["task", SETTING]].drop_duplicates()
    first = there.groupby("task", sort=False).head(SETTINGS)
    return rows.select(rows.frame[SETTING].isin(first[SETTING]))


def _each(make: Callable[[dict[str, Any]], str]) -> Callable[[list[dict[str, Any]]], list[str]]:
    return lambda facts: [make(one) for one in facts]


def _categorise(
    frame: pd.DataFrame,
    make_labels: Callable[[list[dict[str, Any]]], Iterable[str]],
    sort_key: Callable[[dict[str, Any]], selection.Key],
) -> pd.Categorical[Any]:
    """Return one ordered category for each distinct line of facts, sorted by them and called by a label."""
    place = selection.number_places(frame, map(str, frame))
    first = ~pd.Series(place).duplicated().to_numpy()
    facts = [{str(name): value for name, value in one.items()} for one in frame[first].to_dict("records")]
    order = sorted(range(len(facts)), key=lambda at: sort_key(facts[at]))
    rank = np.argsort(np.array(order, int))
    names = _make_distinct([*make_labels(facts)])
    return pd.Categorical.from_codes(rank[place], pd.Index([names[at] for at in order]), ordered=True)


def _make_distinct(names: list[str]) -> list[str]:
    """Return labels so that no two are alike: the second of a name gets a number."""
    seen: dict[str, int] = {}
    for at, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        names[at] = name if seen[name] == 1 else f"{name} #{seen[name]}"
    return names
