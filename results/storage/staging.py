"""Several files that belong together: made beside the old ones, and moved to their places when all are there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from farreach.results.storage.files import (
    StoreError,
    check_inside,
    hold_part,
    list_files,
    make_folder,
    name_part,
    report_unwritable,
)

PART = re.compile(r"\..+\.part")
"""What is being written, or was by a process that was killed: see `name_part`."""

OURS = re.compile(r"\..*\.[0-9a-f]{32}\.part")
"""The parts that are locked while they are written."""

OLD = 3_600.0
"""Seconds after which a part that nobody locks was left by a dead process: `farreach` writes without a lock."""


@contextmanager
def replace_files(folder: Path, ours: Mapping[str, re.Pattern[str]]) -> Iterator[Path]:
    """Yield a new folder to write in, whose files replace those of `folder` when the block is left without an error.

    Who is killed meanwhile leaves the old files as they were. First new files come to their places, in the order of
    their folders, those without a folder last; then files of before that were not made again are removed: so nothing
    that a page links to is ever missing. Raises `StoreError` where that cannot be, or where a folder is a link.

    Args:
        folder: of the files.
        ours: the folders in it that are written to (``.`` itself), and what files of ours are called there, which are
            removed where they are not made again; what has other names is somebody's own.

    """
    check_inside(folder)
    with report_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_dead_parts(folder, ours)
        for part in ours:
            make_folder(folder / part)
        stage = folder / name_part("new")
        stage.mkdir()
        descriptor = os.open(stage, os.O_RDONLY)
        try:
            hold_part(descriptor)
            for part in ours:
                (stage / part).mkdir(exist_ok=True)
            yield stage
            _move_files(stage, folder, ours)
        finally:
            os.close(descriptor)
            shutil.rmtree(stage, ignore_errors=True)


def _move_files(stage: Path, folder: Path, ours: Mapping[str, re.Pattern[str]]) -> None:
    parts = dict.fromkeys((*ours, "."))
    made = {part: sorted(path.name for path in (stage / part).iterdir() if path.is_file()) for part in parts}
    places = [(stage / part / name, folder / part / name) for part, names in made.items() for name in names]
    for _, place in places:
        if place.is_dir():
            message = f"cannot write to {place}: it is a folder"
            raise StoreError(message)
    for part in ours:
        make_folder(folder / part)  # once more: it may be a link by now
    for path, place in places:
        with report_unwritable(place):
            path.replace(place)
    for part, known in ours.items():
        for path in list_files(folder / part, known):
            if path.name not in made[part]:
                path.unlink()


def remove_dead_parts(folder: Path, parts: Iterable[str] = ()) -> None:
    """Remove what processes that were killed had begun to write in a folder and in `parts` of it.

    What a live process writes is locked, and stays; so does what is behind a link.
    """
    for place in (folder, *(folder / part for part in parts)):
        if not place.is_dir() or (place != folder and place.is_symlink()):
            continue
        with os.scandir(place) as entries:
            names = [one.name for one in entries if PART.fullmatch(one.name) and not one.is_symlink()]
        for name in names:
            _remove_dead(place / name)


def _remove_dead(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return  # its process has finished it meanwhile, or it is not ours
    with contextlib.suppress(OSError):  # a disk that takes no more, say
        named = OURS.fullmatch(path.name) or time.time() - os.fstat(descriptor).st_mtime > OLD
        if named and hold_part(descriptor, wait=False):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    os.close(descriptor)
