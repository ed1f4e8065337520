"""``speed``: frameworks timed against each other."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry


def speed(  # noqa: PLR0913 - typer reads the options from the arguments
    context: typer.Context,
    suite: Annotated[str, typer.Argument(help="Name of a suite, or path of a TOML file.")] = "speed",
    *,
    only: common.Only = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every framework.")] = 1,
    handwritten: Annotated[bool, typer.Option(help="Time each framework against hand-written loops instead.")] = False,
    check: Annotated[int, typer.Option(min=0, help="Time identical code against itself so many times instead.")] = 0,
    width: Annotated[float, typer.Option(help="Half of a 95 % interval, as a share of the ratio.")] = 0.01,
    limit: Annotated[float, typer.Option(help="Seconds that the rounds of one step may take.")] = 120.0,
    energy: Annotated[bool, typer.Option(help="Estimate joules a step too (needs codecarbon).")] = False,
    dask: common.Dask = None,
    patience: common.Patience = 60.0,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/SUITE, or .../check; -cuda after it.")] = None,
) -> None:
    """Time frameworks against each other in alternating blocks; path=auto in --only is the default."""
    from farreach.benchmarks.running import sweep
    from farreach.benchmarks.speed import command, pairs

    common.remote(context, dask)
    if dask and check:
        message = "--check is about one machine: run it there, without --dask"
        raise registry.UsageError(message)
    if check:
        common.refused(context, "of no use with --check, which has its own steps", "suite", "handwritten", "energy")
    plan = pairs.Plan(width=width, limit=limit, energy=energy)
    name = "check" if check else f"{Path(suite).stem}-handwritten" if handwritten else Path(suite).stem
    folder = out or registry.RUNS / (name if device == "cpu" else f"{name}-{device}")
    if check:
        launches = command.launches(check, only or [], device=device, threads=threads)
        cases = [launch.case for launch in launches]
        jobs = command.check_jobs(launches, plan, folder)
    else:
        found = command.chosen(suite, only or [], device=device, threads=threads, handwritten=handwritten)
        cases = [one.case for group in found for one in group.contenders]
        jobs = command.timing_jobs(found, plan, folder)
    common.writable(folder)
    missing = command.undone(jobs, folder, common.say_line)
    if dask and missing:
        with common.cluster(dask, patience, folder) as pool:
            from farreach.benchmarks.cluster import timings

            pool.workers.check(timings.work(missing).values())
            measure = functools.partial(timings.measured, pool)
            failed = command.work(jobs, folder, common.command_line(), common.console, measure=measure)
    else:
        if device != "cpu" and not dask:
            sweep.preflight(cases, folder / "logs")
        with common.interruptible():
            if not dask:
                command.measure_machine(folder, cases[0], common.say_line)
            failed = command.work(jobs, folder, common.command_line(), common.console)
    if any(job.path.exists() for job in jobs):
        common.told(folder)
    for line in failed:
        common.console.print(f"[red]failed[/red] {escape(line)}")
    raise typer.Exit(1 if failed else 0)
