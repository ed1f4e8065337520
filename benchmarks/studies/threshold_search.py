"""Advice on a clip threshold: cases without a clip first, then a grid of thresholds from small to large."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import resume, sweep
from farreach.benchmarks.running.estimate import format_duration
from farreach.benchmarks.running.progress import Progress
from farreach.frameworks import weights
from farreach.frameworks.base import ClipKind
from farreach.results.analysis import gradient_norms
from farreach.results.record import Scalar
from farreach.results.report import advice as advice_report
from farreach.results.report.advice import Advice
from farreach.results.storage.files import make_name
from farreach.results.storage.result_set import Store

FACTORS = (1 / 3, 1.0, 3.0)
"""The learning rates that are tried, as multiples of the named one: a threshold means little without its rate."""

HEAD = 10.0
"""For a clip by value the grid ends at this many times the root mean square of an element."""

GRIDS: dict[str, tuple[float, ...]] = {
    "agc": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "autoclip": (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0),
    "backprop": (0.0001, 0.001, 0.01, 0.1, 1.0),
}
"""The grids of clips whose thresholds the observed norms say nothing of.

Ratios of norms, percentiles, and bounds for the derivative of one example's loss: that of a batch, whose loss is a
mean, is divided by its examples.
"""


@dataclasses.dataclass(frozen=True)
class Question:
    """What advice is asked for.

    Attributes:
        case: the case that it is about, without a clip, at the named learning rate and seed 0.
        clip: the kind of clip.
        seeds: how many seeds are tried, from 0.
        thresholds: the grid, ascending; None where it is to come from the observed norms.

    """

    case: Case
    clip: ClipKind
    seeds: int
    thresholds: tuple[float, ...] | None

    def list_rates(self) -> list[float]:
        """Return the three learning rates, ascending, to six figures."""
        return [float(f"{factor * self.case.learning_rate:.6g}") for factor in FACTORS]

    def list_unclipped(self) -> list[Case]:
        """Return the cases without a clip: every learning rate with every seed."""
        return self._vary_case("none", None)

    def list_clipped(self, thresholds: Sequence[float]) -> list[Case]:
        """Return the cases with a clip, from the smallest threshold to the largest."""
        return [case for threshold in thresholds for case in self._vary_case(self.clip, threshold)]

    def _vary_case(self, clip: str, threshold: float | None) -> list[Case]:
        return [
            dataclasses.replace(self.case, clip=clip, threshold=threshold, learning_rate=rate, seed=seed)
            for rate in self.list_rates()
            for seed in range(self.seeds)
        ]


def parse_parameters(pairs: list[str]) -> tuple[tuple[str, Scalar], ...]:
    """Return the task's parameters from NAME=VALUE texts, sorted by name; raise `UsageError` on any fault."""
    parameters: dict[str, Scalar] = {}
    for text in pairs:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            message = f"--parameter takes NAME=VALUE, not {text!r}"
            raise registry.UsageError(message)
        if name in parameters:
            message = f"--parameter {name} is given twice"
            raise registry.UsageError(message)
        try:
            plain = json.loads(value)
        except ValueError:
            plain = value
        parameters[name] = plain if isinstance(plain, int | float | str | bool) else value
    return tuple(sorted(parameters.items()))


def parse_thresholds(text: str | None) -> tuple[float, ...] | None:
    """Return the grid that a text such as ``0.01,0.1,1`` gives, ascending; raise `UsageError` on any fault."""
    if text is None:
        return None
    grid = []
    for part in text.split(","):
        try:
            threshold = float(part)
        except ValueError:
            threshold = math.nan
        if not (math.isfinite(threshold) and threshold > 0):
            message = f"--thresholds takes positive finite numbers, separated by commas, not {part.strip()!r}"
            raise registry.UsageError(message)
        grid.append(threshold)
    return tuple(sorted(set(grid)))


def choose_framework(name: str | None) -> str:
    """Return the framework to train with: the named one, else PyTorch, else the first that is installed."""
    if name is not None:
        registry.require_framework(name)
        return name
    installed = registry.require_any()
    return "pytorch" if "pytorch" in installed else installed[0]


def make_question(
    fields: dict[str, Any], *, clip: ClipKind, seeds: int, thresholds: tuple[float, ...] | None
) -> Question:
    """Return the question, with every case checked; raise `UsageError` where one is impossible.

    Args:
        fields: those of `Case` except clip, threshold, seed and path.
        clip: the kind of clip.
        seeds: how many seeds.
        thresholds: the grid, None where they are to come from the observed norms.

    """
    registry.require_name("task", fields["task"], registry.list_tasks())
    rate = fields["learning_rate"]
    if not (math.isfinite(rate) and rate > 0):
        message = f"learning rate must be a positive finite number, not {rate}"
        raise registry.UsageError(message)
    path = registry.choose_path(fields["framework"], fields["device"], fields["cell"], clip)
    question = Question(Case(path=path, **fields), clip, seeds, thresholds)
    question.list_clipped(thresholds or ())
    return question


