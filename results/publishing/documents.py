"""The documents that quote published results, made again or held against them."""

from __future__ import annotations

import re
from pathlib import Path

from farreach.results.analysis import tables
from farreach.results.publishing import blocks, manifests, pictures
from farreach.results.report import contents, timing, timing_contents
from farreach.results.report.markdown import escape, table
from farreach.results.report.speed_sentences import write_stale
from farreach.results.storage.files import read_json, write_json
from farreach.results.timing import interleaved

PUBLISHED = "results/published"

PAGES = tuple(
    f"docs/{name}.md" for name in ("results", "vanishing", "thresholds", "speed", "native", "certificates", "machines")
)
DOCUMENTS = ("README.md", f"{PUBLISHED}/README.md", *PAGES)
"""The documents that quote published results. A block stands in any of them, and so does a published figure."""

IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def list_figures(root: Path) -> list[Path]:
    """Return the figures of published sets that a document shows, by path: these are kept, and no others."""
    shown = {
        (root / name).parent.joinpath(target).resolve()
        for name in DOCUMENTS
        if (root / name).exists()
        for target in IMAGE.findall((root / name).read_text("utf-8"))
    }
    return sorted(path for path in shown if path.is_relative_to((root / PUBLISHED).resolve()))


def write_documents(root: Path) -> list[Path]:
    """Write the manifests of all published sets, and the documents' blocks; return what has changed."""
    published, changed = root / PUBLISHED, []
    for folder in manifests.sets(published):
        path, now = folder / manifests.FILE, manifests.manifest(folder)
        if not path.exists() or read_json(path) != now:
            write_json(path, now)
            changed.append(path)
    for path, text in _render_documents(root).items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def list_stale(root: Path) -> list[str]:
    """Return a line for each manifest, report, document and picture that does not say what its rows say."""
    published = root / PUBLISHED
    found = []
    for folder in manifests.sets(published):
        name = folder.relative_to(root).as_posix()
        path = folder / manifests.FILE
        if not path.exists() or read_json(path) != manifests.manifest(folder):
            found.append(f"{name}/{manifests.FILE} is not that of the files beside it")
        found += [f"{name}/{one}" for one in _check_reports(folder)]
    if found:
        return found
    found += [
        f"{path.relative_to(root).as_posix()} is stale"
        for path, text in _render_documents(root).items()
        if path.read_text("utf-8") != text
    ]
    found += [
        f"{path.relative_to(root.resolve()).as_posix()} is shown by a document and not there"
        for path in list_figures(root)
        if not path.exists()
    ]
    if pictures.are_stale(published, root / pictures.FOLDER):
        found.append(f"the pictures in {pictures.FOLDER} were taken from other rows")
    return found


def list_old_timings(root: Path) -> list[str]:
    """Return a line for each set with timings of an older version of the step, which only a timing makes new."""
    sets = manifests.sets(root / PUBLISHED)
    return [
        f"{one.relative_to(root).as_posix()}: {said}"
        for one in sets
        for said in write_stale(interleaved.read_groups(one))
    ]


def _render_documents(root: Path) -> dict[Path, str]:
    """Return each document that is there as it should be."""
    paths = [root / name for name in DOCUMENTS if (root / name).exists()]
    published = root / PUBLISHED
    return {path: blocks.fill_blocks(path.read_text("utf-8"), published, path.parent) for path in paths}


def _check_reports(folder: Path) -> list[str]:
    """Return what is wrong with the reports beside a set: the answers, the compact table, what the timings say."""
    found, timed = [], timing_contents.read_timings(folder)
    if (page := folder / contents.PAGE).exists():
        text, results = page.read_text("utf-8"), contents.read(folder)
        asked = contents.answered(results, timed)
        if not all(escape(line) in text for one in asked for line in one.lines()):
            found.append(f"{contents.PAGE} does not give the answers of its rows")
        summary = table(tables.tabulate_summary(results.rows))
        if summary not in (folder / "tables" / "summary.md").read_text("utf-8"):
            found.append("tables/summary.md is not that of its rows")
    if (page := folder / timing.PAGE).exists():
        text = page.read_text("utf-8")
        if not all(escape(one) in text for one in timing_contents.write_findings(timed)):
            found.append(f"{timing.PAGE} does not say what its timings say")
    return found
