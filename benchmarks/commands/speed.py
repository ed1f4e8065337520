"""``speed``: frameworks timed against each other."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, reports, runs, words
from farreach.benchmarks.matrix import registry

if TYPE_CHECKING:
    from farreach.benchmarks.matrix.case import Case
    from farreach.benchmarks.speed.pairs import TimingPlan


def speed(  # noqa: PLR0913 - typer reads the options from the arguments
    context: typer.Context,
    suite: options.Suite = "speed",
    *,
    only: options.Only = None,
    allow_hub: options.AllowHub = False,
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    handwritten: Annotated[
        bool, typer.Option("--handwritten", help="Time each framework against hand-written training loops instead.")
    ] = False,
    aa_test: Annotated[
        int,
        typer.Option(
            "--aa-test",
            min=0,
            metavar="TRIALS",
            help="Run an A/A test instead: time identical code against itself TRIALS times.",
        ),
    ] = 0,
    width: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Measure until half of the 95 % interval of a ratio is this share of it."),
    ] = 0.01,
    limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Spend at most so many seconds on the rounds of one step.")
    ] = 120.0,
    energy: Annotated[
        bool, typer.Option("--energy", help="Estimate the joules per step as well; this needs the package codecarbon.")
    ] = False,
    dask: options.Dask = None,
    patience: options.Patience = 60.0,
    out: Annotated[
        Path | None,
        options.make_folder_option("results/runs/SUITE, or aa-test for an A/A test; -cuda is added on cuda"),
    ] = None,
) -> None:
    """Time the frameworks' training steps against each other, in alternating blocks.

    Each framework runs on its fastest path, unless --only path=PATH names one. With --only replicas=N each step of N
    replicas is timed beside the same step in one process, on the suite's path.

    Example:
        python -m benchmarks speed --only cell=lstm --only framework=pytorch --only framework=jax --limit 20
    """
    from farreach.benchmarks.running import sweep
    from farreach.benchmarks.speed import command, pairs
    from farreach.results.storage import files, sets

    refusals.allow_hub(allowed=allow_hub)
    refusals.check_dask(context, dask)
    if dask and aa_test:
        message = "--aa-test is about one machine: run it there, without --dask"
        raise registry.UsageError(message)
    if aa_test:
        refusals.refuse_options(context, ("suite", "handwritten", "energy"), "with --aa-test, which has its own steps")
    plan = pairs.TimingPlan(width=width, limit=limit, energy=energy)
    stem = files.make_name(Path(suite).stem)
    name = "aa-test" if aa_test else f"{stem}-handwritten" if handwritten else stem
    folder = out or registry.RUNS / (name if device == "cpu" else f"{name}-{device}")
    if not aa_test and any(text.startswith("replicas=") and text != "replicas=1" for text in only or []):
        given = ("handwritten", "energy", "dask", "patience")
        refusals.refuse_options(context, given, "with --only replicas=N, which times one process and N replicas")
        cases = command.choose_cases(suite, only or [], device=device, threads=threads, notice=output.print_line)
        _time_replicas(cases, plan, folder)
        return
    if aa_test:
        launches = command.list_launches(aa_test, only or [], device=device, threads=threads)
        cases = [launch.case for launch in launches]
        jobs = command.list_test_jobs(launches, plan, folder)
    else:
        groups = command.choose_groups(
            suite, only or [], device=device, threads=threads, handwritten=handwritten, notice=output.print_line
        )
        cases = [implementation.case for group in groups for implementation in group.implementations]
        jobs = command.list_timing_jobs(groups, plan, folder)
    sets.open_run_folder(folder)
    files.require_writable(folder)
    missing = command.find_missing(jobs, folder, output.print_line)
    if dask and missing:
        with runs.connect_cluster(dask, patience, folder) as pool:
            from farreach.benchmarks.cluster import timings

            pool.workers.require_workers(timings.list_work(missing).values())
            measure = functools.partial(timings.run_jobs, pool)
            failed = command.run_jobs(jobs, folder, words.format_command(), output.console, measure=measure)
    else:
        if device != "cpu" and not dask:
            sweep.try_devices(cases, folder / "logs")
        with runs.end_on_interruption():
            if not dask:
                command.measure_machine(folder, cases[0], output.print_line)
            failed = command.run_jobs(jobs, folder, words.format_command(), output.console)
    told = not any(job.path.exists() for job in jobs) or reports.tell_run(folder)
    output.print_failures(failed)
    raise typer.Exit(0 if told and not failed else 1)


def _time_replicas(cases: list[Case], plan: TimingPlan, folder: Path) -> None:
    """Time each step in one process and in replicas, print what that gives, and write it into the folder."""
    import pandas as pd

    from farreach.benchmarks.speed import pairs, replicas
    from farreach.results.record import render_parameters
    from farreach.results.report.splits import write_efficiency
    from farreach.results.storage import csv_files, files

    files.require_writable(files.make_folder(folder))
    steps = replicas.choose_steps(case for case in cases if case.replicas > 1)
    runs.say_crowded(steps)
    lines: list[dict[str, object]] = []
    with runs.end_on_interruption():
        try:
            for line in replicas.time_steps(steps, plan, folder / "logs"):
                output.print_line(write_efficiency(line))
                lines.append(line | {"parameters": render_parameters(line["parameters"])})
        except pairs.ImplementationFailedError as error:
            raise registry.UsageError(str(error)) from error
    csv_files.write_csv(folder / replicas.FILE, pd.DataFrame(lines))
    output.print_written([folder / replicas.FILE])
