"""One row, read from its file and checked: a result set may come from anybody."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typing_extensions
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from farreach.results.record import METRIC, POINTS, SCHEMA, Record, use_names
from farreach.results.storage.files import DamagedError, read_bytes
from farreach.results.storage.sanitising import CONTROL
from farreach.results.vocabulary import OWN

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

PLAIN = re.compile(rf"[^{CONTROL}]*")
Text = Annotated[str, Field(pattern=rf"^{PLAIN.pattern}$")]
"""A text without control characters, which a terminal would obey."""

Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""An integer that a table of 64 bits takes."""

Ending = Literal["finished", "diverged"]

SHARES = {"clip_fraction", "clipped_elements", *(f"{cell}reach_{point}" for cell in ("", "cell_") for point in POINTS)}
COUNTS = {name for name, field in FIELDS.items() if str(field.type).startswith("int")} - {"schema"}
SIZES = {"learning_rate", "radius", "threshold", "strength", "norm_before_median", "norm_before_max", "scale_median"}
SIZES |= {"moved", "cpu_to_wall", "floor"}
SECONDS = {"step_seconds", *(name for name in FIELDS if name.startswith("seconds_"))}
RANGES: dict[str, tuple[float | None, float | None]] = (
    {"skill": (None, 100)}
    | dict.fromkeys(SHARES, (0, 1))
    | dict.fromkeys(SECONDS, (0, 1e12))
    | dict.fromkeys(COUNTS | SIZES, (0, None))
)
"""The least and the most that a column can be, whatever ran; skill ends at 1, and what is near is no damage."""

SEEN = [name for name in FIELDS if name.startswith(("reach_", "cell_reach_", "growth_"))]
"""What nobody can know who did not count the steps before the scored ones."""

ALWAYS = [name for name in REQUIRED if "None" not in str(FIELDS[name].type)]
"""The columns that every row of a suite has a value in."""

KINDS: dict[str, Any] = {"int": Whole, "float": float, "bool": bool, "str": Text, "Status": Ending}

NEVER_NONE = {*NAMES, "key", "schema"}
PYTHON: dict[str, set[type]] = {"int": {int}, "float": {int, float}, "bool": {bool}, "metric": {int, float, bool}}
"""What JSON's values are in Python, of each kind; any other is a text."""

TEXT = pa.dictionary(pa.int32(), pa.string())
ARROW = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
"""How a table holds the kinds; any other is a text, which it holds once, since most are the same in every row."""


def parsed(path: Path | str, key: str) -> dict[str, Any]:
    """Return the row that a file holds: columns that came after it filled in, those of a later version left out.

    Raises `DamagedError` where it is no row: a column is missing or has another kind of value, or the key in it is
    not the file's name.
    """
    return checked(read_bytes(path, LARGEST), path, key)


def checked(text: bytes, path: Path | str, key: str) -> dict[str, Any]:
    """Return and raise what `parsed` does, of a file that was read already."""
    try:
        row: dict[str, Any] = _schema().validate_python(_read(text))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise DamagedError(Path(path), f"{where}: {fault['msg']}" if where else fault["msg"]) from error
    except ValueError as error:
        raise DamagedError(Path(path), error) from error
    if row["key"] != key:
        raise DamagedError(Path(path), "it holds the row of another key")
    more = row.keys() - KNOWN
    odd = [one for one in more if one.startswith(METRIC) and not (_is_number(row[one]) and PLAIN.fullmatch(one))]
    if odd:
        raise DamagedError(Path(path), f"its {min(odd)[:40]} is no number")
    if not _flat(row["parameters"]):
        raise DamagedError(Path(path), "its parameters are no JSON object of plain values")
    wrong = _contradiction(row)
    if wrong:
        raise DamagedError(Path(path), wrong)
    for name in more:
        if not name.startswith(METRIC):
            del row[name]
    for name, value in LATER.items():
        row.setdefault(name, value)
    return row


def _read(text: bytes) -> Any:
    value = from_json(text, allow_inf_nan=False)
    return use_names(value) if isinstance(value, dict) else value


def table(lines: list[dict[str, Any]]) -> pa.Table:
    """Return rows that `parsed` gave as a table: `LATER` columns first, the others in the order of the files."""
    names = _names(dict.fromkeys(map(tuple, lines))) if lines else []
    return pa.table({name: _column(name, [line.get(name) for line in lines]) for name in names})


def bulk(texts: list[bytes], keys: list[str]) -> pa.Table | None:
    """Return the `table` of the rows of many files; None where one may be no row, so that each is to be `checked`.

    What `checked` asks of a row is asked of whole columns here, which takes half the time.
    """
    try:
        lines = [_read(text) for text in texts]
        if not lines or any(type(line) is not dict for line in lines):
            return None
        names = _names(map(_ordered, dict.fromkeys(map(tuple, lines))))
        if not all(map(PLAIN.fullmatch, names)):
            return None
        columns = {name: _sound(name, lines) for name in [*names, *REQUIRED.difference(names)]}
    except (ValueError, KeyError, TypeError, OverflowError, pa.ArrowException):
        return None
    told = columns["key"].to_pylist() == keys and all(map(_flat, columns["parameters"].dictionary.to_pylist()))
    return pa.table(columns) if told and not _contradictory(columns) else None


