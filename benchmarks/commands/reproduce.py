"""``reproduce``: recorded cases, run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, runs
from farreach.benchmarks.matrix import registry


def reproduce(
    target: Annotated[
        str,
        typer.Argument(metavar="KEY|DIR", help="Key of a row, folder of a result set, or DIR/KEY for a row in it."),
    ],
    *,
    only: options.Only = None,
    jobs: options.Jobs = None,
    allow_hub: options.AllowHub = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the new rows in this folder, so that a stopped command carries on from them.",
            callback=options.settle_path,
        ),
    ] = None,
    page: options.Page = None,
) -> None:
    """Run recorded cases again and compare bits, number and conclusion of each; exit 1 if a bit of one differs.

    Rows of a portable run are run again as one.

    Example:
        python -m benchmarks reproduce results/published/quick --only task=adding --jobs 2
    """
    import shutil
    import tempfile

    from farreach.benchmarks.running import sweep
    from farreach.benchmarks.running.portable import follow_rows
    from farreach.benchmarks.studies import rerun
    from farreach.results.report import reproduction
    from farreach.results.storage import files

    refusals.allow_hub(allowed=allow_hub)
    recorded = rerun.find_rows(target, only or [])
    follow_rows(recorded.rows.values())
    if out and out.resolve() == recorded.store.folder.resolve():
        message = f"--out {out} holds the recorded rows: the new ones need a folder of their own"
        raise registry.UsageError(message)
    sweep.require_frameworks([*recorded.rows])
    refusals.check_page(page)
    folder = out or Path(tempfile.mkdtemp(prefix="farreach-"))
    try:
        store = refusals.open_store(folder)
        plan = runs.plan_run([*recorded.rows], store, stale=True)
        facts = runs.collect_facts("reproduce", jobs)
        report = runs.run_cases(plan, store, facts, workers=facts["jobs"])
        verdicts = rerun.compare_rows(recorded, store, report.failed)
        output.print_list(reproduction.write_findings(verdicts))
        if page:
            files.write_text(page, reproduction.write_page(verdicts, facts["command"]))
    except BaseException:
        if not out and [*folder.glob("rows/*.json")]:
            output.print_line(f"the new rows are kept: the same command with --out {folder} carries on from them")
        elif not out:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if not out:
        shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(0 if all(row.verdict == reproduction.IDENTICAL for row in verdicts) else 1)
