"""``budget``: what the evidence costs, before it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, runs
from farreach.benchmarks.matrix import registry


def budget(
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Read the sets and their hours from this TOML file. Default: benchmarks/budget.toml.",
            callback=options.settle_path,
        ),
    ] = None,
    pilot: Annotated[
        bool,
        typer.Option(
            "--pilot", help="First train a few steps of each kind of case of a set that no row of this processor is of."
        ),
    ] = False,
    out: options.Page = None,
) -> None:
    """Work out what each set of the evidence costs in hours of one core, and say what does not fit.

    The times are those of earlier rows, in results/runs and results/published. A case that may end when it is solved
    counts with all its steps unless rows of its setting tell more. A set that is over its hours ends the command with
    status 2, after the table.

    Example:
        python -m benchmarks budget --pilot --out budget.md
    """
    from farreach.benchmarks.running import estimate, sweep
    from farreach.benchmarks.studies import budget as study
    from farreach.benchmarks.studies import measurement

    refusals.check_page(out)
    plan = study.read_budget(file or study.FILE)
    folders = [registry.RUNS, registry.PUBLISHED]
    if pilot:
        cases = study.choose_pilot(plan.wanted, estimate.read_rows(folders))
        sweep.require_frameworks(cases)
        store = refusals.open_store(registry.RUNS / "pilot")
        ended = runs.run_cases(runs.plan_run(cases, store), store, runs.collect_facts("pilot", 1))
        output.print_failures(f"{failure.case.label()}: {failure.reason}" for failure in ended.failed)
    rows = estimate.read_rows(folders)
    sets = study.find_costs(plan, rows)
    beyond = [study.find_cost(part, rows) for part in plan.beyond]
    unaffordable = study.list_unaffordable() if any(one.claims for one in plan.set) else {}
    measurement.write_table(
        study.tabulate_costs(sets, beyond, unaffordable),
        title="what the evidence costs, in hours of one core",
        command="python -m benchmarks budget --pilot",
        sentence=(
            "Each suite runs by python -m benchmarks run SUITE --shard K/N, N being its shards: each takes at most an "
            "hour of one core, and the same command carries on with one that was cut off. The hours are upper bounds: "
            "a case that ends when it is solved counts with all its steps where no row tells when."
        ),
        out=out,
    )
    if excess := study.list_excess(sets):
        raise registry.UsageError("; ".join(excess))
