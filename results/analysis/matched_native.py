"""Matched and native side by side: how much of a difference in result comes from the frameworks' own defaults?

In mode matched two frameworks do the same arithmetic from the same weights; in mode native each has its own
initialisation, optimizer, clip and defaults. Whatever parts them in native and not in matched is either the
defaults or the other draw of weights that comes with them, which another seed of one framework makes too.
So a gap counts as the defaults' where it exceeds both: the matched gap, and what another seed alone does.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import pandas as pd

from farreach.results.analysis import seeds, statistics
from farreach.results.analysis.rows import Rows, cache_on_rows
from farreach.results.analysis.selection import (
    CASE,
    CELL,
    GROUP,
    LEARNER,
    LINE,
    PLACE,
    PLACE_FACTS,
    SETTING,
    restore_order,
)
from farreach.results.vocabulary import MATCHED, NATIVE

LOWEST = -1.0
"""In what is pooled skill below this counts as this: how far beneath the floor a run fell means little."""

SEEDS = {MATCHED: "matched skill", NATIVE: "native skill"}
FRAMEWORKS = [
    *(*GROUP, *LINE, "seeds", *SEEDS.values(), "change", "low", "high"),
    *("solved matched", "solved native", "diverged matched", "diverged native"),
]
SIDES = [f"{name} {side}" for side in ("a", "b") for name in (LEARNER, "framework")]
PAIRS = [
    *(*PLACE, *PLACE_FACTS, *SIDES, "seeds", "matched a", "matched b", "matched gap"),
    *("native a", "native b", "native gap", "from defaults", "low", "high"),
]


@dataclasses.dataclass(frozen=True)
class Change:
    """How a framework's own defaults change its skill.

    Attributes:
        framework: the framework.
        cases: settings, cells and clips that ran in both modes.
        seeds: how many seeds; a seed's change is the mean over its settings and cells.
        middle: the median of the changes of seeds.
        least, most: their range.
        low, high: the 95 % interval of the median, NaN below `statistics.FEWEST_PAIRS` seeds.
        place: the labels and facts of the line where the change is largest.
        matched, native: the skills there.

    """

    framework: str
    cases: int
    seeds: int
    middle: float
    least: float
    most: float
    low: float
    high: float
    place: dict[str, Any]
    matched: float
    native: float


@cache_on_rows
def pair_modes(rows: Rows) -> pd.DataFrame:
    """Return one line for each case and seed that ran in both modes: its labels, and what each mode gave.

    The labels are the matched row's; ``skill``, ``solved``, ``status`` and ``clip_fraction`` are its too, and
    stand for the native row under the same names with `` native`` behind.
    """
    frame = rows.as_drawn.frame
    same = [name for name in CASE if name not in {"framework", "path", "mode", "replicate"} and name in frame]
    on = [*same, LEARNER]
    matched, native = (frame[frame["mode"] == mode] for mode in (MATCHED, NATIVE))
    given = ["skill", "solved", "status", "clip_fraction"]
    both = matched.merge(native[[*on, *given]], on=on, suffixes=("", " native"))
    return both.sort_values([*GROUP, "seed"], ignore_index=True)


@cache_on_rows
def compare_modes(rows: Rows) -> pd.DataFrame:
    """Return one line per setting, cell, clip and framework: skill matched and native, and the change.

    Means are over the seeds that diverged in neither mode; change is the median over them, low and high its 95 %
    interval, from `statistics.FEWEST_PAIRS` seeds on. A line alone proves little: one in twenty excludes 0 by chance.
    """
    lines = []
    for labels, group in pair_modes(rows).groupby(GROUP, observed=True):
        whole = group[group["skill"].notna() & group["skill native"].notna()]
        whole = whole.assign(change=whole["skill native"] - whole["skill"])
        skills = [seeds.average_by_seed(whole, name).mean() for name in ("skill", "skill native")]
        change = seeds.average_by_seed(whole, "change")
        figures = [seeds.count_seeds(group), *skills, change.median(), *statistics.bound_median(change)]
        counts = [
            *(_count_share(group["solved"]), _count_share(group["solved native"])),
            *(int((group[name] == "diverged").sum()) for name in ("status", "status native")),
        ]
        lines.append([*labels, *(group[name].iloc[0] for name in LINE), *figures, *counts])
    return restore_order(pd.DataFrame(lines, columns=FRAMEWORKS), rows.frame)


def compare_gaps(rows: Rows) -> pd.DataFrame:
    """Return one line per setting, cell, clip and pair of frameworks: their gap in skill, matched and native.

    A gap is a minus b, mean over the seeds on which none of the four runs diverged; ``from defaults`` is the
    median over seeds of the native gap minus the matched one, with its 95 % interval from
    `statistics.FEWEST_PAIRS` seeds on.
    """
    lines = []
    for place, first, second, four in join_four(pair_modes(rows)):
        whole = four.dropna()
        gaps = {mode: whole[f"{mode} a"] - whole[f"{mode} b"] for mode in (MATCHED, NATIVE)}
        change = gaps[NATIVE] - gaps[MATCHED]
        line: dict[str, Any] = place | dict(zip(SIDES, [*first, *second], strict=True)) | {"seeds": len(whole)}
        line |= {str(name): whole[name].mean() for name in whole} | {
            f"{mode} gap": gap.mean() for mode, gap in gaps.items()
        }
        low, high = statistics.bound_median(change)
        lines.append(line | {"from defaults": change.median(), "low": low, "high": high})
    return restore_order(pd.DataFrame(lines, columns=PAIRS), rows.frame)


Side = tuple[str, str]
"""Learner and framework."""


def join_four(both: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Side, Side, pd.DataFrame]]:
    """Yield what the rows share, two frameworks, and a line per seed with their four skills, matched and native."""
    for labels, group in both.groupby(PLACE, observed=True):
        place = dict(zip(PLACE, labels, strict=True)) | {name: group[name].iloc[0] for name in PLACE_FACTS}
        each = {
            (str(learner), str(part["framework"].iloc[0])): _reduce_skills(part)
            for learner, part in group.groupby(LEARNER, observed=True)
        }
        for (first, a), (second, b) in itertools.combinations(each.items(), 2):
            skills = {"matched a": a["skill"], "matched b": b["skill"]}
            skills |= {"native a": a["skill native"], "native b": b["skill native"]}
            four = pd.concat(skills, axis="columns", join="inner")
            if len(four):
                yield place, first, second, four


def measure_changes(rows: Rows) -> list[Change]:
    """Return for each framework whether its defaults raise or lower skill, and where they change it most."""
    lines, both = compare_modes(rows), pair_modes(rows)
    whole = both[both["skill"].notna() & both["skill native"].notna()]
    floored = whole[["skill", "skill native"]].clip(lower=LOWEST)
    whole = whole.assign(change=floored["skill native"] - floored["skill"])
    changes = []
    for learner, group in whole.groupby(LEARNER, observed=True, sort=False):
        theirs = lines[(lines[LEARNER] == learner) & lines["change"].notna()]
        most = theirs.iloc[int(theirs["change"].abs().to_numpy().argmax())]
        units = group.groupby([SETTING, CELL, "seed"], observed=True)["change"].mean().reset_index()
        each = seeds.average_by_seed(units, "change")
        low, high = statistics.bound_median(each)
        changes.append(
            Change(
                framework=str(learner),
                cases=len(theirs),
                seeds=len(each),
                middle=float(each.median()),
                least=float(each.min()),
                most=float(each.max()),
                low=low,
                high=high,
                place={name: most[name] for name in (*GROUP, *LINE)},
                matched=float(most["matched skill"]),
                native=float(most["native skill"]),
            )
        )
    return changes


def _reduce_skills(part: pd.DataFrame) -> pd.DataFrame:
    """Return the mean skills of each seed in both modes, NaN where one of its runs diverged."""
    groups = part.groupby("seed")[["skill", "skill native"]]
    return groups.mean().where(groups.count().eq(groups.size(), axis="index"))


def find_unequal_divergence(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of `compare_modes` that diverged in one mode more often than in the other."""
    return lines[lines["diverged matched"] != lines["diverged native"]]


def _count_share(solved: pd.Series[Any]) -> str | None:
    judged = solved.dropna()
    return f"{int(judged.sum())}/{len(judged)}" if len(judged) else None
