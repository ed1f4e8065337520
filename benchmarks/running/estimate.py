"""How long cases take on idle cores, estimated from rows of earlier runs: of the same setting, else of the nearest."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case, Lane
from farreach.benchmarks.running import environment
from farreach.results.record import CONFIRMATIONS, TIMES, render_parameters
from farreach.results.storage.columns import COLUMNS
from farreach.results.storage.files import StoreError
from farreach.results.storage.sets import list_sets, open_set
from farreach.results.vocabulary import SOLVED

NETWORK = ("cell", "activation", "layers", "hidden", "batch")
LEVELS: dict[str, tuple[str, ...]] = {
    "of the same setting": ("framework", "device", "mode", "path", "dtype", *NETWORK, "task", "parameters"),
    "of the same network and task": ("framework", "device", "mode", "path", "dtype", *NETWORK, "task"),
    "of the same network on other tasks": ("framework", "device", "mode", "path", "dtype", *NETWORK),
    "of the same framework": ("framework", "device"),
}
"""What a case is held against, the nearest first, and the facts that are the same there."""

SECONDS = tuple(f"seconds_{kind}" for kind in TIMES if kind not in {"imports", "compile"})
"""The times that grow with the steps of a case; what is compiled is compiled once, however many there are."""

APART = {"seed", "replicate", "framework", "path", "device", "threads", "dtype", "steps", "until"}
"""The facts of a case that hardly move the step at which it is solved or diverges."""

COURSE = tuple(field.name for field in dataclasses.fields(Case) if field.name not in APART)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """How long cases take.

    Attributes:
        seconds: of each case; None where no row is near enough.
        rests_on: how many cases are estimated from rows of each kind.

    """

    seconds: dict[Case, float | None]
    rests_on: Counter[str]

    def find_wall(self, jobs: int) -> float:
        """Return the seconds of a run: lanes lie beside each other where there are several, else cases do."""
        lanes: defaultdict[Lane, float] = defaultdict(float)
        for case, seconds in self.seconds.items():
            lanes[case.lane] += seconds or 0.0
        total = sum(lanes.values())
        return max([total / jobs, *(lanes.values() if len({lane[0] for lane in lanes}) > 1 else [])])


def read_rows(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the rows of the result sets that these folders are or hold; what cannot be read is left out."""
    rows = []
    for folder in folders:
        try:
            for path in list_sets(folder):
                rows += open_set(path).rows().astype(object).to_dict("records")
        except StoreError:
            continue
    return [{str(name): value for name, value in row.items()} for row in rows]


def estimate_cases(cases: Iterable[Case], rows: Iterable[Mapping[str, Any]]) -> Estimate:
    """Return how long cases take: the median over the nearest rows, of this processor's where there are some.

    The unit is seconds per training step and step of the sequence, all that a case does shared out among them, on a
    core of its own. A case ends early where rows that differ from it in the seed did: solved or diverged.
    """
    here = environment.read_processor()
    rates: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
    ends: defaultdict[tuple[Any, ...], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        rate = _find_rate(row)
        if rate:
            for level, names in LEVELS.items():
                rates[level, row["processor"] == here, *(row[name] for name in names)].append(rate)
            ends[tuple(_fill_fact(row, name) for name in COURSE)].append(_find_ends(row))
    seconds: dict[Case, float | None] = {}
    rests_on = Counter[str]()
    for case in cases:
        facts = dataclasses.asdict(case) | {"parameters": render_parameters(case.parameters)}
        near = ((level, ours) for level in LEVELS for ours in (True, False))
        for level, ours in near:
            found = rates.get((level, ours, *(facts[name] for name in LEVELS[level])))
            if found:
                rests_on[f"rows {level}, {'this' if ours else 'another'} processor"] += 1
                course = ends.get(tuple(facts[name] for name in COURSE), [])
                steps = [min(end[case.until == SOLVED], case.steps) for end in course] or [case.steps]
                seconds[case] = statistics.median(found) * statistics.median(steps) * case.load().length
                break
        else:
            rests_on["nothing: there is no such row"] += 1
            seconds[case] = None
    return Estimate(seconds, rests_on)


def _find_rate(row: Mapping[str, Any]) -> float | None:
    """Return the seconds of a row per step and step of its sequence; None of a run that no case is of.

    Of a run that shared its core those that it had: a processor's seconds, as far as its training tells.
    """
    try:
        case = Case.from_row(row)
        total = sum(float(row[name]) for name in SECONDS if row.get(name) == row.get(name) and row.get(name))
        known = case.device == "cpu" and pd.notna(row.get("cpu_to_wall"))
        share = min(1.0, float(row["cpu_to_wall"])) if known else 1.0
        return share * total / (int(row["steps_done"]) * case.load().length)
    except (registry.UsageError, ArithmeticError, KeyError, TypeError, ValueError):
        return None


def _fill_fact(row: Mapping[str, Any], name: str) -> Any:
    """Return a fact of a row as a case has it, which a row from before it joined does not hold."""
    value = row.get(name)
    return COLUMNS[name].before if value is None or value != value else value  # noqa: PLR0124 - a table has NaN


def _find_ends(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return after how many steps a case like this row ends that trains all its steps, and one until it is solved."""
    if row["status"] == "diverged":
        return float(row["steps_done"]), float(row["steps_done"])
    solved = row.get("steps_to_solve")
    confirmed = math.inf if solved is None or pd.isna(solved) else solved + (CONFIRMATIONS - 1) * row["evaluate_every"]
    return math.inf, float(confirmed)


def format_duration(seconds: float) -> str:
    """Return seconds as people say them."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"  # noqa: PLR2004
