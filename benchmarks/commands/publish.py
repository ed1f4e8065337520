"""``publish``: manifests, documents and pictures from the published sets."""

from __future__ import annotations

from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import output
from farreach.benchmarks.matrix import registry


def publish(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a file is older than its rows.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Take new pictures of the page as well, in a headless Chromium.")
    ] = False,
) -> None:
    """Write what the documents quote of the published sets anew, or check that it is current.

    Example:
        python -m benchmarks publish --check
    """
    from farreach.results.publishing import documents
    from farreach.results.publishing import pictures as screenshots

    root = registry.HERE
    if root != registry.ROOT:
        message = "publish writes the documents of a checkout, and this suite is installed"
        raise registry.UsageError(message)
    if check and pictures:
        message = "--check writes nothing, so it takes no --pictures"
        raise registry.UsageError(message)
    if check:
        stale = documents.list_stale(root)
        for line in [*stale, *documents.list_old_timings(root)]:
            output.print_line(line)
        output.print_line("python -m benchmarks publish makes them again" if stale else "all documents are current")
        raise typer.Exit(1 if stale else 0)
    changed = documents.write_documents(root)
    changed += screenshots.take_pictures(root / documents.PUBLISHED, root / screenshots.FOLDER) if pictures else []
    output.print_written(changed)
    if not changed:
        output.print_line("all documents were current already")
