"""``calibrate``: planted cases whose diagnosis is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry


def calibrate(
    *,
    framework: Annotated[str, typer.Option(help="Which framework trains the planted cases.")] = "pytorch",
    first_seed: Annotated[int, typer.Option(min=0, help="Five seeds from this one.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers at a time. Default: cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/calibration.")] = None,
) -> None:
    """Run planted cases whose diagnosis is known, and write how often the rules are right."""
    import json

    from farreach.benchmarks.running import sweep
    from farreach.benchmarks.studies import planted_cases
    from farreach.results.analysis.calibration import PLANTED
    from farreach.results.report import calibration, terminal

    registry.require(registry.known("framework", framework, registry.frameworks()))
    planted = {case.key(): (label, case) for label, case in planted_cases.planted(framework, first_seed)}
    store = common.opened(out or registry.RUNS / "calibration")
    truth = {key: label for key, (label, _) in planted.items()}
    common.saved(store.folder / PLANTED, json.dumps(truth, indent=1) + "\n")
    plan = sweep.plan([case for _, case in planted.values()], store)
    facts = common.facts_of("calibration", jobs, 1)
    ended = common.swept(plan, store, facts, workers=facts["jobs"])
    if store.finished():
        found, page = calibration.write_page(store, facts["command"])
        common.console.print(terminal.confusion(found))
        common.console.print(f"{calibration.write_share_right(found)}\nwrote {page}", markup=False)
    common.end(ended.failed)
