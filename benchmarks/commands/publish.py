"""``publish``: manifests, documents and pictures from the published sets."""

from __future__ import annotations

from typing import Annotated

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry

NOTHING = "nothing is stale that publish makes"


def publish(
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 where something is stale.")] = False,
    pictures: Annotated[bool, typer.Option("--pictures", help="Take the pictures of the page too.")] = False,
) -> None:
    """Write what the documents quote of the published sets anew, or check that it is current."""
    from farreach.results.publishing import documents
    from farreach.results.publishing import pictures as taken
    from farreach.results.storage.files import StoreError

    root = registry.ROOT
    if check and pictures:
        message = "--check writes nothing, so it takes no --pictures"
        raise registry.UsageError(message)
    try:
        if check:
            found = documents.list_stale(root)
            for line in [*found, *documents.list_old_timings(root)]:
                common.console.print(line, markup=False)
            common.console.print("python -m benchmarks publish makes it again" if found else NOTHING)
            raise typer.Exit(1 if found else 0)
        changed = documents.write_documents(root)
        changed += taken.take_pictures(root / documents.PUBLISHED, root / taken.FOLDER) if pictures else []
    except StoreError as error:
        raise registry.UsageError(str(error)) from error
    common.wrote(changed)
    if not changed:
        common.console.print("nothing was stale")
