"""Files that are written whole or not at all, and read with limits: a result set may be a stranger's."""

from __future__ import annotations

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

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farreach.results.storage.sanitising import clean, line

LARGEST_JSON = 64 * 2**20
"""Bytes that a JSON file of a result set may have; the longest are paired timings."""

LARGEST_PARQUET = 2**30
"""Bytes that a Parquet file may hold once it is unpacked."""

LARGEST_CSV = 128 * 2**20
"""Bytes that the curves of a run of the user's own may have, which are text."""

MOST_ROWS, MOST_COLUMNS = 20_000_000, 1_000

WIDTH = 8
"""Bytes that a value takes in memory, whatever it takes in the file: a column of one value takes next to nothing."""

ENCODINGS = {"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}
"""How texts may be encoded: so that they are as long in the file as in memory, or are held once."""


class StoreError(Exception):
    """A folder or a file that cannot hold, or does not hold, results; the message is one line, and can be shown."""

    def __init__(self, message: str) -> None:
        super().__init__(line(message, most=900))


class DamagedError(StoreError):
    """A file that is there and whose content cannot be used."""

    def __init__(self, path: Path, reason: object) -> None:
        lines = str(reason).strip().splitlines() or [type(reason).__name__]
        self.path = path
        self.reason = line(lines[0], most=200)
        super().__init__(f"{path.parent.name}/{path.name} is damaged: {self.reason}")

    def __reduce__(self) -> tuple[type[DamagedError], tuple[Path, str]]:
        """Name what another process, which read the file, hands over: the message is no argument."""
        return type(self), (self.path, self.reason)


def made(folder: Path) -> Path:
    """Make a folder of a result set and return it.

    Raises `StoreError` where it cannot be made, or where it is a link: what that leads to is not the set's.
    """
    if folder.is_symlink():
        message = f"{folder} is a link, which is not followed: nothing is written there"
        raise StoreError(message)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror}"
        raise StoreError(message) from error
    return folder


def written(folder: Path, ours: re.Pattern[str]) -> list[Path]:
    """Return the files of a folder whose whole names are such as we give, sorted."""
    with os.scandir(folder) as entries:
        names = [one.name for one in entries if ours.fullmatch(one.name) and not one.is_dir(follow_symlinks=False)]
    return [folder / name for name in sorted(names)]


def cleared(folder: Path, ours: re.Pattern[str]) -> Path:
    """Make a folder, and remove what an earlier report wrote there: what has other names is somebody's own."""
    for old in written(made(folder), ours):
        old.unlink()
    return folder


def appended(path: Path) -> TextIO:
    """Open a log to be written on; raise `StoreError` where it cannot be, or where it or its folder is a link."""
    made(path.parent)
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # nor wait for a pipe's reader
        return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise StoreError(message) from error


def writable(folder: Path) -> None:
    """Make a folder and try it; raise `StoreError` where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror}"
        raise StoreError(message) from error


def write(path: Path, fill: Callable[[Path], object], *, flush: bool = True) -> None:
    """Have `fill` write a file beside its place and move it there, so that no reader ever sees half of it.

    A link of that name is replaced and not followed. What can be made again needs no `flush` to the disk. Raises
    `StoreError` where the disk does not take it; then nothing is left behind.
    """
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part")  # not mkstemp, whose files only their owner may read
    try:
        fill(part)
        if flush:
            _flush(part)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            message = f"cannot write {path}: {error.strerror or error}"
            raise StoreError(message) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text that can be made again."""
    write(path, lambda part: part.write_text(text, encoding="utf-8"), flush=False)


def write_csv(path: Path, frame: pd.DataFrame, **ways: Any) -> None:
    """Write a table as CSV, which people look at on a terminal too: clean."""
    write_text(path, clean(frame.to_csv(index=False, **ways)))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file; its folder is made where it is missing."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise StoreError(message) from error
    write(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a Parquet file whose pages carry checksums, so that a flipped bit is found when it is read."""
    # Apart, the bytes of numbers compress by a third better than in a dictionary of values that hardly ever repeat.
    numbers = [str(name) for name in frame.select_dtypes("number")]
    rest = [str(name) for name in frame if name not in numbers]
    ways: dict[str, Any] = {"use_byte_stream_split": numbers, "use_dictionary": rest}
    write(path, lambda part: frame.to_parquet(part, compression="zstd", index=False, write_page_checksum=True, **ways))


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file as `write_parquet` does, but one that is read fast rather than small."""
    # Without Arrow's own schema, by which texts would come back as what `read_parquet` refuses.
    ways: dict[str, Any] = {"compression": "lz4", "write_page_checksum": True, "store_schema": False}
    write(path, lambda part: pq.write_table(table, part, **ways))


def read_bytes(path: Path | str, largest: int) -> bytes:
    """Return what a file holds; raise `DamagedError` where it is a link, or larger than such a file ever is."""
    return read_stamped(path, largest)[0]


def read_stamped(path: Path | str, largest: int) -> tuple[bytes, os.stat_result]:
    """Return and raise what `read_bytes` does; and what the system said of the file just before it was read."""
    found = _check_plain(path, largest)
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - pathlib takes longer than the reading
        return file.readall(), found


def read_json(path: Path, *, largest: int = LARGEST_JSON) -> dict[str, Any]:
    """Return the object that a JSON file holds; raise `DamagedError` where it holds none."""
    text = read_bytes(path, largest)
    try:
        content = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, error) from error
    if not isinstance(content, dict):
        raise DamagedError(path, "it holds no JSON object")
    return content


