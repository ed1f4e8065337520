"""``reproduce``: recorded cases, run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry


def reproduce(
    target: Annotated[str, typer.Argument(metavar="KEY|DIR", help="A row's key, DIR/KEY, or a result set.")],
    *,
    only: common.Only = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at work at a time. Default: cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the new rows here, to carry on after a stop.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write what was found here too, as Markdown.")] = None,
) -> None:
    """Run recorded cases again and compare them bit for bit; exit 1 where one is not the same."""
    import tempfile

    from farreach.benchmarks.running import sweep
    from farreach.benchmarks.studies import rerun as reproducing
    from farreach.results.report import reproduction

    found = reproducing.recorded(target, only or [])
    if out and out.resolve() == found.store.folder.resolve():
        message = f"--out {out} holds the recorded rows: the new ones need a folder of their own"
        raise registry.UsageError(message)
    sweep.check([*found.rows])
    if page:
        common.place(page)
    with tempfile.TemporaryDirectory() as scratch:
        store = common.opened(out or Path(scratch))
        plan = sweep.plan([*found.rows], store)
        facts = common.facts_of("reproduce", jobs, 1)
        ended = common.swept(plan, store, facts, workers=facts["jobs"])
        judged = reproducing.compared(found, store, ended.failed)
    if page:
        common.saved(page, reproduction.page(judged, facts["command"]))
    for sentence in reproduction.sentences(judged):
        common.console.print(f"- {sentence}", markup=False)
    raise typer.Exit(0 if all(one.verdict == reproduction.IDENTICAL for one in judged) else 1)
