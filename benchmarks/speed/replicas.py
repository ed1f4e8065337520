"""How a step's time scales with replicas: one process and a group of them in alternating blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.speed import pairs
from farreach.benchmarks.speed.implementations import Implementation
from farreach.results.analysis import statistics

FILE = "replicas.csv"
"""What it is written into, in the folder of the timings."""

APART: dict[str, Any] = {"seed": 0, "replicate": 0, "steps": 0, "until": "", "threshold": None}
"""Facts of a case that its step takes as long with."""


def choose_steps(cases: Iterable[Case]) -> list[Case]:
    """Return the first case of each step."""
    steps: dict[str, Case] = {}
    for case in cases:
        steps.setdefault(str(case.to_json() | APART), case)
    return [*steps.values()]


def time_steps(cases: Iterable[Case], plan: pairs.TimingPlan, log: Path) -> Iterator[dict[str, Any]]:
    """Yield for each step what `measure_efficiency` found, beside the facts of its case."""
    for case in cases:
        facts = {**case.to_json(), "parameters": case.parameters}
        yield facts | measure_efficiency(case, plan, log)


def measure_efficiency(case: Case, plan: pairs.TimingPlan, log: Path) -> dict[str, Any]:
    """Time a step in one process and in replicas of it, in alternating blocks.

    Returns:
        Seconds per step of one process and of all replicas together (medians), how many times as fast a replica is as
        it would be if it did its share of the one process's time (``efficiency``, 1 at best but for caches), its 95 %
        interval within this launch, and the rounds.

    """
    alone = dataclasses.replace(case, replicas=1, clip_at="after" if case.microbatches == 1 else case.clip_at)
    both = [Implementation(alone), Implementation(case, copy=1)]
    random = np.random.default_rng(case.seed)
    with pairs.start_runners(both, log) as runners:
        rounds, _ = pairs.settle_rounds(runners, plan, random)
        series = pairs.time_rounds(runners, rounds, random)
    one, every = series.seconds.T
    ratio, low, high = (end / case.replicas for end in statistics.estimate_ratio(one, every))
    found = {"seconds_one": float(np.median(one)), "seconds_all": float(np.median(every))}
    return found | {"efficiency": ratio, "low": low, "high": high, "rounds": rounds}
