"""Files that are written whole or not at all, and read with limits: a result set may be a stranger's."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from farreach.results.storage.sanitising import format_line

LARGEST_JSON = 2**24
"""Bytes that a JSON file of a result set may have; in memory it takes up to 30 times that."""

LARGEST_CSV = 128 * 2**20
"""Bytes that the curves of a run of the user's own may have, which are text."""

ASIDE = "damaged"
"""The folder of a result set in which damaged files are set aside."""

MADE_AGAIN = "it was set aside, and its command makes it again."

LONGEST_NAME = 100
"""Characters that `make_name` leaves of a text."""


class StoreError(Exception):
    """A folder or a file that cannot hold, or does not hold, results; the message is one line, and can be shown."""

    def __init__(self, message: str) -> None:
        super().__init__(format_line(message, most=900))


class DamagedError(StoreError):
    """A file that is there and whose content cannot be used."""

    def __init__(self, path: Path, reason: object) -> None:
        lines = str(reason).strip().splitlines() or [type(reason).__name__]
        self.path = path
        self.reason = format_line(lines[0], most=200)
        super().__init__(f"{path.parent.name}/{path.name} is damaged: {self.reason}")


def make_name(value: object) -> str:
    """Return a value as part of a file's name, whatever it holds: plain letters, digits and ``_.-`` stay.

    This is the one way from a value that a file or a user gave to a path.
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", str(value)).lstrip(".-")[:LONGEST_NAME] or "_"


@contextmanager
def report_unwritable(path: Path) -> Iterator[None]:
    """Raise `StoreError` for what the system says where it does not take a file or a folder."""
    try:
        yield
    except OSError as error:
        message = f"cannot write to {path}: {error.strerror or error}"
        raise StoreError(message) from error


def make_folder(folder: Path) -> Path:
    """Make a folder of a result set and return it.

    Raises `StoreError` where it cannot be made, or where it is a link: what that leads to is not the set's.
    """
    if folder.is_symlink():
        message = f"{folder} is a link, which is not followed: nothing is written there"
        raise StoreError(message)
    with report_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def list_files(folder: Path, ours: re.Pattern[str]) -> list[Path]:
    """Return the files of a folder whose whole names are such as we give, sorted."""
    with os.scandir(folder) as entries:
        names = [one.name for one in entries if ours.fullmatch(one.name) and not one.is_dir(follow_symlinks=False)]
    return [folder / name for name in sorted(names)]


def open_log(path: Path) -> TextIO:
    """Open a log to be written on; raise `StoreError` where it cannot be, or where it or its folder is a link."""
    make_folder(path.parent)
    with report_unwritable(path):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # nor wait for a pipe's reader
        return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")


def require_writable(folder: Path) -> None:
    """Make a folder and try it; raise `StoreError` where nothing can be written there."""
    with report_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def write_file(path: Path, fill: Callable[[Path], object], *, flush: bool = True) -> None:
    """Have `fill` write a file beside its place and move it there, so that no reader ever sees half of it.

    A link of that name is replaced and not followed. What can be made again needs no `flush` to the disk. Raises
    `StoreError` where the path leads out of its folder, or the disk does not take it; then nothing is left behind.
    """
    check_inside(path)
    part = path.with_name(name_part(path.stem))  # not mkstemp, whose files only their owner may read
    with report_unwritable(path):
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            hold_part(descriptor)
            fill(part)
            if flush:
                _flush(part)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


def check_inside(path: Path) -> None:
    """Raise `StoreError` where a path goes up on its way: a name in it was a path of its own.

    The folders that a user names have no such steps any more when they come here.
    """
    if ".." in path.parts:
        message = f"{path} leads out of its folder: nothing is written there"
        raise StoreError(message)


def name_part(stem: str) -> str:
    """Return the name under which something is written that is to be moved to its place when it is whole."""
    return f".{stem[:60]}.{uuid.uuid4().hex}.part"


def hold_part(descriptor: int, *, wait: bool = True) -> bool:
    """Lock a part for as long as it is open here, so that others know that it is being written; return whether it is.

    The system lets go of the lock of a process that is killed. A file system without locks is written to all the same.
    """
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    return False


def write_text(path: Path, text: str) -> None:
    """Write a text that can be made again."""
    write_file(path, lambda part: part.write_text(text, encoding="utf-8"), flush=False)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file; its folder is made where it is missing."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    with report_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_bytes(path: Path, largest: int) -> bytes:
    """Return what a file holds; raise `DamagedError` where it is a link, or larger than such a file ever is."""
    check_plain_file(path, largest)
    return path.read_bytes()


def read_json(path: Path, *, largest: int = LARGEST_JSON) -> dict[str, Any]:
    """Return the object that a JSON file holds; raise `DamagedError` where it holds none."""
    return parse_json(read_bytes(path, largest), path)


def parse_json(text: bytes, path: Path) -> dict[str, Any]:
    """Return the object that a text is; raise `DamagedError`, of the file that it is from, where it is none."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, error) from error
    if not isinstance(content, dict):
        raise DamagedError(path, "it holds no JSON object")
    return content


def hash_file(path: Path, largest: int) -> str:
    """Return the SHA-256 of a file; raise `DamagedError` as `read_bytes` does."""
    check_plain_file(path, largest)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_aside(path: Path, folder: Path, damage: DamagedError) -> str:
    """Move a damaged file into ``damaged/`` of its result set, where that can be; return what to say of it."""
    try:
        aside = make_folder(folder / ASIDE)
        if path.parent != folder:
            if path.parent.is_symlink():
                return f"{damage}: it is left out."
            aside = make_folder(aside / path.parent.name)
        path.replace(aside / path.name)
    except (OSError, StoreError):
        return f"{damage}: it is left out."
    return f"{damage}: {MADE_AGAIN}"


def list_set_aside(folder: Path, part: str) -> list[str]:
    """Say which files of a part of a result set were set aside and have not been made again since."""
    place = folder / ASIDE / part
    if any(one.is_symlink() for one in (place.parent, place)) or not place.is_dir():
        return []
    names = sorted(path.name for path in place.glob("*.json") if not (folder / part / path.name).exists())
    return [format_line(f"{part}/{name} was damaged: {MADE_AGAIN}") for name in names]


def check_plain_file(path: Path, largest: int) -> None:
    """Raise `DamagedError` where a path is no file, or one of more bytes than `largest`; a link is not followed."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        link = stat.S_ISLNK(status.st_mode)
        raise DamagedError(path, "it is a link, which is not followed" if link else "it is no file")
    if status.st_size > largest:
        raise DamagedError(path, f"it has {status.st_size} bytes, more than {largest}")


def _refuse_constant(constant: str) -> NoReturn:
    message = f"{constant} is no JSON"
    raise ValueError(message)


def _flush(path: Path) -> None:
    """Have the disk take a file before its name is changed: else a power cut may leave the name without the content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
