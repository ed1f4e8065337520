"""Rows, read and checked: a result set may come from anybody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic_core import from_json

from farreach.results.record import FORMER, METRIC, use_names
from farreach.results.storage.columns import COLUMNS, NAME, REQUIRED, Column, Kind
from farreach.results.storage.files import DamagedError
from farreach.results.storage.parquet import TEXT, is_text
from farreach.results.storage.row_check import Faults, find_faults
from farreach.results.storage.sanitising import format_line

LARGEST = 2**20
"""Bytes that a row may have."""

GOOD_METRIC = re.compile(re.escape(METRIC) + NAME)

BAD_NAME = "the name of one of its metrics is not a name"

NAMES: dict[Kind, str] = {"integer": "an integer", "number": "a number", "boolean": "true or false", "text": "a text"}

CASTS: dict[Kind, Callable[[pa.DataType], bool]] = {
    "integer": pa.types.is_integer,
    "number": pa.types.is_floating,
    "boolean": pa.types.is_boolean,
    "text": is_text,
}
"""Which of Arrow's types a column of a kind may have in a file."""

ARROW = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(), "text": TEXT}
"""How a table holds the kinds; a text once, since most are the same in every row."""

TYPES: dict[Kind, set[type]] = {"integer": {int}, "number": {int, float}, "boolean": {bool}, "text": {str}}
"""What JSON's values are in Python, of each kind."""


def row_schema(metrics: Iterable[str] = ()) -> pa.Schema:
    """Return the schema of a table of rows; `metrics` are the columns that hold the tasks' own metrics."""
    fields = [pa.field(name, ARROW[column.kind]) for name, column in COLUMNS.items()]
    return pa.schema([*fields, *(pa.field(name, pa.float64()) for name in metrics)])


class DamagedRowsError(DamagedError):
    """A table of rows of which some cannot be used.

    Attributes:
        faults: why, by the number of the row.

    """

    def __init__(self, path: Path, faults: Faults, count: int) -> None:
        self.faults = faults
        number, reason = min(faults.items())
        super().__init__(path, f"row {number} of {count}: {reason}; damaged rows: {len(faults)}")


def parse_rows(texts: Sequence[bytes], keys: Sequence[str]) -> tuple[pa.Table, Faults]:
    """Return a table of the rows that files hold, one for each text, and which of them are damaged.

    Columns that came after a row was written are filled in, those of a later version are left out.
    """
    faults: Faults = {}
    rows = [_parse_object(number, text, faults) for number, text in enumerate(texts)]
    arrays = {column.name: _read_column(column, rows, faults) for column in COLUMNS.values()}
    for name in dict.fromkeys(name for row in rows for name in row if name.startswith(METRIC)):
        if not GOOD_METRIC.fullmatch(name):
            faults = dict.fromkeys((number for number, row in enumerate(rows) if name in row), BAD_NAME) | faults
        else:
            arrays[name] = _convert_values(name, "number", [row.get(name) for row in rows], faults)
    for number, (row, key) in enumerate(zip(rows, keys, strict=True)):
        if number not in faults and row["key"] != key:
            faults[number] = "it holds the row of another key"
    table = pa.table(arrays)
    return table, find_faults(table) | faults


def validate_rows(table: pa.Table, path: Path) -> pa.Table:
    """Return a table of rows, of a packed set say, as `row_schema` has it.

    Narrower numbers become those of the schema; columns that came after the table was written are filled in.

    Args:
        table: the rows, one a line.
        path: where they lie, for the message.

    Raises:
        DamagedRowsError: rows that cannot be used: its `faults` say which, and why.
        DamagedError: a column is missing, is of another kind or is none that a row has.

    """
    table = table.drop_columns([name for name in FORMER if name in table.column_names])
    metrics = [name for name in table.column_names if GOOD_METRIC.fullmatch(name)]
    odd = [name for name in table.column_names if name not in COLUMNS and name not in metrics]
    missing = [name for name in COLUMNS if name in REQUIRED and name not in table.column_names]
    if odd or missing or len({*table.column_names}) < table.num_columns:
        reason = "it has a column twice"
        if odd:
            reason = f"it has {format_line(odd[0], most=40)!r}, which is no column of a row"
        raise DamagedError(path, f"it has no column {missing[0]}" if missing else reason)
    arrays = {}
    for field in row_schema(metrics):
        if field.name in table.column_names:
            arrays[field.name] = _cast_column(table[field.name], field, path)
        else:
            arrays[field.name] = pa.array([COLUMNS[field.name].before] * len(table), field.type)
    checked = pa.table(arrays)
    faults = find_faults(checked)
    keys = checked["key"].to_pylist()
    if len({*keys}) < len(keys):
        first = {key: number for number, key in reversed([*enumerate(keys)])}
        faults |= {at: "its key is that of an earlier row" for at, key in enumerate(keys) if first[key] < at}
    if faults:
        raise DamagedRowsError(path, faults, len(checked))
    return checked


def _parse_object(number: int, text: bytes, faults: Faults) -> dict[str, Any]:
    """Return the object that a text is; none of its columns where it is no JSON object."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        faults[number] = format_line(error, most=200)
        return {}
    if not isinstance(value, dict):
        faults[number] = "it holds no JSON object"
        return {}
    return use_names(value)


def _read_column(column: Column, rows: list[dict[str, Any]], faults: Faults) -> pa.Array:
    """Return a column of rows; a row that lacks it is damaged, or says what every row before the column does."""
    if column.required:
        for number, row in enumerate(rows):
            if column.name not in row:
                faults.setdefault(number, f"its {column.name} is missing")
    return _convert_values(column.name, column.kind, [row.get(column.name, column.before) for row in rows], faults)


def _convert_values(name: str, kind: Kind, values: list[Any], faults: Faults) -> pa.Array:
    """Return values as Arrow has a kind; one that is of another kind is left out, and its row is damaged."""
    try:
        if {*map(type, values)} <= TYPES[kind] | {type(None)}:
            return pa.array(values, ARROW[kind])
    except (pa.ArrowException, ValueError, OverflowError):
        pass  # one by one, then
    types = TYPES[kind] | ({bool} if name.startswith(METRIC) else set())
    converted = [_convert_value(kind, value) if type(value) in types else None for value in values]
    for number, (value, kept) in enumerate(zip(values, converted, strict=True)):
        if kept is None and value is not None:
            faults.setdefault(
                number, f"its {format_line(name, most=40)} is {format_line(repr(value), most=40)}, not {NAMES[kind]}"
            )
    return pa.array(converted, ARROW[kind])


def _convert_value(kind: Kind, value: Any) -> Any:
    """Return a value as Arrow takes it; None for what no number of 64 bits and no text of UTF-8 can be."""
    try:
        if kind == "number":
            return float(value)
        if kind == "text":
            value.encode()
        elif not -(2**63) <= value < 2**63:
            return None
    except (ValueError, OverflowError):
        return None
    return value


def _cast_column(column: pa.ChunkedArray, field: pa.Field, path: Path) -> pa.Array:
    """Return a column of a table as the schema has it; raise `DamagedError` where it is of another kind."""
    kind = "number" if field.name.startswith(METRIC) else COLUMNS[field.name].kind
    if not (pa.types.is_null(column.type) or CASTS[kind](column.type)):
        raise DamagedError(path, f"its column {format_line(field.name, most=40)} is of type {column.type}, not {kind}")
    try:
        column.validate(full=True)
        return column.cast(field.type).combine_chunks()
    except (pa.ArrowException, ValueError) as error:
        raise DamagedError(path, f"its column {format_line(field.name, most=40)}: {error}") from error