def _sound(name: str, lines: list[dict[str, Any]]) -> pa.Array:
    """Return a column of what was read; raise `ValueError` or `KeyError` where not all of it is what `_schema` asks."""
    missing = LATER.get(name)
    needed = name in REQUIRED or name == "schema"
    values = [line[name] for line in lines] if needed else [line.get(name, missing) for line in lines]
    types = PYTHON["metric"] if name.startswith(METRIC) else PYTHON.get(_kind(name), {str})
    column = _column(name, values)
    if pa.types.is_dictionary(column.type):
        words = column.dictionary.to_pylist()
        fine = all(map(PLAIN.fullmatch, words)) and (name != "status" or {*words} <= {*get_args(Ending)})
    elif name.startswith(METRIC):
        fine = bool((np.abs(column.drop_null().to_numpy(zero_copy_only=False)) < 1e300).all())  # noqa: PLR2004
    elif pa.types.is_floating(column.type):
        fine = bool(np.isfinite(column.drop_null().to_numpy()).all()) and _in_range(name, column)
    elif name in COUNTS:
        fine = _in_range(name, column)
    else:
        fine = name != "schema" or {*values} <= {*range(SCHEMA + 1)}
    if not fine or not {*map(type, values)} <= (types if name in NEVER_NONE else types | {type(None)}):
        raise ValueError(name)
    return column


RUNGS = {"clip": "threshold", "regulariser": "strength"}
"""The column that says how strong another is, and that ``none`` has none of."""

RUNG = ["kind", "rung"]


def _fits(kind: str | None, rung: float | None) -> bool:
    """Return whether a kind of clip or penalty can have such a rung."""
    return rung is None if kind in {"none", None} else rung is not None and rung > 0


def _contradiction(row: dict[str, Any]) -> str:
    """Return why no run can have given a row whose columns are fine, each by itself; nothing where one can."""
    for kind, rung in RUNGS.items():
        if not _fits(row.get(kind, LATER.get(kind)), row.get(rung)):
            return f"its {kind} and its {rung} contradict each other"
    if row["mode"] != OWN:
        missing = [name for name in ALWAYS if row[name] is None]
        if missing:
            return f"its {min(missing)} is missing"
    if row.get("steps_before") is None and any(row.get(name) is not None for name in SEEN):
        return "its gradient reaches over no steps"
    return ""


def _contradictory(columns: dict[str, pa.Array]) -> bool:
    """Return whether one row of these columns may be a `_contradiction`."""
    absent = pa.nulls(len(columns["key"]), pa.float64())
    tables = (pa.table([columns[kind], columns.get(rung, absent)], RUNG) for kind, rung in RUNGS.items())
    # Of each kind and rung once, not of each row: there are few.
    pairs = [pair for found in tables for pair in found.group_by(RUNG).aggregate([]).to_pylist()]
    if not all(_fits(pair["kind"], pair["rung"]) for pair in pairs):
        return True
    ours = pc.not_equal(columns["mode"].cast(pa.string()), OWN)
    gaps = [pc.is_null(columns[name]) for name in ALWAYS if columns[name].null_count]
    blind = columns.get("steps_before", absent).is_null()
    seen = [columns[name].is_valid() for name in SEEN if name in columns and blind.true_count]
    return any(pc.any(pc.and_(gap, ours)).as_py() for gap in gaps) or any(
        pc.any(pc.and_(one, blind)).as_py() for one in seen
    )


def _in_range(name: str, column: pa.Array) -> bool:
    least, most = RANGES.get(name, (None, None))
    ends = pc.min_max(column).as_py()
    low, high = ends["min"], ends["max"]
    return low is None or ((least is None or low >= least) and (most is None or high <= most))


def _kind(name: str) -> str:
    return "float" if name == "skill" else str(FIELDS[name].type).partition(" ")[0]


def _names(shapes: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the columns that rows with these have together."""
    return [*dict.fromkeys([*LATER, *itertools.chain.from_iterable(shapes)])]


def _ordered(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is kept of a row's columns, in the order in which `checked` gives them."""
    return (*(one for one in ("skill", *FIELDS) if one in names), *(one for one in names if one.startswith(METRIC)))


def _column(name: str, values: list[Any]) -> pa.Array:
    if not name.startswith(METRIC):
        return pa.array(values, ARROW.get(_kind(name), TEXT))
    try:
        found = pa.array(values)  # whole numbers or not
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return found.cast(pa.int64()) if pa.types.is_boolean(found.type) else found


@functools.cache
def _schema() -> TypeAdapter[Any]:
    """Return what a row must be: every column that `Record` requires, each None or of its kind; metrics are numbers."""
    columns: dict[str, Any] = {"skill": NotRequired[Annotated[float, Field(le=100)] | None]}
    for name, field in FIELDS.items():
        kind = KINDS[str(field.type).partition(" ")[0]]
        if name in RANGES:
            least, most = RANGES[name]
            kind = Annotated[kind, Field(ge=least, le=most)]
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


HIDDEN = re.compile(rf"[{CONTROL}\ud800-\udfff]")
"""What JSON within JSON may hide: control characters, and halves of characters, which no file takes."""


@functools.lru_cache(1024)
def _flat(text: str) -> bool:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(values, dict):
        return False
    texts = [*values, *(value for value in values.values() if isinstance(value, str))]
    numbers = [value for value in values.values() if not isinstance(value, str)]
    return not any(map(HIDDEN.search, texts)) and all(map(_is_number, numbers))
