"""How far ``compare --live`` can be trusted: pairs of the same environment, and pairs with a planted slow-down.

    python -m farreach.benchmarks.studies.live_check --pairs 20 --out FILE

Each pair is a live comparison of one step of its own: as many launches of both sides as ``compare --live`` makes, in
alternating blocks, judged alone. Pairs of equals must get no verdict but "same" or "cannot tell"; with
ten percent planted, each must be "worse".
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from farreach.benchmarks.commands.compare import LAUNCHES
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import environment
from farreach.benchmarks.speed import pairs, versus
from farreach.benchmarks.studies import measurement
from farreach.frameworks.base import Cell
from farreach.results.analysis import comparison
from farreach.results.report.console import Screen
from farreach.results.storage.files import write_json

PLANTED = 0.1
CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")


def one(case: Case, plan: pairs.Plan, slowed: float, folder: Path) -> dict[str, object]:
    """Return the verdict on one pair, with its ratio and interval."""
    pair = versus.Versus(case, (sys.executable, sys.executable), LAUNCHES, slowed)
    path = folder / "pair.json"
    write_json(path, pair.measure(plan, folder / "logs") | {"facts": environment.facts()})
    line = comparison.live([path]).speed.iloc[0]
    return {"step": line["step"], "framework": line["framework"], "planted": slowed} | {
        name: line[name] for name in ("new / old", "low", "high", "p", "speed")
    }


def main(
    count: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of equals; half as many are slowed.")] = 20,
    limit: Annotated[float, typer.Option(help="Seconds that the rounds of a launch may take.")] = 3.0,
    framework: Annotated[str, typer.Option(help="Whose step.")] = "pytorch",
    out: measurement.Out = None,
) -> None:
    """Measure and print."""
    console, plan, lines = Screen(), pairs.Plan(limit=limit), []
    shares = [0.0] * count + [PLANTED] * -(-count // 2)
    with tempfile.TemporaryDirectory() as folder:
        for at, slowed in enumerate(shares):
            cell = CELLS[at % len(CELLS)]
            path = registry.paths(framework, "cpu", cell)[0]
            case = Case(task="adding", parameters=(("T", 50),), framework=framework, cell=cell, seed=at, path=path)
            lines.append(one(case, plan, slowed, Path(folder)))
            console.print(f"[{at + 1}/{len(shares)}] {lines[-1]['speed']}", markup=False)
    frame = pd.DataFrame(lines)
    equals, planted = frame[frame["planted"] == 0], frame[frame["planted"] > 0]
    alarms = int(equals["speed"].isin([comparison.WORSE, comparison.BETTER]).sum())
    found = int((planted["speed"] == comparison.WORSE).sum())
    said = (
        f"{alarms} of {len(equals)} live comparisons of the same environment were flagged; a planted slow-down of "
        f"{PLANTED:.0%} was flagged in {found} of {len(planted)}. Each is {LAUNCHES} launches of both sides."
    )
    command = f"python -m farreach.benchmarks.studies.live_check --pairs {count} --limit {limit:g}"
    measurement.tell(frame, title="live comparisons of equals", command=command, said=said, out=out)


if __name__ == "__main__":
    typer.run(main)
