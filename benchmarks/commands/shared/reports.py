"""The report of a result set, written and told on the terminal."""

from __future__ import annotations

import contextlib
import gc
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import typer

from farreach.benchmarks.commands.shared import output, refusals
from farreach.results.storage.sanitising import format_line
from farreach.results.vocabulary import PROGRAM


def try_report(folder: Path, write: Callable[[], None], what: str, again: str) -> bool:
    """Write what a run is told by and return whether that could be; where not, say so in a line: its rows are kept.

    Args:
        folder: of the run; what went wrong, in full, is added to a log there.
        write: writes and prints it.
        what: what that is.
        again: the command that does the same.

    """
    from farreach.benchmarks.running.reasons import write_reason
    from farreach.results.storage.files import StoreError, open_log

    kept = f"the rows are kept, and {again} makes it"
    try:
        write()
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted: {what} was not written; {kept}\n")
        raise typer.Exit(130) from None
    except Exception as error:  # noqa: BLE001 - hours of training are not to end in a traceback
        if not (known := refusals.is_user_error(error)):
            with contextlib.suppress(StoreError), open_log(folder / "logs" / "report.log") as log:
                traceback.print_exc(file=log)
        reason = format_line(error if known else write_reason(error))
        sys.stderr.write(f"error: {what} was not written: {reason}; {kept}\n")
        return False
    return True


def write_report(folder: Path, *, anew: bool = True) -> None:
    """Write report and page, `anew` or where they do not tell of the rows; print the answers and the compact table."""
    from farreach.benchmarks.matrix import versions
    from farreach.results.report import contents, findings, freshness, ledger, own_runs, terminal, timing_contents
    from farreach.results.report.speed_sentences import write_stale

    paths: list[Path] = []
    sentences: list[str] = []
    warned: list[str] = []
    table = None
    now = versions.collect_versions()
    gc.set_threshold(100_000)  # tables are no cycles: to look for some among them takes a tenth of the time
    results = contents.read_results(folder, now=now)
    if results.store.list_finished() or (folder / "rows").is_dir():
        if anew or not freshness.is_fresh(results, now):
            # It takes a second to import, and a finished suite needs none.
            from farreach.results.report import result_set

            freshness.forget_report(folder)
            paths, results = result_set.write_results(results, now)
            if results.verdicts:
                paths.append(ledger.write_page(results.store))
        sentences += findings.write_scope(results.rows.frame, results.runs)
        sentences += [*own_runs.write_own_runs(results.rows.own), *results.trouble]
        warned = own_runs.write_warnings(results.rows)
        table = terminal.render_summary(results.rows)
    if timing_contents.has_timings(results.store):
        from farreach.results.report import timing

        paths += timing.write_page(folder, results.timed)
        sentences += [*timing_contents.write_findings(results.timed), *write_stale(results.timed.groups)]
    if paths:
        from farreach.results.site import page

        paths += page.write_page(results)
        freshness.note_report(results, now, paths)
    output.console.print()
    output.print_list(warned)
    output.console.print(terminal.render_answers(results.answers, results.glances))
    output.print_list(sentences)
    if table:
        output.console.print(table)
    output.print_written(paths)
    if not paths:
        output.print_line(f"nothing is newer than {folder}/{contents.PAGE}, which was left as it is")


def load_early() -> None:
    """Load what draws a report while cases run, which takes seconds at their end; in vain where that fails."""
    with contextlib.suppress(Exception):
        from farreach.results.report import gallery
        from farreach.results.site import page

        del gallery, page


def tell_run(folder: Path, *, anew: bool = True) -> bool:
    """Write the report of a run that has ended, as `write_report` does; return whether that could be."""
    again = shlex.join([*PROGRAM.split(), "report", str(folder)])
    return try_report(folder, lambda: write_report(folder, anew=anew), "the report", again)
