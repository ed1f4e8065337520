"""Rows, read and checked: a result set may come from anybody.

There is one check, `find_faults`, of whole columns. The rows of many JSON files, a single one and the table of a packed
set all go through it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic_core import from_json

from farreach.results.record import METRIC, STRENGTHS, use_names
from farreach.results.storage.columns import (
    COLUMNS,
    KEY,
    REACHED,
    REQUIRED,
    STATUSES,
    Column,
    Kind,
)
from farreach.results.storage.files import DamagedError
from farreach.results.storage.parquet import TEXT
from farreach.results.storage.sanitising import CONTROL, format_line
from farreach.results.vocabulary import NONE, OWN

LARGEST = 2**20
"""Bytes that a row may have."""

LARGEST_NUMBER = 1e300
"""What a metric's value is below."""

BAD_NAME = "the name of one of its metrics holds control characters"

NAMES: dict[Kind, str] = {"integer": "an integer", "number": "a number", "boolean": "true or false", "text": "a text"}

CASTS: dict[Kind, Callable[[pa.DataType], bool]] = {
    "integer": pa.types.is_integer,
    "number": pa.types.is_floating,
    "boolean": pa.types.is_boolean,
    "text": lambda kind: (
        (kind.value_type if pa.types.is_dictionary(kind) else kind) in {pa.string(), pa.large_string()}
    ),
}
"""Which of Arrow's types a column of a kind may have in a file."""

HIDDEN = re.compile(rf"[{CONTROL}\ud800-\udfff]")
"""What JSON within JSON may hide: control characters, and halves of characters, which no file takes."""

Faults = dict[int, str]
"""Which rows of a table are damaged, by their number, and why, in one line each."""

ARROW = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(), "text": TEXT}
"""How a table holds the kinds; a text once, since most are the same in every row."""

Mask = NDArray[np.bool_]

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


def parse_row(text: bytes, path: Path | str, key: str) -> dict[str, Any]:
    """Return the row that a file holds: every column, and the metrics.

    Args:
        text: what the file holds.
        path: where it lies, for the message.
        key: the row's key, which is the file's name.

    Raises:
        DamagedError: it is no row: a column is missing or has another kind of value, say.

    """
    table, faults = parse_rows([text], [key])
    if faults:
        raise DamagedError(Path(path), faults[0])
    row: dict[str, Any] = table.to_pylist()[0]
    return row


def parse_rows(texts: Sequence[bytes], keys: Sequence[str]) -> tuple[pa.Table, Faults]:
    """Return a table of the rows that files hold, one for each text, and which of them are damaged.

    Columns that came after a row was written are filled in, those of a later version are left out.
    """
    faults: Faults = {}
    rows = [_parse_object(number, text, faults) for number, text in enumerate(texts)]
    arrays = {column.name: _read_column(column, rows, faults) for column in COLUMNS.values()}
    for name in dict.fromkeys(name for row in rows for name in row if name.startswith(METRIC)):
        if HIDDEN.search(name):
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
    metrics = [name for name in table.column_names if name.startswith(METRIC) and not HIDDEN.search(name)]
    odd = [name for name in table.column_names if name not in COLUMNS and name not in metrics]
    missing = [name for name in COLUMNS if name in REQUIRED and name not in table.column_names]
    if odd or missing or len({*table.column_names}) < table.num_columns:
        twice = (
            f"it has {format_line(odd[0], most=40)!r}, which is no column of a row" if odd else "it has a column twice"
        )
        raise DamagedError(path, f"it has no column {missing[0]}" if missing else twice)
    arrays = {}
    for field in row_schema(metrics):
        if field.name in table.column_names:
            arrays[field.name] = _cast_column(table[field.name], field, path)
        else:
            arrays[field.name] = pa.array([COLUMNS[field.name].before] * len(table), field.type)
    found = pa.table(arrays)
    faults = find_faults(found)
    keys = found["key"].to_pylist()
    if len({*keys}) < len(keys):
        first = {key: number for number, key in reversed([*enumerate(keys)])}
        faults |= {at: "its key is that of an earlier row" for at, key in enumerate(keys) if first[key] < at}
    if faults:
        raise DamagedRowsError(path, faults, len(found))
    return found


