"""What the commands that train have in common: the facts of a run, its progress, its interruption, a cluster."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from farreach import granted
from farreach.benchmarks.commands.shared import output, refusals
from farreach.benchmarks.commands.shared.words import format_command
from farreach.benchmarks.matrix import registry
from farreach.results.storage.sanitising import format_line

if TYPE_CHECKING:
    from farreach.benchmarks.cluster.pool import Pool
    from farreach.benchmarks.matrix.case import Case
    from farreach.benchmarks.running import sweep
    from farreach.results.storage.result_set import Store

RESUME = "what was finished is kept, the same command carries on"


def collect_facts(suite: str, jobs: int | None, threads: int = 1, replicas: int = 1) -> dict[str, Any]:
    """Return what every record says of this run; `replicas` are the most that a case of it has."""
    return {
        "suite": suite,
        "command": format_command(),
        "jobs": jobs or max(1, granted.count_cores() // (threads * replicas)),
    }


def say_crowded(cases: Iterable[Case]) -> None:
    """Say once that there are fewer cores than a case has replicas with their threads."""
    most = max((case.cores for case in cases if case.replicas > 1), default=0)
    cores = granted.count_cores()
    if most > cores:
        output.print_line(f"replicas keep {most} cores busy and there are {cores}: their steps take turns")


@contextmanager
def end_on_interruption() -> Iterator[None]:
    """Let Ctrl-C end the command with one line and status 130, and a disk that takes no more with status 1."""
    from farreach.results.storage.files import StoreError

    try:
        yield
    except StoreError as error:
        sys.stderr.write(f"error: {format_line(error)}; {RESUME}\n")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted: {RESUME}\n")
        raise typer.Exit(130) from None


def plan_run(
    cases: list[Case],
    store: Store,
    said: dict[Case, dict[str, Any]] | None = None,
    *,
    stale: bool | None = None,
) -> sweep.Plan:
    """Return what is to be run; say how many rows other code or other settings made, and drop them if asked to.

    `stale` is None where the command has no option for it.
    """
    from farreach.benchmarks.running import resume, sweep

    plan, hint = sweep.plan_run(cases, store, said), "; --stale runs them again"
    moved = resume.find_moved(plan, store)
    if moved:
        line = f"{len(moved)} of {len(plan.done)} rows were made by other code or settings: "
        output.print_line(line + ("they are run again" if stale else "they stay as they are") + hint * (stale is False))
    return resume.drop_moved(plan, store, moved) if moved and stale else plan


def list_work(suite: str, cases: list[Case], folder: Path, jobs: int) -> None:
    """Print the cases of a run that are still to be trained, each with an estimate of its time, and that of all."""
    from farreach.benchmarks.running import estimate
    from farreach.results.report.phrases import write_count
    from farreach.results.storage.sets import is_set, open_set

    done = open_set(folder).list_finished() if folder.is_dir() and is_set(folder) else set()
    keyed = {case.key(): case for case in cases}
    missing = [case for key, case in keyed.items() if key not in done]
    rows = estimate.read_rows(dict.fromkeys([folder, registry.RUNS, registry.PUBLISHED]))
    found = estimate.estimate_cases(missing, rows)
    output.print_line(f"{suite}: {len(keyed)} cases, {len(keyed) - len(missing)} already done, {len(missing)} to run")
    for case, seconds in found.seconds.items():
        took = "unknown" if seconds is None else f"about {estimate.format_duration(seconds)}"
        output.print_line(f"  {case.label()}: {took}")
    unknown = sum(seconds is None for seconds in found.seconds.values())
    wall = f"{'at least' if unknown else 'about'} {estimate.format_duration(found.find_wall(jobs))}"
    output.print_line(f"{wall} with --jobs {jobs}, on idle cores, by the times of earlier rows")
    for basis, count in found.rests_on.items():
        output.print_line(f"- {write_count(count, 'case')}: estimated from {basis}")
    output.print_line("nothing was trained or written")


def run_cases(
    plan: sweep.Plan,
    store: Store,
    facts: dict[str, Any],
    *,
    workers: int = 1,
    pool: Pool | None = None,
    seconds: float = math.inf,
) -> sweep.RunSummary:
    """Print how much there is to do and run what is missing, here or on a cluster, with a progress bar.

    Here no case begins after so many seconds.
    """
    from farreach.benchmarks.commands.shared.reports import load_early
    from farreach.benchmarks.running.progress import Progress
    from farreach.benchmarks.running.sweep import Sweep

    done, missing = len(plan.done), [*plan.missing.values()]
    output.print_line(f"{facts['suite']}: {len(plan.cases)} cases, {done} already done, {len(missing)} to run")
    with end_on_interruption(), Progress(missing, output.console) as bar:
        if pool is None:
            return Sweep(
                plan, store, listener=bar, facts=facts, workers=workers, seconds=seconds, meanwhile=load_early
            ).run()
        from farreach.benchmarks.cluster.sweep import ClusterSweep

        return ClusterSweep(plan, store, pool, listener=bar, facts=facts).run()


@contextmanager
def connect_cluster(address: str, patience: float, folder: Path) -> Iterator[Pool]:
    """Yield the workers of a Dask cluster, which are let go when the block is left."""
    refusals.require_distributed("--dask")
    from farreach.benchmarks.cluster import connect

    log = folder / "logs" / "dask.log"
    with (
        end_on_interruption(),
        connect.connect_pool(address, patience=patience, notice=output.print_line, log=log) as pool,
    ):
        yield pool
