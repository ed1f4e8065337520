"""``compare``: two result sets, or with --live two environments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.speed import LAUNCHES

TIMED = ("suite", "only", "launches", "limit")
"""Options that say what a live comparison times."""


def compare(  # noqa: PLR0913 - typer reads the options from the arguments
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="A result set, a folder of several, or an environment.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same, of the other side.")],
    *,
    live: Annotated[bool, typer.Option("--live", help="OLD and NEW are Python environments: time both now.")] = False,
    fail_on: Annotated[
        list[str] | None, typer.Option(metavar="worse|changed", help="Exit 1 where a row is that; repeatable.")
    ] = None,
    suite: Annotated[str, typer.Option(help="With --live: the steps of this suite.")] = "speed",
    only: common.Only = None,
    launches: Annotated[int, typer.Option(min=2, help="With --live: how often both are started.")] = LAUNCHES,
    limit: Annotated[float, typer.Option(help="With --live: seconds that the rounds of a launch may take.")] = 20.0,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/compare, or compare-live.")] = None,
) -> None:
    """Compare two result sets row by row, or with --live the speed of two environments."""
    from farreach.benchmarks.matrix import versions
    from farreach.results.analysis import comparison
    from farreach.results.report import comparison as comparison_report
    from farreach.results.site import comparison_page
    from farreach.results.storage.files import StoreError
    from farreach.results.timing import side_by_side

    if not live:
        common.refused(context, "of no use without --live, since result sets are compared whole", *TIMED)
    folder = out or registry.RUNS / ("compare-live" if live else "compare")
    for verdict in fail_on or []:
        registry.known("--fail-on", verdict, [comparison.WORSE, comparison.CHANGED])
    if live and comparison.CHANGED in (fail_on or []):
        message = f"--fail-on {comparison.CHANGED} is about bits, and --live compares times alone"
        raise registry.UsageError(message)
    common.writable(folder)
    failed: list[str] = []
    try:
        if live:
            failed, paths = _timed_live((old, new), suite, only or [], launches=launches, limit=limit, folder=folder)
            found = side_by_side.compare_environments(paths)
        else:
            now = versions.current()
            found = comparison.compared(comparison.read(Path(old), now), comparison.read(Path(new), now))
        given = {"title": f"{old} and {new}", "command": common.command_line()}
        written = [*comparison_report.write(folder, found, **given), *comparison_page.write(folder, found, **given)]
    except StoreError as error:
        raise registry.UsageError(str(error)) from error
    for sentence in comparison_report.sentences(found):
        common.console.print(f"- {sentence}", markup=False)
    common.wrote(written)
    if fail_on and found.blind:
        common.console.print(f"--fail-on {' and '.join(fail_on)}: this gate could tell nothing, and so found nothing")
    for line in failed:
        common.console.print(f"[red]failed[/red] {escape(line)}")
    raise typer.Exit(1 if failed or any(found.flagged(verdict) for verdict in fail_on or []) else 0)


def _timed_live(
    environments: tuple[str, str], suite: str, only: list[str], *, launches: int, limit: float, folder: Path
) -> tuple[list[str], list[Path]]:
    """Time the steps of a suite in two environments; return a line for each that failed, and the others' files."""
    from farreach.benchmarks.speed import command, pairs, versus

    old, new = map(versus.interpreter, environments)
    steps = command.chosen(suite, only, device="cpu", threads=1, handwritten=False)
    jobs = command.live_jobs(steps, pairs.Plan(limit=limit), folder, pythons=(old, new), launches=launches)
    with common.interruptible():
        failed = command.work(jobs, folder, common.command_line(), common.console)
    return failed, [job.path for job in jobs if job.path.exists()]
