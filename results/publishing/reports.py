"""The reports beside published sets: held against their rows, written again, and pruned to what documents show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from farreach.results.analysis import tables
from farreach.results.report import contents, ledger, result_set, timing, timing_contents
from farreach.results.report.markdown import escape, table
from farreach.results.storage.files import list_files, write_text
from farreach.results.storage.interface import LEDGER
from farreach.results.storage.packed_set import PackedSet

PICTURE = re.compile(r"!\[[^\]]*\]\((figures/[^)]+)\).*\n|\[All \d+ trials\]\((tables/[^)]+)\)\n")
"""A picture or a table that a report links to."""

DRAWN = "Pictures that no document shows are not kept here: the first of the commands at the end draws them."


def list_stale_reports(store: PackedSet) -> Iterator[str]:
    """Yield what is wrong with the reports beside a set: answers, compact table, what the timings say, verdicts."""
    timed = timing_contents.read_timings(store)
    if (page := store.folder / contents.PAGE).exists():
        text, results = page.read_text("utf-8"), contents.read_results(store.folder, store=store)
        if not all(escape(line) in text for answer in results.answers for line in answer.lines()):
            yield f"{contents.PAGE} does not give the answers of its rows"
        if not all(result_set.write_glance(one) in text for one in results.glances):
            yield f"{contents.PAGE} does not show the answers of its rows at a glance"
        if table(tables.tabulate_summary(results.rows)) not in text:
            yield f"{contents.PAGE} does not have the compact table of its rows"
    if (page := store.folder / timing_contents.PAGE).exists():
        text = page.read_text("utf-8")
        if not all(escape(one) in text for one in timing_contents.write_findings(timed)):
            yield f"{timing_contents.PAGE} does not say what its timings say"
    if store.list_documents(LEDGER):
        yield from ledger.list_stale(store)


def write_reports(store: PackedSet) -> list[Path]:
    """Write the reports that lie beside a set again; return their pages."""
    pages = []
    if (store.folder / contents.PAGE).exists():
        pages.append(result_set.write_results(contents.read_results(store.folder, store=store))[0][0])
    if (store.folder / timing_contents.PAGE).exists():
        pages.append(timing.write_page(store.folder, timing_contents.read_timings(store))[0])
    if store.list_documents(LEDGER):
        pages.append(ledger.write_page(store))
    return pages


def prune_reports(folder: Path, figures: set[Path]) -> list[Path]:
    """Remove the figures and tables of a set's reports that no document shows, and the links to them.

    Args:
        folder: the set.
        figures: the files that documents show, resolved.

    Returns:
        The reports that have changed.

    """
    for module in (result_set, timing):
        for part, ours in module.MADE.items():
            for path in list_files(folder / part, ours) if (folder / part).is_dir() else []:
                if path.resolve() not in figures:
                    path.unlink()
            if (folder / part).is_dir() and not any((folder / part).iterdir()):
                (folder / part).rmdir()
    return [
        page for page in (folder / contents.PAGE, folder / timing_contents.PAGE) if page.exists() and _drop_links(page)
    ]


def _drop_links(page: Path) -> bool:
    """Remove the links to what is not there from a report; return whether there were any."""

    def keep(match: re.Match[str]) -> str:
        return match[0] if (page.parent / (match[1] or match[2])).exists() else ""

    text = page.read_text("utf-8")
    shorter = re.sub(r"\n{3,}", "\n\n", PICTURE.sub(keep, text))
    head, heading, rest = shorter.partition("## Figures\n\n")
    if heading and shorter != text and DRAWN not in text:
        shorter = f"{head}{heading}{DRAWN}\n\n{rest}"
    if shorter != text:
        write_text(page, shorter)
    return shorter != text