def find_faults(table: pa.Table) -> Faults:
    """Return which rows of a table cannot be used, and why; its columns are of the kinds that `row_schema` has."""
    columns = {name: _Values(table[name].combine_chunks()) for name in table.column_names}
    faults: Faults = {}
    for mask, reason in (*_check_columns(columns), *_check_contradictions(columns)):
        if mask.any():
            for number in np.flatnonzero(mask).tolist():
                faults.setdefault(number, reason)
    return faults


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


class _Values:
    """A column as NumPy has it.

    Attributes:
        null: in which rows it has no value.
        numbers: its values, of texts their places in `words`; 0 where there is none, which is in every range.
        words: its texts, each once.

    """

    def __init__(self, column: pa.Array) -> None:
        is_text = pa.types.is_dictionary(column.type)
        self.words: list[str] = column.dictionary.to_pylist() if is_text else []
        values = column.indices if is_text else column
        self.null: Mask = np.zeros(len(column), bool)
        if column.null_count:
            self.null = column.is_null().to_numpy(zero_copy_only=False)
            values = values.fill_null(pa.scalar(0).cast(values.type))
        self.numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)

    def find(self, wrong: Callable[[str], object]) -> Mask:
        """Return which rows have a text of which something is the case; each text is looked at once."""
        found = [bool(wrong(word)) for word in self.words]
        return np.array(found)[self.numbers] & ~self.null if any(found) else np.zeros(len(self.numbers), bool)


def _check_columns(columns: Mapping[str, _Values]) -> Iterator[tuple[Mask, str]]:
    """Yield what is wrong in single columns: in which rows, and why."""
    for name, column in columns.items():
        declared = COLUMNS.get(name)
        if declared is None:  # a metric
            yield ~(np.abs(column.numbers) < LARGEST_NUMBER), f"its {name} is not a finite number"
            continue
        if declared.fact.always:
            yield column.null, f"its {name} is missing"
        if declared.kind == "text":
            yield column.find(HIDDEN.search), f"its {name} holds control characters"
        if declared.kind == "number":
            yield ~np.isfinite(column.numbers), f"its {name} is not a finite number"
        if declared.least is not None:
            yield column.numbers < declared.least, f"its {name} is below {declared.least:g}"
        if declared.fact.most is not None:
            yield column.numbers > declared.fact.most, f"its {name} is above {declared.fact.most:g}"
    yield columns["key"].find(lambda word: not re.fullmatch(KEY, word)), "its key is not a valid key"
    yield columns["status"].find(lambda word: word not in STATUSES), f"its status is none of {', '.join(STATUSES)}"
    flat = "its parameters are not a JSON object of plain values"
    yield columns["parameters"].find(lambda word: not _is_flat(word)), flat


def _check_contradictions(columns: Mapping[str, _Values]) -> Iterator[tuple[Mask, str]]:
    """Yield which rows no run can have given though each column is fine by itself, and why."""
    for kind, strength in STRENGTHS.items():
        some, value = columns[kind].find(lambda word: word != NONE), columns[strength]
        yield np.where(some, ~(value.numbers > 0), ~value.null), f"its {kind} and its {strength} contradict each other"
    ours = columns["mode"].find(lambda word: word != OWN)
    for name, column in COLUMNS.items():
        if not column.nullable:
            yield ours & columns[name].null, f"its {name} is missing"
    for name in REACHED:
        yield columns["steps_before"].null & ~columns[name].null, "its gradient reaches over no steps"


def _is_flat(text: str) -> bool:
    """Return whether a text is a JSON object of plain values, without control characters."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(values, dict):
        return False
    words = [*values, *(value for value in values.values() if isinstance(value, str))]
    numbers = [value for value in values.values() if not isinstance(value, str | None)]
    return not any(map(HIDDEN.search, words)) and all(
        isinstance(value, int | float) and abs(value) < LARGEST_NUMBER for value in numbers
    )
