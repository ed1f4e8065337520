"""What the commands that train have in common: the facts of a run, its progress, its interruption, a cluster."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from farreach.benchmarks.commands.shared import output, refusals
from farreach.results.storage.sanitising import format_line

if TYPE_CHECKING:
    from farreach.benchmarks.cluster.pool import Pool
    from farreach.benchmarks.matrix.case import Case
    from farreach.benchmarks.running import sweep
    from farreach.results.storage.result_set import Store

RESUME = "what was finished is kept, the same command carries on"


def collect_facts(suite: str, jobs: int | None, threads: int = 1) -> dict[str, Any]:
    """Return what every record says of this run."""
    return {
        "suite": suite,
        "command": format_command(),
        "jobs": jobs or max(1, (os.cpu_count() or 1) // threads),
    }


def format_command() -> str:
    """Return the command that was given, as people type it.

    Of an absolute path the last part stays: rows are published, and where a machine keeps its files says nothing.
    """
    return shlex.join(["python", "-m", "benchmarks", *map(_shorten_path, sys.argv[1:])])


def _shorten_path(word: str) -> str:
    option, equals, path = word.partition("=") if "=" in word else ("", "", word)
    return f"{option}{equals}{Path(path).name}" if Path(path).is_absolute() else word


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
    sides: dict[Case, dict[str, Any]] | None = None,
    *,
    stale: bool | None = None,
) -> sweep.Plan:
    """Return what is to be run; say how many rows other code or other settings made, and drop them if asked to.

    `stale` is None where the command has no option for it.
    """
    from farreach.benchmarks.running import resume, sweep

    plan, hint = sweep.plan_run(cases, store, sides), "; --stale runs them again"
    moved = resume.find_moved(plan, store)
    if moved:
        line = f"{len(moved)} of {len(plan.done)} rows were made by other code or settings: "
        output.print_line(line + ("they are run again" if stale else "they stay as they are") + hint * (stale is False))
    return resume.drop_moved(plan, store, moved) if moved and stale else plan


def run_cases(
    plan: sweep.Plan, store: Store, facts: dict[str, Any], *, workers: int = 1, pool: Pool | None = None
) -> sweep.RunSummary:
    """Print how much there is to do and run what is missing, here or on a cluster, with a progress bar."""
    from farreach.benchmarks.running.progress import Progress
    from farreach.benchmarks.running.sweep import Sweep

    done, missing = len(plan.done), [*plan.missing.values()]
    output.print_line(f"{facts['suite']}: {len(plan.cases)} cases, {done} already done, {len(missing)} to run")
    with end_on_interruption(), Progress(missing, output.console) as bar:
        if pool is None:
            return Sweep(plan, store, listener=bar, facts=facts, workers=workers).run()
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
