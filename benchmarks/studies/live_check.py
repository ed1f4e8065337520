"""How far ``compare --live`` can be trusted: pairs of the same environment, and pairs with an injected slowdown.

Each pair is a live comparison of one step of its own: as many launches of both sides as ``compare --live`` makes, in
alternating blocks, judged alone. Pairs of equals must get no verdict but "same" or "inconclusive"; with ten percent
injected, each must be "worse". ``python -m benchmarks live-check`` runs it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import environment
from farreach.benchmarks.speed import LAUNCHES, pairs, versus
from farreach.frameworks.base import Cell
from farreach.results.analysis import comparison
from farreach.results.storage.files import write_json
from farreach.results.timing import side_by_side

INJECTED = 0.1
"""The share by which the new side of some pairs is slowed."""

CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")


def measure_pairs(framework: str, count: int, plan: pairs.TimingPlan, say: Callable[[str], None]) -> pd.DataFrame:
    """Compare `count` pairs of equals and half as many with an injected slowdown; one row per pair."""
    lines = []
    slowdowns = [0.0] * count + [INJECTED] * -(-count // 2)
    with tempfile.TemporaryDirectory() as folder:
        for at, slowdown in enumerate(slowdowns):
            cell = CELLS[at % len(CELLS)]
            path = registry.list_paths(framework, "cpu", cell)[0]
            case = Case(task="adding", parameters=(("T", 50),), framework=framework, cell=cell, seed=at, path=path)
            lines.append(judge_pair(case, plan, slowdown, Path(folder)))
            say(f"[{at + 1}/{len(slowdowns)}] {lines[-1]['speed']}")
    return pd.DataFrame(lines)


def judge_pair(case: Case, plan: pairs.TimingPlan, slowdown: float, folder: Path) -> dict[str, object]:
    """Return the verdict on one pair, with its ratio and interval."""
    pair = versus.Versus(case, (sys.executable, sys.executable), LAUNCHES, slowdown)
    path = folder / "pair.json"
    write_json(path, pair.measure(plan, folder / "logs") | {"facts": environment.collect_facts()})
    line = side_by_side.compare_environments([path]).speed.iloc[0]
    return {"step": line["step"], "framework": line["framework"], "injected": slowdown} | {
        name: line[name] for name in ("new / old", "low", "high", "p", "speed")
    }


def summarize_pairs(frame: pd.DataFrame) -> str:
    """Say how many pairs of each kind were flagged."""
    equals, slowed = frame[frame["injected"] == 0], frame[frame["injected"] > 0]
    false = int(equals["speed"].isin([comparison.WORSE, comparison.BETTER]).sum())
    detected = int((slowed["speed"] == comparison.WORSE).sum())
    return (
        f"{false} of {len(equals)} live comparisons of the same environment were flagged; an injected slowdown of "
        f"{INJECTED:.0%} was flagged in {detected} of {len(slowed)}. Each is {LAUNCHES} launches of both sides."
    )
