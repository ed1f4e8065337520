"""Two result sets, an old and a new one, row by row: same, better, worse, or inconclusive.

Each side is a result set, or several of them: the same suite run again and again. A verdict is written only where the
data carry it. A row's quality is compared on the seeds that both sides have, each with itself; what the seeds of one
side alone gave is reported apart and judged by nobody. Within one environment the rows of one seed are compared bit for
bit; across environments bits may differ without meaning anything, so there quality takes `SEEDS` shared seeds, and
speed `RUNS` runs a side anywhere, since identical code differs from launch to launch. P-values are corrected (Holm
1979) for the rows that are compared.

A night has too few seeds for any row to be told alone, so the pairs of rows, one case and seed on both sides, are
judged together too: `whole`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.labels import HEADINGS, format_parameters
from farreach.results.analysis.rows import label_rows
from farreach.results.analysis.selection import CELL, CLIP, GROUP, LEARNER, LINE, SETTING, restore_order
from farreach.results.analysis.staleness import Versions, find_stale
from farreach.results.storage.sets import list_sets, open_set
from farreach.results.vocabulary import OWN

SEEDS, RUNS, STARTS = 10, 5, 10
LEVEL = 0.01
"""How often a comparison of equals may flag anything at all, over all of its rows."""

MARGIN = 0.02
"""Differences in skill that do not matter."""

WHOLE_LEVEL = 0.001
"""The same of the verdicts over all pairs: a gate that runs every night, wrong once in a hundred, is turned off."""

SPEED_MARGIN = 0.02
"""Share by which a step may become slower or faster without a flag: what is tested is a difference beyond it.

Two processes of identical code differ by a percent, which of them was started first being enough for half of one.
"""

SAME_SPEED = 0.05
"""A ratio whose 95 % interval lies within this of 1 is called the same."""

WORST = -1.0
"""The skill at which means count a run that diverged, or that ended below it."""

SAME, BETTER, WORSE = "same", "better", "worse"
IDENTICAL, CHANGED, OTHER = "identical", "changed", "other environment"

PLACE = (
    *("framework_version", "kernel", "precision", "variables", "device_name", "processor", "python", "numpy"),
    "platform",
)
"""The facts in which two rows must agree before a difference in their bits means anything."""

OUTCOME = ("weights_sha256", "loss", "score", "status")

ALL = "all"

FACTS = [name for name in LINE if name != "path"]
"""The facts of a row that both sides share, beside its labels."""

TYPICAL = ["difference", "typical", "low", "high", "p"]
"""Of skills, new minus old: the mean difference; then what a single seed or start typically differs by, with its 95 %
interval: the median of the differences of the seeds or starts."""

QUALITY = [*GROUP, *FACTS, "quality", "bits", "seeds", "skill old", "skill new", *TYPICAL]
QUALITY += ["seeds identical", "old alone", "skill old alone", "new alone", "skill new alone"]
WHOLE = ["pairs of", "skill", "pairs", "starts", "skill old", "skill new", "solved old", "solved new"]
WHOLE += TYPICAL
SPEED = [*GROUP, *FACTS, "speed", "runs old", "runs new", "ms old", "ms new", "new / old", "low", "high", "p"]


@dataclasses.dataclass(frozen=True)
class Alone:
    """A row that one side has and the other has not: its labels, and the side, ``old`` or ``new``."""

    row: tuple[str, ...]
    side: str


@dataclasses.dataclass(frozen=True)
class Flag:
    """Something that got a verdict.

    Attributes:
        kind: ``quality``, ``speed`` or ``bits`` of a row; ``skill`` of pairs of rows together.
        row: the row's labels; of pairs together, what they are pairs of.
        pairs: how many pairs; 0 for a row.

    """

    kind: str
    row: tuple[str, ...]
    pairs: int = 0


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        quality: one line a row that both sides have: `QUALITY`. ``seeds`` are those that both sides have, of which the
            skills are; ``seeds identical`` are those with the same bits on both sides in every environment that they
            ran in; ``old alone`` and ``new alone`` count the seeds that one side has and the other has not.
        speed: the same, `SPEED`; or `side_by_side.COLUMNS` where two environments were timed side by side.
        alone: rows that one side has and the other has not.
        whole: the verdict over all pairs of rows, the first line, and over those of each framework, cell, clip and
            task: `WHOLE`; empty where there is no pair.

    """

    quality: pd.DataFrame
    speed: pd.DataFrame
    alone: list[Alone]
    whole: pd.DataFrame

    def list_flags(self, verdict: str) -> list[Flag]:
        """Return what got a verdict: `WORSE`, `BETTER`, `SAME`, `INCONCLUSIVE` or `CHANGED`."""
        lines = self.whole[self.whole["skill"] == verdict]
        found = [Flag("skill", (str(of),), pairs) for of, pairs in zip(lines["pairs of"], lines["pairs"], strict=True)]
        for kind, table in (("quality", self.quality), ("speed", self.speed), ("bits", self.quality)):
            names = GROUP if SETTING in table else ["step", "framework"]
            chosen = table.loc[table[kind] == verdict, names].astype(str)
            found += [Flag(kind, row) for row in chosen.itertuples(index=False, name=None)]
        return found

    @property
    def blind(self) -> bool:
        """Whether nothing at all could be told: of no row, of no bit, and not over all of them."""
        verdicts = [*self.whole["skill"], *self.quality["quality"], *self.speed["speed"]]
        return {*verdicts} <= {statistics.INCONCLUSIVE} and {*self.quality["bits"]} <= {OTHER}


