"""Advice on a clip threshold: first without clipping, then a ladder from small to large, each an ordinary case."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case, Scalar
from farreach.benchmarks.running import sweep
from farreach.benchmarks.running.progress import Progress
from farreach.frameworks import weights
from farreach.results.analysis import gradient_norms
from farreach.results.report import advice as advice_report
from farreach.results.report.advice import Advice
from farreach.results.storage.result_set import Store

FACTORS = (1 / 3, 1.0, 3.0)
"""The learning rates that are tried, as multiples of the named one: a threshold means little without its rate."""

HEAD = 10.0
"""For a clip by value the ladder ends at this many times the root mean square of an element."""


@dataclasses.dataclass(frozen=True)
class Question:
    """What advice is asked for.

    Attributes:
        case: the case that it is about, without a clip, at the named learning rate and seed 0.
        clip: the kind of clip, ``norm`` or ``value``.
        seeds: how many seeds are tried, from 0.
        thresholds: the ladder, ascending; None where it is to come from the observed norms.

    """

    case: Case
    clip: Literal["norm", "value"]
    seeds: int
    thresholds: tuple[float, ...] | None

    def rates(self) -> list[float]:
        """Return the three learning rates, ascending, to six figures."""
        return [float(f"{factor * self.case.learning_rate:.6g}") for factor in FACTORS]

    def pilot(self) -> list[Case]:
        """Return the cases without a clip: every learning rate with every seed."""
        return self._with("none", None)

    def tries(self, thresholds: Sequence[float]) -> list[Case]:
        """Return the cases with a clip, from the smallest threshold to the largest."""
        return [case for threshold in thresholds for case in self._with(self.clip, threshold)]

    def _with(self, clip: str, threshold: float | None) -> list[Case]:
        return [
            dataclasses.replace(self.case, clip=clip, threshold=threshold, learning_rate=rate, seed=seed)
            for rate in self.rates()
            for seed in range(self.seeds)
        ]


def parameters(pairs: list[str]) -> tuple[tuple[str, Scalar], ...]:
    """Return the task's parameters from NAME=VALUE texts, sorted by name; raise `UsageError` on any fault."""
    found: dict[str, Scalar] = {}
    for text in pairs:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            message = f"--parameter takes NAME=VALUE, not {text!r}"
            raise registry.UsageError(message)
        if name in found:
            message = f"--parameter {name} is given twice"
            raise registry.UsageError(message)
        try:
            plain = json.loads(value)
        except ValueError:
            plain = value
        found[name] = plain if isinstance(plain, int | float | str | bool) else value
    return tuple(sorted(found.items()))


def thresholds(text: str | None) -> tuple[float, ...] | None:
    """Return the ladder that a text such as ``0.01,0.1,1`` gives, ascending; raise `UsageError` on any fault."""
    if text is None:
        return None
    rungs = []
    for part in text.split(","):
        try:
            rung = float(part)
        except ValueError:
            rung = math.nan
        if not (math.isfinite(rung) and rung > 0):
            message = f"--thresholds takes positive finite numbers with commas between, not {part.strip()!r}"
            raise registry.UsageError(message)
        rungs.append(rung)
    return tuple(sorted(set(rungs)))


def framework(name: str | None) -> str:
    """Return the framework to train with: the named one, else PyTorch, else the first that is installed."""
    if name is not None:
        registry.require(registry.known("framework", name, registry.frameworks()))
        return name
    for one in ("pytorch", *registry.compared()):
        if one in registry.compared() and registry.version(one):
            return one
    message = f"none of the frameworks is installed: {', '.join(registry.compared())}"
    raise registry.UsageError(message)


def question(
    fields: dict[str, Any], *, clip: Literal["norm", "value"], seeds: int, ladder: tuple[float, ...] | None
) -> Question:
    """Return what is asked, every case of it checked; raise `UsageError` where one cannot be.

    Args:
        fields: those of `Case` except clip, threshold, seed and path.
        clip: the kind of clip.
        seeds: how many seeds.
        ladder: the thresholds, None where they are to come from the observed norms.

    """
    registry.known("task", fields["task"], registry.tasks())
    rate = fields["learning_rate"]
    if not (math.isfinite(rate) and rate > 0):
        message = f"learning rate must be a positive finite number, not {rate}"
        raise registry.UsageError(message)
    path = registry.paths(fields["framework"], fields["device"], fields["cell"])[0]
    asked = Question(Case(path=path, **fields), clip, seeds, ladder)
    asked.tries(ladder or ())
    return asked


