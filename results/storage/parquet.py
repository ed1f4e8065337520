"""Parquet files that are read with limits: a result set may be a stranger's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farreach.results.storage.files import DamagedError, check_plain_file, write_file

LARGEST = 2**28
"""Bytes that what is read of a Parquet file at once may take in memory, of which pandas makes copies."""

LARGEST_FILE = 2**36
"""Bytes that a Parquet file may have on the disk."""

MOST_ROWS, MOST_COLUMNS, MOST_GROUPS = 20_000_000, 1_000, 1_000_000

WIDTH = 8
"""Bytes that a value takes in memory, whatever it takes in the file: a column of one value takes next to nothing."""

ENCODINGS = {"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}
"""How texts may be encoded: so that they are as long in the file as in memory, or are held once."""

TEXT = pa.dictionary(pa.int32(), pa.string())
"""A text column in memory: a text that many lines share is held once."""

LEVEL = 12
"""Of zstd: above it files hardly become smaller."""


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table, whole or not at all. Raises `StoreError` where the disk does not take it."""
    write_file(path, lambda part: write_tables(part, table.schema, [table]))


def write_tables(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema into a Parquet file, a row group each.

    Its pages carry checksums, so that a flipped bit is found when it is read. The bytes of floats are split into
    streams, which compress by a third better than a dictionary of values that hardly ever repeat.
    """
    numbers = [field.name for field in schema if pa.types.is_floating(field.type)]
    counts = [field.name for field in schema if pa.types.is_integer(field.type)]
    texts = [field.name for field in schema if is_text(field.type)]
    ways = dict.fromkeys(numbers, "BYTE_STREAM_SPLIT") | dict.fromkeys(counts, "DELTA_BINARY_PACKED")
    plain = pa.schema([pa.field(field.name, pa.string()) if is_text(field.type) else field for field in schema])
    with pq.ParquetWriter(
        path,
        plain,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=texts,
        column_encoding=ways,
        write_page_checksum=True,
        store_schema=False,  # by which texts would come back as what is not read
    ) as writer:
        for table in tables:
            writer.write_table(unfold_texts(table).cast(plain), row_group_size=max(1, len(table)))


def read_table(path: Path, columns: tuple[str, ...] = ()) -> pa.Table:
    """Return the numbers and texts that a Parquet file holds, of these columns alone where some are named.

    What it declares is checked before it is unpacked, and the texts before each line has its own: at most `MOST_ROWS`
    by `MOST_COLUMNS`, `LARGEST` bytes. A text that many lines share is held once. What pandas noted for itself is left
    out: a stranger's file does not say how it is to be read. Raises `DamagedError` where it is none, or lacks a column.
    """
    check_plain_file(path, LARGEST)
    with report_damage(path):
        with pq.ParquetFile(path) as file:
            _check_size(file.metadata, range(file.metadata.num_row_groups))
            _check_columns(path, file.schema_arrow, columns)
            texts = [field.name for field in file.schema_arrow if is_text(field.type)]
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts) as file:
            table = file.read([*columns] or None).replace_schema_metadata(None)
        _check_texts(table)
        return table


class GroupedFile:
    """A Parquet file of any size, of which a few row groups are read at a time.

    Raises `DamagedError` where it cannot be read, where a row group is larger than what is read at once may be, or
    where its columns are not those of `schema`; a float column may be stored as float32 or float64.
    """

    KEPT = 4
    """Row groups that stay in memory: cases are mostly asked for in the order in which they lie."""

    def __init__(self, path: Path) -> None:
        self.path = path
        check_plain_file(path, LARGEST_FILE)
        with report_damage(path):
            with pq.ParquetFile(path) as file:
                metadata, self.schema = file.metadata, file.schema_arrow.remove_metadata()
                if metadata.num_row_groups > MOST_GROUPS:
                    message = f"it has {metadata.num_row_groups} row groups: too many"
                    raise ValueError(message)
                _check_columns(path, self.schema, ())
                for at in range(metadata.num_row_groups):
                    _check_size(metadata, [at])
                sizes = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
            texts = [field.name for field in self.schema if is_text(field.type)]
            self._ends = np.cumsum(np.array(sizes, np.int64))
            self._file = pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts)
        self._groups: dict[int, pa.Table] = {}

    def __len__(self) -> int:
        """Return how many lines the file has."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def read_lines(self, start: int, stop: int) -> pa.Table:
        """Return these lines."""
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right")
        before = int(self._ends[first - 1]) if first else 0
        with report_damage(self.path):
            parts = [self._group(at) for at in range(int(first), int(last) + 1)] if stop > start else []
            if sum(part.nbytes for part in parts) > LARGEST:
                message = f"lines {start} to {stop} take too much memory"
                raise ValueError(message)
            if not parts:
                return self.schema.empty_table()
            return pa.concat_tables(parts, promote_options="permissive").slice(start - before, stop - start)

    def _group(self, at: int) -> pa.Table:
        if at not in self._groups:
            table = self._file.read_row_group(at).replace_schema_metadata(None)
            _check_texts(table)
            while len(self._groups) >= self.KEPT:
                del self._groups[next(iter(self._groups))]
            self._groups[at] = table
        return self._groups[at]


@contextmanager
def report_damage(path: Path) -> Iterator[None]:
    """Raise `DamagedError` for what Arrow raises of a file that it cannot read."""
    try:
        yield
    except (pa.ArrowException, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedError(path, error) from error
    except OSError as error:
        if error.errno is not None:
            raise  # the disk's fault, not the file's
        raise DamagedError(path, error) from error


def unfold_texts(table: pa.Table) -> pa.Table:
    """Return a table in which each line has its own text."""
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds texts."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def narrow_floats(table: pa.Table) -> pa.Table:
    """Return a table whose floats are float32 where that loses no bit of any."""
    for at, field in enumerate(table.schema):
        if pa.types.is_null(field.type) or (pa.types.is_floating(field.type) and fits_float32(table[field.name])):
            table = table.set_column(at, field.name, table[field.name].cast(pa.float32()))
    return table


def fits_float32(column: pa.ChunkedArray | pa.Array) -> bool:
    """Return whether every float of a column, NaN included, is the same bits again after it was a float32."""
    values = column.fill_null(0.0).to_numpy(zero_copy_only=False) if column.null_count else column.to_numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        again = values.astype(np.float32).astype(np.float64)
    return bool(np.array_equal(again.view(np.int64), np.asarray(values, np.float64).view(np.int64)))


def _check_texts(table: pa.Table) -> None:
    """Refuse texts that would be too long where each line had its own."""
    size = 0
    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
            size += pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0
    if size > LARGEST:
        message = f"its texts take {size} bytes: too many"
        raise ValueError(message)


def _check_size(metadata: pq.FileMetaData, groups: Iterable[int]) -> None:
    """Refuse what takes too much memory: as the file declares it, and by `WIDTH`: a file may hold a value once."""
    columns = metadata.num_columns
    parts = [metadata.row_group(at) for at in groups]
    rows = metadata.num_rows if len(parts) == metadata.num_row_groups else sum(part.num_rows for part in parts)
    size = max(sum(part.total_byte_size for part in parts), rows * columns * WIDTH)
    if rows > MOST_ROWS or columns > MOST_COLUMNS or size > LARGEST:
        message = f"it declares {rows} rows of {columns} columns, {size} bytes: too many"
        raise ValueError(message)
    chunks = (part.column(at) for part in parts for at in range(columns))
    odd = {name for chunk in chunks if chunk.physical_type == "BYTE_ARRAY" for name in chunk.encodings} - ENCODINGS
    if odd:
        message = f"its texts are encoded as {min(odd)}, which is not read"
        raise ValueError(message)


def _simple(kind: pa.DataType) -> bool:
    types = pa.types
    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_null, is_text)
    return any(check(kind) for check in checks)


def _check_columns(path: Path, schema: pa.Schema, columns: tuple[str, ...]) -> None:
    odd = [field.name for field in schema if not _simple(field.type)]
    missing = [name for name in columns if name not in schema.names]
    if odd or missing:
        raise DamagedError(path, f"it has no column {missing[0]}" if missing else f"column {odd[0]} is no number")
