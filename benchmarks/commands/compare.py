"""``compare``: two result sets, or with --live two environments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, runs, words
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.speed import LAUNCHES

if TYPE_CHECKING:
    from farreach.results.analysis.comparison import Comparison

LIVE_ONLY = ("suite", "only", "launches", "limit")
"""Options that say what a live comparison times."""


def compare(  # noqa: PLR0913 - typer reads the options from the arguments
    context: typer.Context,
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD",
            help="Folder of a result set or of several; with --live, a Python environment or interpreter.",
        ),
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same for the other side.")],
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Time the Python environments OLD and NEW against each other now.")
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(metavar="worse|changed", help="Exit 1 if a row has this verdict; repeat it for both."),
    ] = None,
    suite: Annotated[
        str, typer.Option(metavar="SUITE", help="With --live: time the training steps of this suite.")
    ] = "speed",
    only: options.Only = None,
    launches: Annotated[
        int, typer.Option(min=2, metavar="N", help="With --live: start both environments N times.")
    ] = LAUNCHES,
    limit: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="With --live: spend at most so many seconds on the rounds of a launch."),
    ] = 20.0,
    out: Annotated[Path | None, options.make_folder_option("results/runs/compare, or compare-live with --live")] = None,
) -> None:
    """Compare two result sets row by row, or with --live the speed of two environments.

    Example:
        python -m benchmarks compare results/published/quick results/runs/quick --fail-on worse
    """
    from farreach.results.analysis import comparison
    from farreach.results.report import comparison as comparison_report
    from farreach.results.site import comparison_page
    from farreach.results.storage import files
    from farreach.results.timing import side_by_side

    if not live:
        refusals.refuse_options(context, LIVE_ONLY, "without --live, since result sets are compared whole")
    folder = out or registry.RUNS / ("compare-live" if live else "compare")
    for verdict in fail_on or []:
        registry.require_name("--fail-on", verdict, [comparison.WORSE, comparison.CHANGED])
    if live and comparison.CHANGED in (fail_on or []):
        message = f"--fail-on {comparison.CHANGED} is about bits, and --live compares times alone"
        raise registry.UsageError(message)
    files.require_writable(folder)
    failed: list[str] = []
    if live:
        failed, paths = _time_environments((old, new), suite, only or [], launches=launches, limit=limit, folder=folder)
        result = side_by_side.compare_environments(paths)
    else:
        result = _compare_sets(Path(old), Path(new))
    heading = {"title": f"{old} and {new}", "command": words.format_command()}
    pages = comparison_report.write_page(folder, result, **heading)
    pages += comparison_page.write(folder, result, **heading)
    output.print_list(comparison_report.write_findings(result))
    output.print_written(pages)
    if fail_on and result.blind:
        output.print_line(f"--fail-on {' and '.join(fail_on)}: no row could be judged, so nothing was flagged")
    output.print_failures(failed)
    raise typer.Exit(1 if failed or any(result.list_flags(verdict) for verdict in fail_on or []) else 0)


def _compare_sets(old: Path, new: Path) -> Comparison:
    """Compare two sides, each a result set or several: rows of trained cases, or step times where there are none."""
    from farreach.benchmarks.matrix import versions
    from farreach.results.analysis import comparison
    from farreach.results.storage import sets
    from farreach.results.timing import side_by_side

    sides = [[*map(sets.open_set, sets.list_any_sets(side))] for side in (old, new)]
    if all(sides) and not any(sets.has_cases(store.folder) for side in sides for store in side):
        return side_by_side.compare_timings(*sides)
    now = versions.collect_versions()
    return comparison.compare_sides(comparison.read_side(old, now), comparison.read_side(new, now))


def _time_environments(
    environments: tuple[str, str], suite: str, only: list[str], *, launches: int, limit: float, folder: Path
) -> tuple[list[str], list[Path]]:
    """Time the steps of a suite in two environments; return a line for each that failed, and the others' files."""
    from farreach.benchmarks.speed import command, pairs, versus

    old, new = map(versus.find_interpreter, environments)
    steps = command.choose_groups(suite, only, device="cpu", threads=1, handwritten=False)
    jobs = command.list_live_jobs(steps, pairs.TimingPlan(limit=limit), folder, pythons=(old, new), launches=launches)
    with runs.end_on_interruption():
        failed = command.run_jobs(jobs, folder, words.format_command(), output.console)
    return failed, [job.path for job in jobs if job.path.exists()]