def read_side(folder: Path, now: Versions | None = None) -> pd.DataFrame:
    """Return the rows of a side without stale ones, with the column ``run``: the result set that each comes from."""
    parts = [open_set(path).rows().assign(run=str(path)) for path in list_sets(folder)]
    rows = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    rows = rows[rows["mode"] != OWN]
    return rows if now is None else rows[~find_stale(rows, now)]


def compare_sides(old: pd.DataFrame, new: pd.DataFrame) -> Comparison:
    """Compare two sides, as `read` returns them; labels are common to both, so that rows meet their like."""
    both = pd.concat([old.assign(side="old"), new.assign(side="new")], ignore_index=True)
    frame = add_outcomes(label_rows(both).as_drawn.frame)
    quality, speed, alone = [], [], []
    for names, group in frame.groupby(GROUP, observed=True, sort=True):
        sides = [group[group["side"] == side] for side in ("old", "new")]
        if any(part.empty for part in sides):
            where = "new" if sides[0].empty else "old"
            alone.append(Alone(tuple(map(str, names)), where))
            continue
        line = dict(zip(GROUP, names, strict=True)) | {name: group[name].iloc[0] for name in FACTS if name in group}
        quality.append(line | _compare_quality(*sides))
        speed.append(line | _compare_speed(*sides))
    return Comparison(
        judge_rows(restore_order(pd.DataFrame(quality, columns=QUALITY), frame), "quality", _judge_quality),
        judge_rows(restore_order(pd.DataFrame(speed, columns=SPEED), frame), "speed", judge_speed),
        alone,
        compare_pairs(frame, identical=all(line["seeds identical"] == line["seeds"] for line in quality)),
    )


def judge_speed(row: dict[str, Any]) -> str:
    """Return the verdict on a ratio new / old of step times, its interval and its corrected p-value."""
    if np.isnan(row["p"]):
        return statistics.INCONCLUSIVE
    if row["p"] < LEVEL:
        return WORSE if row["new / old"] > 1 else BETTER
    return SAME if _lies_within(row, 1 / (1 + SAME_SPEED), 1 + SAME_SPEED) else statistics.INCONCLUSIVE


def _lies_within(line: Mapping[Any, Any], low: float, high: float) -> bool:
    return statistics.Interval(line["low"], line["high"]).lies_within(low, high)


