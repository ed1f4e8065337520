"""The documents that quote published results, made again or held against them."""

from __future__ import annotations

import re
from pathlib import Path

from farreach.results.publishing import blocks, manifests, pictures, reports
from farreach.results.report.speed_sentences import write_stale
from farreach.results.storage.columns import render_json_schema
from farreach.results.storage.files import StoreError, write_json, write_text
from farreach.results.storage.packed_set import MANIFEST, PackedSet, is_packed
from farreach.results.storage.sets import open_set
from farreach.results.timing import interleaved

PUBLISHED = "results/published"

PAGES = tuple(
    f"docs/{name}.md"
    for name in (
        "results",
        "ledger",
        "vanishing",
        "thresholds",
        "speed",
        "native",
        "certificates",
        "machines",
        "architectures",
    )
)
DOCUMENTS = ("README.md", f"{PUBLISHED}/README.md", *PAGES)
"""The documents that quote published results. A block stands in any of them, and so does a published figure."""

ROW_SCHEMA = "docs/schema/row.schema.json"
"""The JSON Schema of a row."""

IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def list_figures(root: Path) -> list[Path]:
    """Return the figures of published sets that a document shows, by path: these are kept, and no others."""
    targets = {
        (root / name).parent.joinpath(target).resolve()
        for name in DOCUMENTS
        if (root / name).exists()
        for target in IMAGE.findall((root / name).read_text("utf-8"))
    }
    return sorted(path for path in targets if path.is_relative_to((root / PUBLISHED).resolve()))


def write_documents(root: Path) -> list[Path]:
    """Write the manifests of all published sets, and the documents' blocks; return what has changed."""
    changed, wanted = [], [path for path in list_figures(root) if not path.exists()]
    for folder in manifests.list_published(root / PUBLISHED):
        store = _open_published(folder)
        manifest = store.manifest | manifests.describe_set(store)
        if store.manifest != manifest:
            write_json(folder / MANIFEST, manifest)
            changed.append(folder / MANIFEST)
        missing = any(path.is_relative_to(folder.resolve()) for path in wanted)
        if missing or [*reports.list_stale_reports(store)]:
            changed += reports.write_reports(store)
    for path, text in _render_documents(root).items():
        if path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            changed.append(path)
    figures = {*list_figures(root)}
    for folder in manifests.list_published(root / PUBLISHED):
        changed += reports.prune_reports(folder, figures)
    return [*dict.fromkeys(changed)]


def list_stale(root: Path) -> list[str]:
    """Return a line for each manifest, report, document and picture that does not say what its rows say."""
    published = root / PUBLISHED
    stale: list[str] = []
    for folder in manifests.list_published(published):
        name = folder.relative_to(root).as_posix()
        try:
            store = _open_published(folder)
        except StoreError as error:
            stale.append(str(error))
            continue
        if store.manifest != store.manifest | manifests.describe_set(store):
            stale.append(f"{name}/{MANIFEST} does not give the facts of its rows")
        stale += [f"{name}/{one}" for one in reports.list_stale_reports(store)]
    if stale:
        return stale
    stale += [
        f"{path.relative_to(root).as_posix()} is stale"
        for path, text in _render_documents(root).items()
        if path.read_text("utf-8") != text
    ]
    stale += [
        f"{path.relative_to(root.resolve()).as_posix()} is shown by a document and not there"
        for path in list_figures(root)
        if not path.exists()
    ]
    if pictures.are_stale(published, root / pictures.FOLDER):
        stale.append(f"the pictures in {pictures.FOLDER} were taken from other rows")
    return stale


def list_old_timings(root: Path) -> list[str]:
    """Return a line for each set with timings of an older version of the step, which only a timing makes new."""
    return [
        f"{folder.relative_to(root).as_posix()}: {line}"
        for folder in manifests.list_published(root / PUBLISHED)
        for line in write_stale(interleaved.read_groups(open_set(folder)))
    ]


def _render_documents(root: Path) -> dict[Path, str]:
    """Return each document that is there as it should be."""
    paths = [root / name for name in DOCUMENTS if (root / name).exists()]
    published = root / PUBLISHED
    texts = {path: blocks.fill_blocks(path.read_text("utf-8"), published, path.parent) for path in paths}
    return texts | ({root / ROW_SCHEMA: render_json_schema()} if (root / ROW_SCHEMA).exists() else {})


def _open_published(folder: Path) -> PackedSet:
    if not is_packed(folder):
        message = f"{folder.name} is not packed: python -m benchmarks pack DIR --thin --out {PUBLISHED}/{folder.name}"
        raise StoreError(message)
    return PackedSet(folder)
