"""The A/A test of the method: identical code timed as a pair, again and again, and with an injected slowdown.

Each launch starts two processes of one framework; its trials are measured one after the other, as many rounds each
as a pilot asked for. In some launches the second process is slowed by `INJECTED`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.speed import pairs
from farreach.benchmarks.speed.implementations import Implementation
from farreach.frameworks.base import Cell, Device
from farreach.results.timing import aa_check as checked

INJECTED = 0.02
TRIALS_A_LAUNCH = 6
INJECTED_EVERY = 4
"""One launch in so many is slowed."""

CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")


@dataclasses.dataclass(frozen=True)
class Launch:
    """Two processes of one framework and the trials that they serve."""

    number: int
    case: Case
    injected: float

    def name_file(self, plan: pairs.TimingPlan) -> str:
        """Return the name of its file, which ends in a hash of everything that can change what it holds."""
        facts = [self.case.key(), self.injected, TRIALS_A_LAUNCH, dataclasses.asdict(plan), checked.SCHEMA]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
        suffix = "-planted" if self.injected else ""
        return f"{self.number:03d}-{self.case.framework}-{self.case.cell}{suffix}-{digest}"


def list_launches(frameworks: list[str], trials: int, threads: int, device: Device = "cpu") -> list[Launch]:
    """Return launches for so many trials of identical code, frameworks and cells in turn, and the slowed ones.

    A framework takes part with the cells that it has; raises `UsageError` where none has any.
    """
    pairs = [*itertools.product(CELLS, frameworks)]
    gaps = [registry.find_gap(framework, device, cell, registry.MATCHED) for cell, framework in pairs]
    if gaps and all(gaps):
        raise registry.UsageError(gaps[0])
    kinds = itertools.cycle([pair for pair, gap in zip(pairs, gaps, strict=True) if not gap])
    launches: list[Launch] = []
    identical = 0
    while identical < trials:
        cell, framework = next(kinds)
        case = Case(
            task="adding",
            parameters=(("T", 50),),
            framework=framework,
            cell=cell,
            clip="norm",
            threshold=1.0,
            device=device,
            path=registry.list_paths(framework, device, cell)[0],
            threads=threads,
        )
        launches.append(Launch(len(launches), case, 0.0))
        identical += TRIALS_A_LAUNCH
        if len(launches) % INJECTED_EVERY == INJECTED_EVERY - 1:
            launches.append(Launch(len(launches), case, INJECTED))
    return launches


def time_launch(
    launch: Launch, plan: pairs.TimingPlan, log: Path, hear: Callable[[float], None] = lambda _: None
) -> dict[str, Any]:
    """Run the trials of one launch and return what its file holds.

    Raises `ImplementationFailedError` where that fails.
    """
    implementations = [Implementation(launch.case), Implementation(launch.case, copy=1, slowed=launch.injected)]
    random = np.random.default_rng(launch.number)
    with pairs.start_runners(implementations, log) as runners:
        rounds, wanted = pairs.settle_rounds(runners, plan, random)
        trials = []
        for at in range(TRIALS_A_LAUNCH):
            series = pairs.time_rounds(runners, rounds, random)
            trials.append({"first": series.seconds[:, 0].tolist(), "second": series.seconds[:, 1].tolist()})
            hear((at + 1) / TRIALS_A_LAUNCH)
    case = launch.case
    return {
        "launch": launch.number,
        "planted": launch.injected,
        "framework": case.framework,
        "path": case.path,
        "cell": case.cell,
        "rounds": rounds,
        "rounds_wanted": wanted,
        "trials": trials,
    }
