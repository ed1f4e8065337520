"""``calibrate``: planted cases whose diagnosis is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, runs
from farreach.benchmarks.matrix import registry


def calibrate(
    *,
    framework: options.Framework = "pytorch",
    first_seed: Annotated[
        int, typer.Option(min=0, metavar="SEED", help="Run each planted case with five seeds from this one on.")
    ] = 0,
    jobs: options.Jobs = None,
    out: Annotated[Path | None, options.make_folder_option("results/runs/calibration")] = None,
) -> None:
    """Run planted cases whose diagnosis is known, and write how often the rules of the diagnosis are right.

    Example:
        python -m benchmarks calibrate --framework pytorch --first-seed 0 --jobs 2
    """
    import json

    from farreach.benchmarks.studies import planted_cases
    from farreach.results.analysis.calibration import PLANTED
    from farreach.results.report import calibration, terminal
    from farreach.results.storage import files

    registry.require_framework(framework)
    planted = {case.key(): (label, case) for label, case in planted_cases.plant_cases(framework, first_seed)}
    store = refusals.open_store(out or registry.RUNS / "calibration")
    truth = {key: label for key, (label, _) in planted.items()}
    files.write_text(store.folder / PLANTED, json.dumps(truth, indent=1) + "\n")
    plan = runs.plan_run([case for _, case in planted.values()], store)
    facts = runs.collect_facts("calibration", jobs)
    report = runs.run_cases(plan, store, facts, workers=facts["jobs"])
    if store.list_finished():
        confusion, page = calibration.write_page(store, facts["command"])
        output.console.print(terminal.render_confusion(confusion))
        output.print_line(calibration.write_share_right(confusion))
        output.print_written([page])
    output.end_run(report.failed)
