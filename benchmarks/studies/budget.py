"""The budget: what each set of the evidence costs in hours of one core, before it is run, and what does not fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from farreach.benchmarks.matrix import claims, registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import environment, estimate

FILE = registry.ROOT / "benchmarks" / "budget.toml"


KIND = ("framework", "device", "mode", "path", "dtype", *estimate.NETWORK, "task")
"""What cases share of which the pilot trains one."""

SHARD = 3_600
"""Seconds of one core that a shard takes at most."""

COLUMNS = ["set", "suite", "cases", "core-hours", "shards"]


class Part(BaseModel):
    """A suite, or what --only leaves of it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    suite: str
    only: list[str] = []

    @property
    def name(self) -> str:
        """What it is called: the suite, and what it is narrowed to."""
        return " ".join([self.suite, *(f"--only {one}" for one in self.only)])

    def list_cases(self) -> list[Case]:
        """Return its cases."""
        cases = suite.load_suite(self.suite).list_cases(suite.choose_frameworks(self.only) or None)
        return suite.narrow_cases(cases, self.only, self.suite)


class Set(BaseModel):
    """A set of the evidence: the hours of one core that it may take, and what is run for it.

    Attributes:
        name: what it is called.
        hours: what it may take.
        run: suites.
        claims: whether the claims of the ledger are of it; each has its own minutes.

    """

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    hours: suite.Positive
    run: list[Part] = []
    claims: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.run and not self.claims:
            message = "a set needs suites to run, or the claims"
            raise ValueError(message)
        return self


class Budget(BaseModel):
    """The sets, and what was wanted and is not affordable."""

    model_config = ConfigDict(extra="forbid", strict=True)
    set: Annotated[list[Set], Field(min_length=1)]
    beyond: list[Part] = []

    @property
    def wanted(self) -> list[Part]:
        """The suites that are run for the sets."""
        return [part for one in self.set for part in one.run]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a suite or the ledger costs: its cases, and their hours of one core; `unknown` cases are not in these."""

    name: str
    cases: int
    hours: float
    unknown: int = 0

    @property
    def shards(self) -> int:
        """How many shards it is divided into."""
        return min(self.cases, max(1, math.ceil(self.hours * 3_600 / SHARD)))


@dataclasses.dataclass(frozen=True)
class SetCost:
    """What a set costs, part by part, and what it may."""

    name: str
    allowed: float
    costs: tuple[Cost, ...]

    @property
    def hours(self) -> float:
        """What it costs."""
        return sum(one.hours for one in self.costs)


def read_budget(path: Path = FILE) -> Budget:
    """Read the budget's file; raise `UsageError` on any fault."""
    return suite.read_file(path, Budget, "budget")


def choose_pilot(parts: Iterable[Part], rows: Iterable[Mapping[str, Any]]) -> list[Case]:
    """Return a case of each kind that no row of this processor is of: shortest sequences, to the first evaluation."""
    here = environment.read_processor()
    known = {tuple(row[name] for name in KIND) for row in rows if row["processor"] == here}
    found: dict[tuple[Any, ...], Case] = {}
    for case in (case for part in parts for case in part.list_cases()):
        kind = tuple(getattr(case, name) for name in KIND)
        if kind not in known and (kind not in found or case.load().length < found[kind].load().length):
            found[kind] = case
    return [dataclasses.replace(one, until="steps", steps=one.evaluate_every, seed=0) for one in found.values()]


def find_cost(part: Part, rows: list[dict[str, Any]]) -> Cost:
    """Return what a suite costs, by the times of earlier rows."""
    seconds = estimate.estimate_cases(part.list_cases(), rows).seconds
    known = [one for one in seconds.values() if one is not None]
    return Cost(part.name, len(seconds), sum(known) / 3_600, len(seconds) - len(known))


def find_costs(budget: Budget, rows: list[dict[str, Any]]) -> list[SetCost]:
    """Return what each set costs."""
    found = []
    for one in budget.set:
        costs = [find_cost(part, rows) for part in one.run]
        if one.claims:
            run = [claim for claim in claims.load_ledger() if claim.content.minutes]
            hours = sum(claim.content.minutes or 0 for claim in run) / 60
            costs.append(Cost("ledger", sum(len(claim.list_cases()) for claim in run), hours))
        found.append(SetCost(one.name, one.hours, tuple(costs)))
    return found


def tabulate_costs(sets: list[SetCost], beyond: list[Cost], unaffordable: Mapping[str, str]) -> pd.DataFrame:
    """Return one line a suite of each set, a line of what each set may take, and what is not affordable.

    `unaffordable` are claims of the ledger and what they say that they would cost.
    """
    lines: list[list[str]] = []
    for one in sets:
        lines += [[one.name, *_describe(cost), str(cost.shards)] for cost in one.costs]
        cases = sum(cost.cases for cost in one.costs)
        lines.append([one.name, "together", f"{cases:,}", f"{one.hours:.1f} of {one.allowed:g}", ""])
    total = f"{sum(one.hours for one in sets):.1f} of {sum(one.allowed for one in sets):g}"
    lines.append(["all", "", f"{sum(cost.cases for one in sets for cost in one.costs):,}", total, ""])
    lines += [["not affordable", *_describe(cost), ""] for cost in beyond]
    lines += [["not affordable", f"claim {name}", "", cost, ""] for name, cost in unaffordable.items()]
    return pd.DataFrame(lines, columns=COLUMNS)


def list_unaffordable() -> dict[str, str]:
    """Return the claims of the ledger that are not affordable, each with what it says of its cost."""
    return {one.name: one.content.cost for one in claims.load_ledger() if one.content.cost}


def list_excess(sets: Iterable[SetCost]) -> list[str]:
    """Return a line for each set that costs more than it may."""
    over = [one for one in sets if one.hours > one.allowed]
    return [f"set {one.name} needs {one.hours:.1f} core-hours, and may take {one.allowed:g}" for one in over]


def _describe(cost: Cost) -> list[str]:
    unknown = f", {cost.unknown} cases unknown" if cost.unknown else ""
    return [cost.name, f"{cost.cases:,}", f"{cost.hours:.1f}{unknown}"]
