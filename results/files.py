"""Files that are written whole or not at all, and read with limits: a result set may be a stranger's."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

LARGEST_JSON = 64 * 2**20
"""Bytes that a JSON file of a result set may have; the longest are paired timings."""

LARGEST_PARQUET = 2**30
"""Bytes that a Parquet file may hold once it is unpacked."""

MOST_ROWS, MOST_COLUMNS = 20_000_000, 1_000


class StoreError(Exception):
    """A folder or a file that cannot hold, or does not hold, results; the message is one line."""


class DamagedError(StoreError):
    """A file that is there and whose content cannot be used."""

    def __init__(self, path: Path, reason: object) -> None:
        lines = str(reason).strip().splitlines() or [type(reason).__name__]
        super().__init__(f"{path.parent.name}/{path.name} is damaged: {lines[0][:200]}")
        self.path = path
        self.reason = lines[0][:200]

    def __reduce__(self) -> tuple[type[DamagedError], tuple[Path, str]]:
        """Name what another process, which read the file, hands over: the message is no argument."""
        return type(self), (self.path, self.reason)


def writable(folder: Path) -> None:
    """Make a folder and try it; raise `StoreError` where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror}"
        raise StoreError(message) from error


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Have `fill` write a file beside its place and move it there, so that no reader ever sees half of it.

    Raises `StoreError` where the disk does not take it; then nothing is left behind.
    """
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part")  # not mkstemp, whose files only their owner may read
    try:
        fill(part)
        _flush(part)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            message = f"cannot write {path}: {error.strerror or error}"
            raise StoreError(message) from error
        raise


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
    _check_plain(path, largest)
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - pathlib takes longer than the reading
        return file.readall()


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
    """Return the numbers and texts that a Parquet file holds; raise `DamagedError` where it is none, or lacks a column.

    What it declares is checked before it is unpacked: at most `MOST_ROWS` by `MOST_COLUMNS`, `LARGEST_PARQUET` bytes.
    """
    _check_plain(path, LARGEST_PARQUET)
    with _damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        _check_size(file.metadata)
        table = file.read()
        _check_columns(path, table.schema, columns)
        # Without what pandas noted for itself: a stranger's file does not say how it is to be read.
        frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    return frame


def read_table(path: Path, columns: tuple[str, ...] = ()) -> pa.Table:
    """Return what `read_parquet` does, in Arrow's columns, where a text that many lines share is held once."""
    _check_plain(path, LARGEST_PARQUET)
    with _damage(path):
        with pq.ParquetFile(path) as file:
            _check_size(file.metadata)
            _check_columns(path, file.schema_arrow, columns)
            texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts) as file:
            return file.read().replace_schema_metadata(None)


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
        (folder / "damaged").mkdir(exist_ok=True)
        path.replace(folder / "damaged" / path.name)
    except OSError:
        return f"{damage}: it is left out."
    return f"{damage}: it was set aside, and its command makes it again."


def _check_size(metadata: pq.FileMetaData) -> None:
    size = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    if metadata.num_rows > MOST_ROWS or metadata.num_columns > MOST_COLUMNS or size > LARGEST_PARQUET:
        message = f"it declares {metadata.num_rows} rows of {metadata.num_columns} columns, {size} bytes: too many"
        raise ValueError(message)


def _simple(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        check(kind)
        for check in (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    ) or types.is_null(kind)


def _check_columns(path: Path, schema: pa.Schema, columns: tuple[str, ...]) -> None:
    odd = [field.name for field in schema if not _simple(field.type)]
    missing = [name for name in columns if name not in schema.names]
    if odd or missing:
        raise DamagedError(path, f"it has no column {missing[0]}" if missing else f"column {odd[0]} is no number")


def _check_plain(path: Path | str, largest: int) -> None:
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        link = stat.S_ISLNK(found.st_mode)
        raise DamagedError(Path(path), "it is a link, which is not followed" if link else "it is no file")
    if found.st_size > largest:
        raise DamagedError(Path(path), f"it has {found.st_size} bytes, more than {largest}")


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
