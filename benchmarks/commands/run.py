"""``run``: train what is missing of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, reports, runs
from farreach.benchmarks.matrix import registry


def run(  # noqa: PLR0913 - typer reads the options from the arguments
    context: typer.Context,
    suite: options.Suite,
    *,
    only: options.Only = None,
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    jobs: options.Jobs = None,
    allow_hub: options.AllowHub = False,
    portable: options.Portable = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Run only the K-th of N equal parts of the cases, for example 1/3."),
    ] = None,
    dask: options.Dask = None,
    patience: options.Patience = 60.0,
    stale: Annotated[
        bool, typer.Option("--stale", help="Run those cases again whose rows other code or settings made.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cases with an estimate of the time; train and write nothing.")
    ] = False,
    out: Annotated[Path | None, options.make_folder_option("results/runs/SUITE")] = None,
) -> None:
    """Train the cases of a suite that its folder does not have yet, then write the report.

    Where several frameworks are compared, each has one process at a time. The cases of a single framework are divided
    among --jobs processes. After a stop, the same command carries on.

    Example:
        python -m benchmarks run quick --only cell=gru --only framework=pytorch --jobs 2
    """
    from farreach.benchmarks.matrix import suite as suites
    from farreach.benchmarks.running import sweep
    from farreach.results.storage import files

    refusals.allow_hub(allowed=allow_hub)
    if dry_run:
        refusals.refuse_options(context, ("dask", "patience", "stale"), "with --dry-run")
    refusals.check_dask(context, dask)
    refusals.make_portable(portable=portable, device=device, dask=dask)
    if dask and jobs:
        message = "--jobs is about this machine: on a cluster its workers' threads say how many cases run at a time"
        raise registry.UsageError(message)
    frameworks = suites.choose_frameworks(only or []) or registry.list_installed()
    loaded = suites.load_suite(suite)
    said = loaded.expand(frameworks, device=device, threads=threads, notice=output.print_line)
    cases = suites.choose_shard(suites.narrow_cases([*said], only or [], suite), shard)
    sweep.require_frameworks(cases)
    name = files.make_name(Path(suite).stem)
    replicas = max(case.replicas for case in cases)
    folder = out or registry.RUNS / name
    if dry_run:
        runs.list_work(name, cases, folder, runs.collect_facts(name, jobs, threads, replicas)["jobs"])
        return
    store = refusals.open_store(folder)
    plan = runs.plan_run(cases, store, said, stale=stale)
    if not dask:
        runs.say_crowded(plan.missing.values())
    facts = runs.collect_facts(name, jobs, threads, replicas)
    if dask and plan.missing:
        with runs.connect_cluster(dask, patience, folder) as pool:
            from farreach.benchmarks.cluster.sweep import list_work

            pool.workers.require_workers(list_work(plan.missing).values())
            report = runs.run_cases(plan, store, facts, pool=pool)
    else:
        if device == "cuda" and not dask:
            sweep.try_devices(cases, folder / "logs")
        alone = len({case.framework for case in cases}) == 1
        report = runs.run_cases(plan, store, facts, workers=facts["jobs"] if alone else 1)
    told = not store.list_finished() or reports.tell_run(folder, anew=False)
    output.end_run(report.failed, told=told)
