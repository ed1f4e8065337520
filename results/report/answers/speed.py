"""Which framework is faster on what, by how much: from timed training steps, never from the times of a sweep."""

from __future__ import annotations

from typing import Any

import pandas as pd

from farreach.results.report.answers.base import FASTER, MOST, Answer
from farreach.results.timing import interleaved, pytest_benchmark

SIZES = ("task", "parameters", "layers", "hidden", "batch", "dtype", "device", "threads")
"""What two timed steps may differ in, besides the cell."""

WORDS = {"layers": "{} layers", "hidden": "{} hidden units", "batch": "batch {}", "threads": "{} threads"}


def answer(timed: pd.DataFrame | None, groups: list[dict[str, Any]], launches: float | None = None) -> Answer:
    """Say for each cell and pair of frameworks who is faster by how much, from paired timings where there are some."""
    pairs, how = compared(timed, groups, launches)
    if how is None:
        missing = "not known: no training step was timed (python -m benchmarks speed times them)"
        return Answer(FASTER, "", (missing,), missing=True)
    if pairs.empty:
        return Answer(FASTER, "", ("not known: no step was timed in two frameworks",), missing=True)
    varying = [name for name in SIZES if name in pairs and len(pairs[name].unique()) > 1]
    shared = size(pairs.iloc[0], [name for name in SIZES if name in pairs and name not in varying])
    pairs["at"] = [size(row, varying) for _, row in pairs.iterrows()]
    parts = [
        f"{cell}: {', '.join(_pair(part) for _, part in _together(group).groupby('who', sort=False))}"
        for cell, group in pairs.groupby("cell", sort=False, observed=True)
    ]
    told = bool((pairs["verdict"] == interleaved.TELLS).any())
    what = f"One training step of {shared}" if shared else "One training step"
    return Answer(FASTER, f"{what} ({how}):", tuple(parts), missing=not told)


def compared(
    timed: pd.DataFrame | None, groups: list[dict[str, Any]], launches: float | None = None
) -> tuple[pd.DataFrame, str | None]:
    """Return every pair's ratio as `timings.pairs` has it, and how the steps were timed; None where none was."""
    if groups:
        return interleaved.pairs(groups, launches), "timed in alternating blocks"
    if timed is None or timed.empty:
        return pd.DataFrame(columns=interleaved.PAIRS), None
    pairs = pytest_benchmark.ratios(timed)
    pairs.insert(1, "parameters", [f"T={value}" for value in pairs.pop("T")])
    return pairs, f"timed one after the other, so nothing is told within {100 * (pytest_benchmark.LAUNCHES - 1):.0f} %"


def size(row: pd.Series[Any], names: list[str]) -> str:
    """Return a step's sizes in words: ``adding T=200, 64 hidden units, batch 32, cpu, 1 thread``."""
    head = " ".join(str(row[name]) for name in ("task", "parameters") if name in names)
    rest = [WORDS.get(name, "{}").format(row[name]) for name in names if name not in {"task", "parameters"}]
    rest = [text[:-1] if text in {"1 layers", "1 threads"} else text for text in rest]
    return ", ".join([*([head] if head else []), *rest])


def _together(pairs: pd.DataFrame) -> pd.DataFrame:
    """Add what two contenders are called over all sizes of a cell: `winner`, `loser`, and `who` they are together.

    A framework that ran each size by one path, though not all by the same, is one contender: ``pytorch (eager or
    flushed)``; one that was timed by several paths at a size is as many.
    """
    at = pd.concat([pairs[["at", side]].set_axis(["at", "name"], axis=1) for side in ("faster", "slower")])
    at["framework"] = at["name"].str.partition(" (")[0]
    names: dict[str, str] = {}
    for framework, part in at.groupby("framework", sort=False):
        each = sorted(map(str, part["name"].unique()))
        *others, last = [name[len(str(framework)) + 2 : -1] for name in each]
        one = bool(others) and not part.drop_duplicates(["at", "name"])["at"].duplicated().any()
        names |= {name: f"{framework} ({', '.join(others)} or {last})" if one else name for name in each}
    winner, loser = pairs["faster"].map(names), pairs["slower"].map(names)
    who = [" and ".join(sorted(both)) for both in zip(winner, loser, strict=True)]
    return pairs.assign(winner=winner, loser=loser, who=who)


def _pair(part: pd.DataFrame) -> str:
    """Say of two contenders and one cell who is faster: at each size, or in short where there are many or all agree."""
    told = part["verdict"] == interleaved.TELLS
    if len(part) > 1 and told.all() and len(part["winner"].unique()) == 1:
        first = part.iloc[0]
        return (
            f"{first['winner']} is {_range(part)} times as fast as {first['loser']} ({len(part)} sizes, {_ends(part)})"
        )
    if len(part) <= MOST:
        return ", ".join(_one(row) for _, row in part.iterrows())
    said = [
        f"{winner} is faster than {won['loser'].iloc[0]} at {len(won)} of {len(part)} sizes "
        f"({_range(won)} times, {_ends(won)})"
        for winner, won in part[told].groupby("winner", sort=False)
    ]
    unsure = part[~told]
    if len(unsure):
        who = f"{unsure['winner'].iloc[0]} from {unsure['loser'].iloc[0]}"
        said.append(f"cannot tell {who} at {len(unsure)} of {len(part)} sizes")
    return ", ".join(said)


def _one(row: pd.Series[Any]) -> str:
    at = f"at {row['at']} " if row["at"] else ""
    ends = "too few rounds" if pd.isna(row["low"]) else f"95 % interval {row['low']:.3g} to {row['high']:.3g}"
    ratio = f"{row['times as fast']:.3g}"
    if row["verdict"] == interleaved.TELLS:
        return f"{at}{row['faster']} is {ratio} times as fast as {row['slower']} ({ends})"
    return f"{at}cannot tell {row['faster']} from {row['slower']} (ratio {ratio}, {ends})"


def _range(part: pd.DataFrame) -> str:
    low, high = (f"{end:.3g}" for end in (part["times as fast"].min(), part["times as fast"].max()))
    return low if low == high else f"{low} to {high}"


def _ends(part: pd.DataFrame) -> str:
    return f"every 95 % interval within {part['low'].min():.3g} to {part['high'].max():.3g}"