def read_parquet(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return the numbers and texts that a Parquet file holds, of these columns where some are named.

    What it declares is checked before it is unpacked, and the texts before each line has its own: at most `MOST_ROWS`
    by `MOST_COLUMNS`, `LARGEST_PARQUET` bytes. Raises `DamagedError` where it is none, or lacks a column.
    """
    table = read_table(path, columns, only=bool(columns))
    with _damage(path):
        # Without what pandas noted for itself: a stranger's file does not say how it is to be read.
        frame: pd.DataFrame = _unfolded(table).to_pandas()
    return frame


def read_table(path: Path, columns: tuple[str, ...] = (), *, only: bool = False) -> pa.Table:
    """Return what `read_parquet` does, in Arrow's columns, where a text that many lines share is held once.

    Raises as that does; with `only`, no other columns are read.
    """
    _check_plain(path, LARGEST_PARQUET)
    with _damage(path):
        with pq.ParquetFile(path) as file:
            _check_size(file.metadata)
            _check_columns(path, file.schema_arrow, columns)
            texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts) as file:
            table = file.read([*columns] if only else None).replace_schema_metadata(None)
        _check_texts(table)
        return table


def _check_texts(table: pa.Table) -> None:
    """Refuse texts that would be too long where each line had its own."""
    size = 0
    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
            size += pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0
    if size > LARGEST_PARQUET:
        message = f"its texts take {size} bytes: too many"
        raise ValueError(message)


def _unfolded(table: pa.Table) -> pa.Table:
    """Return a table in which each line has its own text."""
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Raise `DamagedError` for what Arrow raises of a file that it cannot read."""
    try:
        yield
    except (pa.ArrowException, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedError(path, error) from error
    except OSError as error:
        if error.errno is not None:
            raise  # the disk's fault, not the file's
        raise DamagedError(path, error) from error


def set_aside(path: Path, folder: Path, damage: DamagedError) -> str:
    """Move a damaged file into ``damaged/`` of its result set, where that can be; return what to say of it."""
    try:
        aside = made(folder / ASIDE)
        if path.parent != folder:
            if path.parent.is_symlink():
                return f"{damage}: it is left out."
            aside = made(aside / path.parent.name)
        path.replace(aside / path.name)
    except (OSError, StoreError):
        return f"{damage}: it is left out."
    return f"{damage}: {MADE_AGAIN}"


def put_aside(folder: Path, part: str) -> list[str]:
    """Say which files of a part of a result set were set aside and have not been made again since."""
    place = folder / ASIDE / part
    if any(one.is_symlink() for one in (place.parent, place)) or not place.is_dir():
        return []
    names = sorted(path.name for path in place.glob("*.json"))
    return [line(f"{part}/{name} was damaged: {MADE_AGAIN}") for name in names if not (folder / part / name).exists()]


ASIDE = "damaged"
"""The folder of a result set in which damaged files are set aside."""

MADE_AGAIN = "it was set aside, and its command makes it again."


def _check_size(metadata: pq.FileMetaData) -> None:
    """Refuse what takes too much memory: as the file declares it, and by `WIDTH`: a file may hold a value once."""
    rows, columns = metadata.num_rows, metadata.num_columns
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    size = max(sum(group.total_byte_size for group in groups), rows * columns * WIDTH)
    if rows > MOST_ROWS or columns > MOST_COLUMNS or size > LARGEST_PARQUET:
        message = f"it declares {rows} rows of {columns} columns, {size} bytes: too many"
        raise ValueError(message)
    chunks = (group.column(at) for group in groups for at in range(columns))
    odd = {name for chunk in chunks if chunk.physical_type == "BYTE_ARRAY" for name in chunk.encodings} - ENCODINGS
    if odd:
        message = f"its texts are encoded as {min(odd)}, which is not read"
        raise ValueError(message)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _simple(kind: pa.DataType) -> bool:
    types = pa.types
    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_null, _is_text)
    return any(check(kind) for check in checks)


def _check_columns(path: Path, schema: pa.Schema, columns: tuple[str, ...]) -> None:
    odd = [field.name for field in schema if not _simple(field.type)]
    missing = [name for name in columns if name not in schema.names]
    if odd or missing:
        raise DamagedError(path, f"it has no column {missing[0]}" if missing else f"column {odd[0]} is no number")


def _check_plain(path: Path | str, largest: int) -> os.stat_result:
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        link = stat.S_ISLNK(found.st_mode)
        raise DamagedError(Path(path), "it is a link, which is not followed" if link else "it is no file")
    if found.st_size > largest:
        raise DamagedError(Path(path), f"it has {found.st_size} bytes, more than {largest}")
    return found


def _refused(constant: str) -> NoReturn:
    message = f"{constant} is no JSON"
    raise ValueError(message)


def _flush(path: Path) -> None:
    """Have the disk take a file before its name is changed: else a power cut may leave the name without the content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