def _is_same(line: Mapping[Any, Any]) -> bool:
    """Return whether skills differ by no more than `MARGIN`: typically, by the interval, and in the mean.

    The interval is of a median, which does not see damage to a few seeds; the mean does.
    """
    return _lies_within(line, -MARGIN, MARGIN) and abs(line["difference"]) <= MARGIN


def _compare_quality(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, Any]:
    a, b = (average_skills(side) for side in (old, new))
    shared = a.index.intersection(b.index)
    differences = (b[shared] - a[shared]).to_numpy(float)
    same = [seed for seed in shared if _is_identical(*(side[side["seed"] == seed] for side in (old, new)))]
    line = {"bits": compare_bits(old, new), "seeds": len(shared), "seeds identical": len(same)}
    for side, skills in (("old", a), ("new", b)):
        alone = skills.drop(shared)
        line |= {f"skill {side}": float(skills[shared].mean()), f"{side} alone": len(alone)}
        line |= {f"skill {side} alone": float(alone.mean())}
    line |= {"difference": float(differences.mean()) if len(shared) else float("nan")}
    if len(same) == len(shared) or len(shared) < SEEDS:
        return line
    typical, low, high = statistics.estimate_median(differences)
    return line | {"typical": typical, "low": low, "high": high, "p": statistics.flip_signs(differences)}


def average_skills(side: pd.DataFrame) -> pd.Series[float]:
    """Return one skill a seed, by seed: its mean over runs, a run that diverged counted at `WORST`."""
    skills = pd.to_numeric(side["skill"]).fillna(WORST).clip(lower=WORST)
    return skills.groupby(side["seed"]).mean()


def compare_pairs(frame: pd.DataFrame, *, identical: bool = False) -> pd.DataFrame:
    """Return the verdict over all pairs of rows, one case and seed on both sides, and over parts of them.

    Rows of one setting, cell and seed start from the same weights and see the same batches, whatever their clip and
    framework: where no clip bites they are one run several times over. Such a start counts once: if nothing differs,
    old and new are exchangeable in each start, so the signs of its differences are flipped together, and p is how often
    that gives a mean as far from 0 (as in B. Rosner, R. J. Glynn and M.-L. T. Lee, "The Wilcoxon signed rank test for
    paired comparisons of clustered data", Biometrics 62, 2006). It is of the mean and not of ranks, and so is the
    margin: a median cannot see damage to fewer than three pairs in ten, and on a task that nothing solves most ranks
    are of differences that do not matter. Skill is bounded, so one pair is not the mean. The parts are corrected for
    their number.
    """
    frame = frame.assign(
        skill=pd.to_numeric(frame["skill"]).fillna(WORST).clip(lower=WORST), solved=frame["solved"].fillna(value=False)
    )
    names = [*GROUP, "task", "parameters", "cell", "seed"]
    means = frame.groupby([*names, "side"], observed=True)[["skill", "solved"]].mean().reset_index()
    old, new = (means[means["side"] == side].drop(columns="side") for side in ("old", "new"))
    pairs = old.merge(new, on=names, suffixes=(" old", " new"))
    if pairs.empty:
        return pd.DataFrame(columns=WHOLE)
    kept = {ALL: pairs}
    for name in (LEARNER, CELL, CLIP, "task"):
        groups = {f"{HEADINGS.get(name, name)} {value}": part for value, part in pairs.groupby(name, observed=True)}
        kept |= groups if len(groups) > 1 else {}
    table = pd.DataFrame([_compare_group(of, part) for of, part in kept.items()], columns=WHOLE)
    table["p"] = [table["p"].iloc[0], *statistics.correct_p_values(table["p"].to_numpy(float)[1:])]
    table["skill"] = [_judge_group(line) for line in table.to_dict("records")]
    if identical:
        table["skill"] = SAME
    return table[table["p"].notna() | (table["pairs of"] == ALL)].reset_index(drop=True)


