"""One row, read from its file and checked: a result set may come from anybody."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required

import pyarrow as pa
import typing_extensions
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from results.files import DamagedError, read_bytes
from results.record import METRIC, SCHEMA, Record

LARGEST = 2**20
"""Bytes that a row may have."""

FIELDS = {field.name: field for field in dataclasses.fields(Record) if field.name != "metrics"}

KNOWN = {*FIELDS, "skill"}

REQUIRED = {name for name, field in FIELDS.items() if field.default is dataclasses.MISSING}
"""The columns that every row has, of whichever version of the schema."""

LATER = {name: field.default for name, field in FIELDS.items() if field.default not in {dataclasses.MISSING, None}}
"""The columns that came later, and what they say of every row before them."""

NAMES = ("suite", "task", "parameters", "framework", "cell", "clip", "mode", "command", "started")
"""The texts that every row has, a run of the user's own too; in the other columns None stands for "not known"."""

Text = Annotated[str, Field(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
"""A text without control characters, which a terminal would obey."""

Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""An integer that a table of 64 bits takes."""

Ending = Literal["finished", "diverged"]

KINDS: dict[str, Any] = {"int": Whole, "float": float, "bool": bool, "str": Text, "Status": Ending}

TEXT = pa.dictionary(pa.int32(), pa.string())
ARROW = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
"""How a table holds the kinds; any other is a text, which it holds once, since most are the same in every row."""


def parsed(path: Path | str, key: str) -> dict[str, Any]:
    """Return the row that a file holds: columns that came after it filled in, those of a later version left out.

    Raises `DamagedError` where it is no row: a column is missing or has another kind of value, or the key in it is
    not the file's name.
    """
    try:
        row: dict[str, Any] = _schema().validate_json(read_bytes(path, LARGEST))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise DamagedError(Path(path), f"{where}: {fault['msg']}" if where else fault["msg"]) from error
    if row["key"] != key:
        raise DamagedError(Path(path), "it holds the row of another key")
    more = row.keys() - KNOWN
    odd = [name for name in more if name.startswith(METRIC) and not _is_number(row[name])]
    if odd:
        raise DamagedError(Path(path), f"its {min(odd)[:40]} is no number")
    if not _flat(row["parameters"]):
        raise DamagedError(Path(path), "its parameters are no JSON object of plain values")
    for name in more:
        if not name.startswith(METRIC):
            del row[name]
    for name, value in LATER.items():
        row.setdefault(name, value)
    return row


def table(lines: list[dict[str, Any]]) -> pa.Table:
    """Return rows that `parsed` gave as a table: `LATER` columns first, the others in the order of the files."""
    files = dict.fromkeys(map(tuple, lines))
    names = dict.fromkeys([*(LATER if lines else ()), *itertools.chain.from_iterable(files)])
    return pa.table({name: _column(name, [line.get(name) for line in lines]) for name in names})


def _column(name: str, values: list[Any]) -> pa.Array:
    if name in FIELDS:
        kind = str(FIELDS[name].type).partition(" ")[0]
        return pa.array(values, ARROW.get(kind, TEXT))
    try:
        found = pa.array(values)  # whole numbers or not
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return found.cast(pa.int64()) if pa.types.is_boolean(found.type) else found


@functools.cache
def _schema() -> TypeAdapter[Any]:
    """Return what a row must be: every column that `Record` requires, each None or of its kind; metrics are numbers."""
    columns: dict[str, Any] = {"skill": NotRequired[float | None]}
    for name, field in FIELDS.items():
        kind = KINDS[str(field.type).partition(" ")[0]]
        needed = Required if name in REQUIRED else NotRequired
        columns[name] = needed[kind if name in NAMES else kind | None]
    columns["key"] = Required[str]
    columns["schema"] = Required[Annotated[int, Field(ge=0, le=SCHEMA)]]
    typed_dict: Any = typing_extensions.TypedDict  # made from data, which no type checker follows
    row = typed_dict("row", columns)
    # Columns that are not named here are metrics, or of a later version: plain values, too.
    row.__pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")
    return TypeAdapter(row)


def _is_number(value: object) -> bool:
    """Return whether a metric is a finite number, or None."""
    return value is None or (isinstance(value, int | float) and abs(value) < 1e300)  # noqa: PLR2004 - NaN is not less


@functools.lru_cache(1024)
def _flat(text: str) -> bool:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and all(isinstance(value, str | int | float | None) for value in values.values())
