"""The site: a page for every published set, the answers over the newest of them, and a page for each published claim.

It loads nothing from elsewhere and works from the disk. The documentation is built into its folder ``docs`` by Sphinx,
which is not called here.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from farreach.results.analysis.ledger import ClaimVerdict
from farreach.results.analysis.staleness import Versions
from farreach.results.publishing import manifests
from farreach.results.report import contents, ledger
from farreach.results.report.markdown import escape, table
from farreach.results.report.phrases import write_count
from farreach.results.site import page, reading_page
from farreach.results.site.reading_page import Found
from farreach.results.storage.files import make_folder, read_json, write_text
from farreach.results.storage.packed_set import MANIFEST

LARGEST = 8_000_000
"""Bytes of a page, at most."""

TWINS = ("report.md", "speed.md", "reproduced.md", "ledger.md")
"""Texts beside a set that its page links to."""

LEAD = "Each answer is that of the newest published set that gives one. A set's page has all that is behind it."


def write_site(published: Path, out: Path, claims: Sequence[ClaimVerdict], now: Versions | None = None) -> list[Path]:
    """Write the site of a tree of published sets into a folder; return the pages.

    Args:
        published: the tree.
        out: the folder, which may hold an earlier site.
        claims: the verdict on each claim of the ledger; `NOT_RUN` where no row was published.
        now: the versions of today; rows of others are left out of the pages.

    Raises `StoreError` where a set is damaged, or where the folder cannot be written.

    """
    make_folder(out)
    pages: list[Path] = []
    answers: list[tuple[str, str, contents.Results]] = []
    for folder in manifests.list_published(published):
        name = folder.relative_to(published).as_posix()
        results = _write_set(folder, out / "sets" / name, now)
        answers.append((str(read_json(folder / MANIFEST).get("last") or ""), name, results))
        pages.append(out / "sets" / name / page.PAGE)
    answers.sort(key=lambda one: one[0], reverse=True)
    front = reading_page.render_front("Farreach", LEAD, _choose_answers(answers))
    texts = {out / "index.html": front, out / "sets" / "index.html": _render_sets(answers)}
    texts |= _render_claims(out / "claims", claims)
    texts |= {out / "certificates.html": _render_certificates(published / "certificates")}
    if (published / "semantics.md").exists():
        semantics = (published / "semantics.md").read_text("utf-8")
        texts |= {out / "semantics.html": reading_page.render_markdown("What clip functions do", semantics)}
    for path, text in texts.items():
        make_folder(path.parent)
        write_text(path, text)
    return [*texts, *pages]


def _write_set(folder: Path, out: Path, now: Versions | None) -> contents.Results:
    """Write the page of a set, and what it links to, into a folder; return what the set holds."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(folder, Path(place) / folder.name))
        results = contents.read_results(copy, now=now)
        page.write_page(results)
        shutil.rmtree(out, ignore_errors=True)
        make_folder(out)
        for name in (page.PAGE, page.FOLDER, "figures", *TWINS):
            source = copy / name
            if source.is_dir():
                shutil.copytree(source, out / name)
            elif source.exists():
                shutil.copy(source, out / name)
        _ = results.glances  # read while the copy is there
    return results


def _choose_answers(answers: list[tuple[str, str, contents.Results]]) -> list[Found]:
    """Return for each question the answer of the newest set that shows one, else of the newest."""
    found: dict[str, Found] = {}
    for shown in (True, False):
        for _, name, results in answers:
            for glance in results.glances:
                if glance.grid is not None or not shown:
                    found.setdefault(glance.question, Found(glance, name, f"sets/{name}/{page.PAGE}"))
    order = [glance.question for _, _, results in answers for glance in results.glances if len(results.glances) > 1]
    return [found[question] for question in dict.fromkeys([*order, *found])]


def _render_sets(answers: list[tuple[str, str, contents.Results]]) -> str:
    lines = [
        f"- [{escape(name)}]({name}/{page.PAGE}): {write_count(len(results.rows), 'case')}, "
        f"{write_count(len(results.timed.groups), 'timed step')}, to {last[:10]}"
        for last, name, results in answers
    ]
    return reading_page.render_markdown("Published sets", "# Published sets\n\n" + "\n".join(lines), up="../")


def _render_claims(folder: Path, claims: Sequence[ClaimVerdict]) -> dict[Path, str]:
    """Return the page of all claims, and one of each."""
    head = "# Published claims\n\nEach claim was written down with its inequality before the first of its rows ran.\n\n"
    if not any(one.arms for one in claims):
        head += "No verdict is published yet: no row of the ledger is.\n\n"
    lines = [
        f"- [{escape(one.claim.id)}]({one.claim.id}.html) ({one.word}): {escape(one.claim.claim)}" for one in claims
    ]
    whole = head + escape(ledger.write_summary(claims)) + ".\n\n" + "\n".join(lines)
    texts = {folder / "index.html": reading_page.render_markdown("Published claims", whole, up="../")}
    for one in claims:
        text = ledger.write_section(one)
        texts[folder / f"{one.claim.id}.html"] = reading_page.render_markdown(one.claim.id, text, up="../")
    return texts


def _render_certificates(folder: Path) -> str:
    """Return a page with a line for each certificate."""
    names = ("framework", "framework_version", "device", "kernel", "path", "dtype", "commit", "started")
    lines = []
    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        known = {name.replace("_", " "): content.get(name) for name in names if isinstance(content.get(name), str)}
        lines.append({"digest": path.stem} | known)
    said = (
        "# Certificates\n\nEach says that the code and the settings of one digest gave, step by step, what the NumPy "
        "reference gives. A row stands under the one whose digest is its own.\n\n"
    )
    return reading_page.render_markdown("Certificates", said + table(pd.DataFrame(lines)))
