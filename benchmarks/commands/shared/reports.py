"""The report of a result set, written and told on the terminal."""

from __future__ import annotations

import gc
from pathlib import Path

from farreach.benchmarks.commands.shared import output


def write_report(folder: Path, *, anew: bool = True) -> None:
    """Write report and page, `anew` or where they do not tell of the rows; print the answers and the compact table."""
    from farreach.benchmarks.matrix import versions
    from farreach.results.report import contents, findings, freshness, terminal, timing_contents
    from farreach.results.report.speed_sentences import write_stale

    paths: list[Path] = []
    sentences: list[str] = []
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
        sentences += findings.write_scope(results.rows.frame, results.runs)
        sentences += [*findings.write_own_runs(results.rows.own), *results.trouble]
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
    output.console.print(terminal.render_answers(results.answers))
    output.print_list(sentences)
    if table:
        output.console.print(table)
    output.print_written(paths)
    if not paths:
        output.print_line(f"nothing is newer than {folder}/{contents.PAGE}, which was left as it is")
