"""Two environments side by side: the same step in each, in alternating blocks, in several launches.

Identical code differs more from launch to launch than from block to block, so the launches are what is counted: each
starts both processes anew and gives one ratio.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.speed import pairs
from farreach.benchmarks.speed.implementations import Group, Implementation
from farreach.results.record import use_first_names
from farreach.results.timing import side_by_side


@dataclasses.dataclass(frozen=True)
class Versus:
    """One step, timed in an old and in a new environment.

    Attributes:
        case: whose step it is.
        pythons: the interpreter of each environment, the old one first.
        launches: how often both are started.
        slowed: the share by which the new one is made slower, where a study injects a slowdown.

    """

    case: Case
    pythons: tuple[str, str]
    launches: int
    slowed: float = 0.0

    def label(self) -> str:
        """Return a line for people."""
        return f"{self.case.framework} ({self.case.path}): {Group((Implementation(self.case),)).label()}"

    def name_file(self, plan: pairs.TimingPlan) -> str:
        """Return the name of its file: a hash of everything that can change what it holds."""
        case, asked = use_first_names(self.case.to_json()), dataclasses.asdict(plan)
        facts = [case, self.pythons, self.launches, self.slowed, asked, side_by_side.SCHEMA]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def measure(
        self, plan: pairs.TimingPlan, log: Path, hear: Callable[[float], None] = lambda _: None
    ) -> dict[str, Any]:
        """Time it and return what its file holds; raise `ImplementationFailedError` where an environment cannot run it.

        The first launch's pilot sets the number of rounds of every launch. Every other launch starts the new side
        first: of two processes of identical code the second has been seen to be faster by half a percent.
        """
        old = Implementation(self.case, python=self.pythons[0])
        new = Implementation(self.case, copy=1, slowed=self.slowed, python=self.pythons[1])
        random = np.random.default_rng(int(self.name_file(plan), 16))
        launches: list[dict[str, Any]] = []
        facts: list[dict[str, str]] = []
        for at in range(self.launches):
            order = (new, old) if at % 2 else (old, new)
            with pairs.start_runners(order, log) as runners:
                rounds, wanted = pairs.settle_rounds(runners, plan, random)
                plan = dataclasses.replace(plan, rounds=rounds)
                series = pairs.time_rounds(runners, rounds, random)
                places = [order.index(side) for side in (old, new)]
                facts = [runners[at].live.facts for at in places]
            sides = dict(zip(("old", "new"), series.seconds[:, places].T.tolist(), strict=True))
            launches.append(sides | {"rounds_wanted": wanted, "waiting": series.waiting})
            hear((at + 1) / self.launches)
        return {
            "schema": side_by_side.SCHEMA,
            "step": Group((old,)).step,
            "framework": self.case.framework,
            "path": self.case.path,
            "old": facts[0],
            "new": facts[1],
            "launches": launches,
        }


def find_interpreter(environment: str) -> str:
    """Return the interpreter of an environment: a folder made by venv or virtualenv, or the interpreter itself."""
    path = Path(environment)
    for candidate in (path, path / "bin" / "python", path / "Scripts" / "python.exe"):
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate.absolute())  # not resolved: a link to the system's Python would lose the environment
    message = f"{environment} is not a Python environment: neither an interpreter nor a folder with bin/python"
    raise registry.UsageError(message)