def folder(asked: Question) -> Path:
    """Return where the results go unless --out says otherwise."""
    given = [f"{name}{value}" for name, value in asked.case.parameters]
    name = "-".join(["advise", asked.case.task, *given, asked.case.cell])
    return registry.RUNS / re.sub(r"[^\w.-]+", "_", name)


class Advisor:
    """Runs the cases of one question into a store, in two sweeps.

    Attributes:
        failed: the cases that gave no record so far.

    """

    def __init__(self, asked: Question, store: Store, console: Console, facts: dict[str, Any]) -> None:
        self.asked, self.store, self.console, self.facts = asked, store, console, facts
        self.failed: list[sweep.Failure] = []

    def pilot(self) -> tuple[float, ...]:
        """Train without a clip, and return the ladder: the one asked for, or that of the observed norms."""
        cases, seeds = self.asked.pilot(), self.asked.seeds
        given = self.asked.thresholds
        rungs = f"at most {gradient_norms.RUNGS}" if given is None else str(len(given))
        self.console.print(
            f"{len(cases)} cases without clipping ({len(FACTORS)} learning rates, {seeds} seeds), "
            f"then {rungs} threshold{'' if rungs == '1' else 's'} of {len(cases)} cases each"
        )
        if given and len(given) == 1:
            self.console.print("a ladder of one value: there is nothing to choose from, only no clipping beside it")
        self._sweep("without clipping", cases)
        return given if given is not None else self.ladder()

    def ladder(self) -> tuple[float, ...]:
        """Return the thresholds that the observed norms of the pilot suggest."""
        finished = self.store.finished()
        keys = [key for key in (case.key() for case in self.asked.pilot()) if key in finished]
        seen = [gradient_norms.lived(self.store.curves(key)) for key in keys]
        if self.asked.clip == "norm":
            return gradient_norms.ladder(seen)
        drawn = weights.draw(self.asked.case.model(), 0)
        count = sum(array.size for array in drawn.values())
        return gradient_norms.ladder(seen, scale=1 / math.sqrt(count), head=HEAD)

    def tries(self, ladder: Sequence[float]) -> None:
        """Train at every threshold, from small to large; not where no case without a clip gave a record."""
        pilot = {case.key() for case in self.asked.pilot()} & self.store.finished()
        if not pilot:
            return
        if not ladder:
            self.console.print("the norms hold nothing that a ladder could span: name one with --thresholds")
            return
        cases = self.asked.tries(ladder)
        rungs = ", ".join(f"{rung:g}" for rung in ladder)
        self._sweep(f"{self.asked.clip} {rungs}", cases, seconds=self._seconds_a_case(pilot))

    def advice(self, ladder: Sequence[float]) -> Advice | None:
        """Judge the finished cases of this question alone; None where there are none."""
        wanted = {case.key() for case in [*self.asked.pilot(), *self.asked.tries(ladder)]} & self.store.finished()
        if not wanted:
            return None
        rows = self.store.rows()
        rows = rows[rows["key"].isin(wanted)].reset_index(drop=True)
        named = self.asked.case.learning_rate
        return advice_report.gather(rows, self.store.evaluations, self.store.curves, named=named, clip=self.asked.clip)

    def _sweep(self, name: str, cases: list[Case], seconds: float | None = None) -> None:
        """Run what the store lacks of some cases; Ctrl-C goes through, with everything finished kept."""
        plan = sweep.plan(cases, self.store)
        line = f"{name}: {len(plan.cases)} cases, {len(plan.done)} already done, {len(plan.missing)} to run"
        if seconds is not None and plan.missing:
            line += f", about {_duration(seconds * len(plan.missing) / self.facts['jobs'])}"
        self.console.print(line)
        with Progress(list(plan.missing.values()), self.console) as shown:
            running = sweep.Sweep(plan, self.store, listener=shown, facts=self.facts, workers=self.facts["jobs"])
            self.failed += running.run().failed

    def _seconds_a_case(self, keys: set[str]) -> float:
        """Return what one of these finished cases took, from its first batch to its last evaluation, in the median."""
        rows = self.store.rows()
        rows = rows[rows["key"].isin(keys)]
        parts = [name for name in rows if str(name).startswith("seconds_")]
        return float(np.median(rows[parts].sum(axis="columns")))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"  # noqa: PLR2004