def choose_folder(question: Question) -> Path:
    """Return where the results go unless --out says otherwise."""
    values = [f"{name}{value}" for name, value in question.case.parameters]
    name = "-".join(["advise", question.case.task, *values, question.case.cell])
    return registry.RUNS / make_name(name)


class ThresholdSearch:
    """Runs the cases of one question into a store: without a clip, then over the grid.

    Attributes:
        failed: the cases that gave no record so far.

    """

    def __init__(self, question: Question, store: Store, console: Console, facts: dict[str, Any]) -> None:
        self.question, self.store, self.console, self.facts = question, store, console, facts
        self.failed: list[sweep.Failure] = []

    def run_unclipped(self) -> tuple[float, ...]:
        """Train without a clip, and return the grid: the one that was given, or that of the observed norms."""
        cases, seeds = self.question.list_unclipped(), self.question.seeds
        grid = self.question.thresholds
        count = f"at most {gradient_norms.MOST}" if grid is None else str(len(grid))
        self.console.print(
            f"{len(cases)} cases without clipping ({len(FACTORS)} learning rates, {seeds} seeds), "
            f"then {count} threshold{'' if count == '1' else 's'} of {len(cases)} cases each"
        )
        if grid and len(grid) == 1:
            self.console.print("the grid has one threshold: it can only be compared with no clipping")
        self._run_cases("without clipping", cases)
        return grid if grid is not None else self.propose_grid()

    def propose_grid(self) -> tuple[float, ...]:
        """Return the thresholds that the observed norms of the cases without a clip suggest, or those of `GRIDS`."""
        if self.question.clip in GRIDS:
            share = self.question.case.batch if self.question.clip == "backprop" else 1
            return tuple(float(f"{threshold / share:.2g}") for threshold in GRIDS[self.question.clip])
        finished = self.store.list_finished()
        keys = [key for key in (case.key() for case in self.question.list_unclipped()) if key in finished]
        norms = [gradient_norms.cut_divergence(self.store.curves(key)) for key in keys]
        if self.question.clip == "norm":
            return gradient_norms.make_grid(norms)
        initial = weights.draw(self.question.case.model(), 0)
        if self.question.clip == "variable":  # from an even share of the norm to all of it
            variables = len(initial)
            return gradient_norms.make_grid(norms, scale=1 / math.sqrt(variables), head=math.sqrt(variables))
        count = sum(array.size for array in initial.values())
        return gradient_norms.make_grid(norms, scale=1 / math.sqrt(count), head=HEAD)

    def run_grid(self, grid: Sequence[float]) -> None:
        """Train at every threshold, from small to large; not where no case without a clip gave a record."""
        unclipped = {case.key() for case in self.question.list_unclipped()} & self.store.list_finished()
        if not unclipped:
            return
        if not grid:
            self.console.print("the observed norms give no grid of thresholds: name them with --thresholds")
            return
        cases = self.question.list_clipped(grid)
        thresholds = ", ".join(f"{threshold:g}" for threshold in grid)
        self._run_cases(f"{self.question.clip} {thresholds}", cases, seconds=self._estimate_seconds(unclipped))

    def judge_cases(self, grid: Sequence[float]) -> Advice | None:
        """Return the advice that the finished cases of this question give; None where there are none."""
        cases = [*self.question.list_unclipped(), *self.question.list_clipped(grid)]
        keys = {case.key() for case in cases} & self.store.list_finished()
        if not keys:
            return None
        rows = self.store.rows()
        rows = rows[rows["key"].isin(keys)].reset_index(drop=True)
        rate, clip = self.question.case.learning_rate, self.question.clip
        return advice_report.gather_advice(rows, self.store.evaluations, self.store.curves, named=rate, clip=clip)

    def _run_cases(self, name: str, cases: list[Case], seconds: float | None = None) -> None:
        """Run what the store lacks of some cases; Ctrl-C goes through, with everything finished kept."""
        plan = sweep.plan_run(cases, self.store)
        line = f"{name}: {len(plan.cases)} cases, {len(plan.done)} already done, {len(plan.missing)} to run"
        if seconds is not None and plan.missing:
            line += f", about {format_duration(seconds * len(plan.missing) / self.facts['jobs'])}"
        moved = resume.find_moved(plan, self.store)
        if moved:
            line += f"; {len(moved)} rows were made by other code or settings and stay as they are"
        self.console.print(line)
        with Progress(list(plan.missing.values()), self.console) as bar:
            running = sweep.Sweep(plan, self.store, listener=bar, facts=self.facts, workers=self.facts["jobs"])
            self.failed += running.run().failed

    def _estimate_seconds(self, keys: set[str]) -> float:
        """Return the median seconds that one of these finished cases took, from first batch to last evaluation."""
        rows = self.store.rows()
        rows = rows[rows["key"].isin(keys)]
        parts = [name for name in rows if str(name).startswith("seconds_")]
        return float(np.median(rows[parts].sum(axis="columns")))
