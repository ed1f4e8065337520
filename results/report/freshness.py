"""Whether a report is current: it notes a digest of all that it told of, and which files it wrote.

Times say nothing: copying, unpacking and merging folders keep them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from farreach.results.analysis import run_times
from farreach.results.analysis.staleness import Versions
from farreach.results.report.contents import Results
from farreach.results.storage.files import StoreError, read_json, report_unwritable, write_json
from farreach.results.storage.interface import LEDGER
from farreach.results.timing import aa_check, interleaved

NOTE = ".report.json"
"""What is written last: the digest, and the size of each file."""

TOLD = (interleaved.FOLDER, aa_check.FOLDER, interleaved.MACHINE, LEDGER)
"""The documents of a set that a report tells of: timings and claims."""

ROOM = Path(__file__).parents[1]


def is_fresh(results: Results, now: Versions | None) -> bool:
    """Return whether the report of a set tells of what the set holds now, and all of its files are there."""
    note = _read_note(results.store.folder)
    files = note.get("files")
    if note.get("digest") != hash_told(results, now) or not isinstance(files, dict):
        return False
    return all(_measure(results.store.folder / name) == size for name, size in files.items())


def forget_report(folder: Path) -> None:
    """Remove the note of a report that is about to be written anew: who is killed meanwhile leaves none."""
    with report_unwritable(folder):
        (folder / NOTE).unlink(missing_ok=True)


def note_report(results: Results, now: Versions | None, paths: Iterable[Path]) -> None:
    """Note that these files tell of all that a set holds."""
    folder = results.store.folder
    digest, before = hash_told(results, now), _read_note(folder)
    known = before.get("files") if before.get("digest") == digest else {}  # where the timings alone are told anew
    files = {path.relative_to(folder).as_posix(): _measure(path) for path in paths}
    write_json(folder / NOTE, {"digest": digest, "files": (known if isinstance(known, dict) else {}) | files})


def hash_told(results: Results, now: Versions | None) -> str:
    """Return a digest of our code and of all that a report tells: rows, timings, failures, wall times, stale rows."""
    digest = hashlib.sha256(f"{results.store.hash_rows()} {_hash_code()}".encode())
    for part in _list_told(results, now):
        digest.update(part)
    return digest.hexdigest()


def _list_told(results: Results, now: Versions | None) -> Iterator[bytes]:
    yield repr((now, results.trouble)).encode()
    for frame in (run_times.list_failures(results.runs), run_times.tabulate_shares(results.runs)):
        yield frame.to_csv().encode(errors="replace")
    store = results.store
    for path in (path for part in TOLD for path in store.list_documents(part)):
        with contextlib.suppress(OSError, StoreError):  # it is left out, and the page says so
            yield store.read_document(path)


@functools.cache
def _hash_code() -> str:
    """Return a digest of what writes reports, read once a process: what is edited later does not run in it."""
    looks = [path for part in ("templates", "static") for path in (ROOM / "site" / part).iterdir()]
    digest = hashlib.sha256()
    for path in sorted([*ROOM.rglob("*.py"), *looks]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _read_note(folder: Path) -> dict[str, object]:
    try:
        return read_json(folder / NOTE)
    except (OSError, StoreError):
        return {}


def _measure(path: Path) -> int | None:
    """Return the bytes of a file, None where it is not there."""
    try:
        return path.lstat().st_size
    except OSError:
        return None