def _compare_group(of: str, pairs: pd.DataFrame) -> dict[str, Any]:
    """Return what some pairs say together; tested where they are of `STARTS` starts."""
    difference = pairs["skill new"] - pairs["skill old"]
    texts = [pairs["task"].astype(str), pairs["parameters"].astype(str).map(format_parameters)]
    cells, seeds = (pairs[name].astype(str) for name in ("cell", "seed"))
    starts = difference.groupby([*texts, pairs[SETTING], cells, pairs[CELL], seeds], observed=True).agg(["sum", "size"])
    line: dict[str, Any] = {"pairs of": of, "pairs": len(pairs), "starts": len(starts)}
    line |= {name: float(pairs[name].mean()) for name in ("skill old", "skill new")}
    line |= {name: round(pairs[name].sum()) for name in ("solved old", "solved new")}
    line |= {"difference": float(difference.mean())}
    if len(starts) < STARTS:
        return line
    sums, sizes = starts["sum"].to_numpy(float), starts["size"].to_numpy(float)
    typical, low, high = statistics.estimate_median(sums / sizes)
    return line | {"typical": typical, "low": low, "high": high, "p": statistics.flip_signs(sums)}


def _judge_group(line: Mapping[Any, Any]) -> str:
    if np.isnan(line["p"]):
        return statistics.INCONCLUSIVE
    if line["p"] < WHOLE_LEVEL and abs(line["difference"]) > MARGIN:
        return BETTER if line["difference"] > 0 else WORSE
    return SAME if _is_same(line) else statistics.INCONCLUSIVE


def add_outcomes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with two columns of tuples: ``place``, seed and environment, and ``outcome``, to the last bit."""
    frame = rows[["seed", *PLACE, *OUTCOME]].astype(object)
    lines = [*frame.where(frame.notna(), None).itertuples(index=False, name=None)]
    split = -len(OUTCOME)
    columns = {"place": [line[:split] for line in lines], "outcome": [line[split:] for line in lines]}
    return rows.assign(**{name: pd.Series(values, rows.index, dtype=object) for name, values in columns.items()})


def compare_bits(old: pd.DataFrame, new: pd.DataFrame) -> str:
    """Compare the rows, as `exact` has them, of one seed in one environment: identical, changed, or there are none."""
    then, now = (side.groupby("place")["outcome"].agg(set).to_dict() for side in (old, new))
    shared = then.keys() & now.keys()
    if not shared:
        return OTHER
    return IDENTICAL if all(len(then[one] | now[one]) == 1 for one in shared) else CHANGED


def _is_identical(old: pd.DataFrame, new: pd.DataFrame) -> bool:
    """Return whether both sides ran a seed in the same environments, and got the same bits in each."""
    return {*old["place"]} == {*new["place"]} and compare_bits(old, new) == IDENTICAL


def _judge_quality(row: dict[str, Any]) -> str:
    identical = row["seeds"] and row["seeds identical"] == row["seeds"]
    same = identical or _is_same(row)
    if row["p"] < LEVEL and not same:
        return BETTER if row["difference"] > 0 else WORSE
    return SAME if same and not row["old alone"] + row["new alone"] else statistics.INCONCLUSIVE


def _compare_speed(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, Any]:
    """Return the median step time of each side's runs; tested where both have `RUNS` of them."""
    a, b = (side.groupby("run")["step_seconds"].median().to_numpy(float) for side in (old, new))
    line: dict[str, Any] = {"runs old": len(a), "runs new": len(b)}
    line |= {"ms old": float(np.median(a)) * 1e3, "ms new": float(np.median(b)) * 1e3}
    if min(len(a), len(b)) < RUNS:
        return line | {"new / old": float(np.median(b) / np.median(a))}
    test = statistics.compare_geometric_means(a, b, SPEED_MARGIN)
    return line | {"new / old": test.ratio, "low": test.low, "high": test.high, "p": test.p}


def judge_rows(table: pd.DataFrame, kind: str, verdict: Any) -> pd.DataFrame:
    """Correct the p-values for the rows that were tested, and write the verdicts."""
    table = table.assign(p=statistics.correct_p_values(table["p"].to_numpy(float)))
    table[kind] = [verdict(row) for row in table.to_dict("records")]
    return table
