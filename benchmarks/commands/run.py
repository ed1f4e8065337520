"""``run``: train what is missing of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry

if TYPE_CHECKING:
    from farreach.benchmarks.cluster.pool import Pool
    from farreach.benchmarks.running import sweep
    from farreach.results.storage.result_set import Store


def run(  # noqa: PLR0913 - typer reads the options from the arguments
    context: typer.Context,
    suite: Annotated[str, typer.Argument(help="Name of a suite, or path of a TOML file.")],
    *,
    only: common.Only = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every framework.")] = 1,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at work at a time, one a framework. Default: cores/threads.")
    ] = None,
    shard: Annotated[str | None, typer.Option(metavar="K/N", help="Run the K-th of N parts of the cases.")] = None,
    dask: common.Dask = None,
    patience: common.Patience = 60.0,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/SUITE.")] = None,
) -> None:
    """Run a suite: what is missing in its folder is trained, then the report is written."""
    from farreach.benchmarks.matrix import suite as suites
    from farreach.benchmarks.running import sweep

    common.remote(context, dask)
    if dask and jobs:
        message = "--jobs is about this machine: on a cluster its workers' threads say how many cases run at a time"
        raise registry.UsageError(message)
    installed = [name for name in registry.compared() if registry.version(name)]
    frameworks = suites.named(only or []) or installed
    cases = suites.load(suite).cases(frameworks, device=device, threads=threads)
    cases = suites.shard(suites.narrow(cases, only or [], suite), shard)
    sweep.check(cases)
    folder = out or registry.RUNS / Path(suite).stem
    store = common.opened(folder)
    plan = sweep.plan(cases, store)
    facts = common.facts_of(Path(suite).stem, jobs, threads)
    if dask and plan.missing:
        with common.cluster(dask, patience, folder) as pool:
            ended = _sent(plan, store, facts, pool)
    else:
        if device == "cuda" and not dask:
            sweep.preflight(cases, folder / "logs")
        alone = len({case.framework for case in cases}) == 1
        ended = common.swept(plan, store, facts, workers=facts["jobs"] if alone else 1)
    if store.finished():
        common.told(folder, anew=False)
    common.end(ended.failed)


def _sent(plan: sweep.Plan, store: Store, facts: dict[str, Any], pool: Pool) -> sweep.Report:
    """Say how much there is to do and have a cluster run what is missing, with a progress bar."""
    from farreach.benchmarks.cluster.sweep import Sweep, work
    from farreach.benchmarks.running.progress import Progress

    pool.workers.check(work(plan.missing).values())
    common.say(plan, facts)
    with Progress(list(plan.missing.values()), common.console) as shown:
        return Sweep(plan, store, pool, listener=shown, facts=facts).run()
