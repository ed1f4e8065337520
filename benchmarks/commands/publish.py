"""``publish``: manifests, documents and pictures from the published sets."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farreach.benchmarks.commands.shared import output
from farreach.benchmarks.matrix import registry

if TYPE_CHECKING:
    from farreach.results.publishing.submissions import Verdict

SPHINX = ("sphinx", "myst_parser", "furo")
"""What builds the documentation."""


def publish(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a file is older than its rows.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Take new pictures of the page as well, in a headless Chromium.")
    ] = False,
    site: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Build the site into DIR: documentation, every published set's page, published claims. Needs Sphinx.",
        ),
    ] = None,
    submit: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Check the set in DIR and pack it into --out, to be offered; with --check, check one that is packed.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of --submit: default results/submitted/NAME, the name of DIR.")
    ] = None,
) -> None:
    """Write what the documents quote of the published sets anew, or check that it is current, or build the site.

    With --submit it is about a set of yours, which it checks and packs; exit 1 where it is not taken.

    Example:
        python -m benchmarks publish --check
        python -m benchmarks publish --site site
        python -m benchmarks publish --submit results/runs/quick --out results/submitted/my-laptop
    """
    if out is not None and submit is None:
        message = "--out belongs to --submit"
        raise registry.UsageError(message)
    if submit is not None:
        if pictures or site is not None or (check and out is not None):
            message = "--submit takes --check, or --out, and no other option"
            raise registry.UsageError(message)
        raise typer.Exit(_check_submission(submit) if check else _submit(submit, out))
    if site is not None:
        if check or pictures:
            message = "--site builds the site alone, so it takes no --check and no --pictures"
            raise registry.UsageError(message)
        _require_checkout()
        _write_site(site)
        return
    _write_documents(check=check, pictures=pictures)


def _require_checkout() -> None:
    """Refuse to write documents where there are none."""
    if registry.HERE != registry.ROOT:
        message = "publish writes the documents of a checkout, and this suite is installed"
        raise registry.UsageError(message)


def _write_documents(*, check: bool, pictures: bool) -> None:
    """Write what the documents quote, and pictures of the page too, or check that it is current."""
    from farreach.results.publishing import documents
    from farreach.results.publishing import pictures as screenshots

    _require_checkout()
    root = registry.HERE
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


def _submit(folder: Path, out: Path | None) -> int:
    """Check a set and pack it; return the exit status."""
    from farreach.results.publishing import submissions

    place = out or registry.HERE / "results" / "submitted" / folder.resolve().name
    verdict, packed = submissions.submit_set(folder, place)
    _print_verdict(verdict)
    if packed:
        output.print_list(packed.sentences())
        output.print_line("docs/submitting.md says how to offer it")
    return 1 if verdict.against else 0


def _check_submission(folder: Path) -> int:
    """Check a packed set as it is; return the exit status."""
    from farreach.results.publishing import submissions

    verdict = submissions.check_packed(folder.resolve())
    _print_verdict(verdict)
    return 1 if verdict.against else 0


def _print_verdict(verdict: Verdict) -> None:
    """Print what stands against a set, or that nothing does, and what its readers should know."""
    output.print_list(list(verdict.notes))
    output.print_list([f"not taken: {reason}" for reason in verdict.against] or ["nothing stands against it"])


def _write_site(out: Path) -> None:
    """Build documentation and pages into a folder, and print what was written."""
    from farreach.benchmarks.matrix import claims
    from farreach.benchmarks.studies import ledger
    from farreach.results.analysis.ledger import judge_claim
    from farreach.results.publishing import website
    from farreach.results.storage import files
    from farreach.results.storage.sets import open_set

    missing = [name for name in SPHINX if importlib.util.find_spec(name) is None]
    if missing:
        message = f"--site needs {' and '.join(missing)}: tox -e site installs what it needs"
        raise registry.UsageError(message)
    files.require_writable(out)
    folder = registry.PUBLISHED / "ledger"
    entries = claims.load_ledger()
    if folder.is_dir():
        store = open_set(folder)
        verdicts = [ledger.judge_entry(entry, store) for entry in entries]
    else:
        verdicts = [judge_claim(entry.describe(), {}) for entry in entries]
    pages = website.write_site(registry.PUBLISHED, out, verdicts)
    build = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(registry.HERE / "docs"), str(out / "docs")]
    built = subprocess.run(build, check=False)  # noqa: S603
    output.print_written([page for page in pages if page.parent == out or page.name == "index.html"])
    output.print_line(f"{len(pages)} pages, {len(entries)} of them claims; open {out}/index.html")
    raise typer.Exit(built.returncode)
