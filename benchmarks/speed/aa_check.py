"""The method held against itself: identical code timed as a pair, again and again, and with a planted difference.

Each launch starts two processes of one framework; its trials are measured one after the other, as many rounds each
as a pilot asked for. In some launches the second process is slowed by `PLANTED`.
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
from farreach.benchmarks.speed.contenders import Contender
from farreach.frameworks.base import Cell, Device
from farreach.results.timing import aa_check as checked

PLANTED = 0.02
TRIALS_A_LAUNCH = 6
PLANTED_EVERY = 4
"""One launch in so many is slowed."""

CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")


@dataclasses.dataclass(frozen=True)
class Launch:
    """Two processes of one framework and the trials that they serve."""

    number: int
    case: Case
    planted: float

    def name(self, plan: pairs.Plan) -> str:
        """Return the name of its file, which ends in a hash of everything that can change what it holds."""
        facts = [self.case.key(), self.planted, TRIALS_A_LAUNCH, dataclasses.asdict(plan), checked.SCHEMA]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
        planted = "-planted" if self.planted else ""
        return f"{self.number:03d}-{self.case.framework}-{self.case.cell}{planted}-{digest}"


def launches(frameworks: list[str], trials: int, threads: int, device: Device = "cpu") -> list[Launch]:
    """Return launches for so many trials of identical code, frameworks and cells in turn, and the planted ones."""
    kinds = itertools.cycle(itertools.product(CELLS, frameworks))
    made: list[Launch] = []
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
            path=registry.paths(framework, device, cell)[0],
            threads=threads,
        )
        made.append(Launch(len(made), case, 0.0))
        identical += TRIALS_A_LAUNCH
        if len(made) % PLANTED_EVERY == PLANTED_EVERY - 1:
            made.append(Launch(len(made), case, PLANTED))
    return made


def measure(
    launch: Launch, plan: pairs.Plan, log: Path, heard: Callable[[float], None] = lambda _: None
) -> dict[str, Any]:
    """Run the trials of one launch and return what its file holds; raise `ContenderFailedError` where that fails."""
    contenders = [Contender(launch.case), Contender(launch.case, copy=1, slowed=launch.planted)]
    random = np.random.default_rng(launch.number)
    with pairs.started(contenders, log) as runners:
        rounds, wanted = pairs.settled(runners, plan, random)
        trials = []
        for at in range(TRIALS_A_LAUNCH):
            series = pairs.measure(runners, rounds, random)
            trials.append({"first": series.seconds[:, 0].tolist(), "second": series.seconds[:, 1].tolist()})
            heard((at + 1) / TRIALS_A_LAUNCH)
    case = launch.case
    return {
        "launch": launch.number,
        "planted": launch.planted,
        "framework": case.framework,
        "path": case.path,
        "cell": case.cell,
        "rounds": rounds,
        "rounds_wanted": wanted,
        "trials": trials,
    }
