"""One row, read from its file and checked: a result set may come from anybody."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required

import typing_extensions
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from results.files import DamagedError, read_bytes
from results.record import METRIC, SCHEMA, Record

LARGEST = 2**20
"""Bytes that a row may have."""

FIELDS = {field.name: field for field in dataclasses.fields(Record) if field.name != "metrics"}

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


def parsed(path: Path, key: str) -> dict[str, Any]:
    """Return the row that a file holds: columns that came after it filled in, those of a later version left out.

    Raises `DamagedError` where it is no row: a column is missing or has another kind of value, or the key in it is
    not the file's name.
    """
    try:
        row: dict[str, Any] = _schema().validate_json(read_bytes(path, LARGEST))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise DamagedError(path, f"{where}: {fault['msg']}" if where else fault["msg"]) from error
    if row["key"] != key:
        raise DamagedError(path, "it holds the row of another key")
    odd = [name for name, value in row.items() if name.startswith(METRIC) and not _is_number(value)]
    if odd:
        raise DamagedError(path, f"its {odd[0][:40]} is no number")
    if not _flat(row["parameters"]):
        raise DamagedError(path, "its parameters are no JSON object of plain values")
    return LATER | {
        name: value for name, value in row.items() if name in FIELDS or name == "skill" or name.startswith(METRIC)
    }


@functools.cache
def _schema() -> TypeAdapter[Any]:
    """Return what a row must be: every column that `Record` requires, each None or of its kind; metrics are numbers."""
    columns: dict[str, Any] = {"skill": NotRequired[float | None]}
    for name, field in FIELDS.items():
        kind = KINDS[str(field.type).partition(" ")[0]]
        needed = Required if name in REQUIRED else NotRequired
        columns[name] = needed[kind if name in NAMES else kind | None]
    columns["key"] = Required[str]
    columns["schema"] = Required[Annotated[int, Field(ge=1, le=SCHEMA)]]
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
