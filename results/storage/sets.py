"""Which result sets a folder is or holds, in whichever form."""

from __future__ import annotations

from pathlib import Path

from farreach.results.storage.files import StoreError
from farreach.results.storage.interface import SERIES, SINGLE, ResultSet
from farreach.results.storage.packed_set import ROWS, PackedSet, is_packed
from farreach.results.storage.parts import PARTS
from farreach.results.storage.result_set import Store
from farreach.results.storage.staging import remove_dead_parts
from farreach.results.vocabulary import PROGRAM

RUN = ("rows", *(part for part in SERIES if part != "runs"))
"""The folders of which a run's folder has at least one."""


def open_set(folder: Path) -> ResultSet:
    """Return the result set that a folder is; one without results too, as before a first run.

    Raises `StoreError` where there is no such folder, where it holds both forms, and where a packed set is damaged.
    """
    if not folder.is_dir():
        message = f"no such folder: {folder}"
        raise StoreError(message)
    if not is_packed(folder):
        return Store(folder)
    if is_run_folder(folder):
        message = f"{folder} is packed, and holds the folder of a run too: move one of them elsewhere"
        raise StoreError(message)
    return PackedSet(folder)


def open_run_folder(folder: Path) -> Store:
    """Return the folder of a run, to be written to; raise `StoreError` where it holds a packed set.

    What runs that were killed had begun to write is removed.
    """
    if is_packed(folder):
        message = f"{folder} is packed, and is not written to: unpack it first, {PROGRAM} unpack"
        raise StoreError(message)
    remove_dead_parts(folder, ("rows", *PARTS, *SERIES))
    return Store(folder)


def is_set(folder: Path) -> bool:
    """Return whether a folder is a result set with something in it."""
    return is_packed(folder) or is_run_folder(folder) or (folder / SINGLE[0]).is_file()


def is_run_folder(folder: Path) -> bool:
    """Return whether a folder is that of a run."""
    return any((folder / part).is_dir() for part in RUN)


def list_any_sets(folder: Path) -> list[Path]:
    """Return the result sets that a folder is or holds, with cases or with timings alone; none where there are none."""
    sets = [path for path in (folder, *sorted(folder.glob("*"))) if is_set(path)]
    return sets[:1] if sets and sets[0] == folder else sets


def has_cases(folder: Path) -> bool:
    """Return whether a result set has rows of trained cases."""
    return (folder / ROWS if is_packed(folder) else folder / "rows").exists()


def list_sets(folder: Path) -> list[Path]:
    """Return the result sets with cases that a folder is or holds; raise `StoreError` where there are none."""
    places = [folder, *sorted(folder.glob("*"))]
    sets = [path for path in places if has_cases(path)]
    if not sets:
        timed = any(is_set(path) for path in places)
        message = f"no results in {folder}"
        if timed:
            message = f"{folder} holds timings and no trained cases: two versions are timed by compare --live"
        raise StoreError(message)
    return sets[:1] if sets[0] == folder else sets
