"""The columns of a row, as `farreach.results.record` declares them: their kinds and the JSON Schema."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from types import EllipsisType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from farreach.results.record import BELONGS_TO, METRIC, NEEDED, PARTS, STRENGTHS, Fact, Record, Status
from farreach.results.storage.sanitising import CONTROL
from farreach.results.vocabulary import NONE, OWN

Kind = Literal["integer", "number", "boolean", "text"]

KEY = r"[\w-]{1,64}"
"""What a key may be made of: it is the name of files."""

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
"""What a name may be made of: it stands in the names of files, in pages and in commands."""

LONGEST_TEXT, LONGEST_VALUE = 10_000, 200
"""Characters that a text of a row may have, and one that is the value of a task's parameter: it stands in titles."""

_NAMED = ("task", "framework", "cell", "activation", "initial", "clip", "regulariser", "optimizer", "schedule", "until")
NAMES = dict.fromkeys((*_NAMED, "device", "dtype", "mode", "metric", "suite"), NAME) | {
    "path": r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}"
}
"""The columns that hold names, and what each is made of; the path of a run of the user's own may be two words."""

STATUSES = get_args(Status)

JSON = {"integer": "integer", "number": "number", "boolean": "boolean", "text": "string"}


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a row.

    Attributes:
        name: its name.
        kind: what its values are.
        nullable: whether a row of a suite may have none.
        fact: what is declared of it.

    """

    name: str
    kind: Kind
    nullable: bool
    fact: Fact

    @property
    def required(self) -> bool:
        """Whether every row has it, of whichever version."""
        return self.fact.before is ...

    @property
    def before(self) -> float | str | None:
        """What a row says that was written before the column was there."""
        return None if isinstance(self.fact.before, EllipsisType) else self.fact.before

    @property
    def least(self) -> float | None:
        """The smallest value of a row."""
        return 0 if self.fact.least is None and self.kind == "integer" else self.fact.least


def _columns() -> Iterator[Column]:
    for part in (Record, *PARTS.values()):
        for name, hint in get_type_hints(part, include_extras=True).items():
            if get_origin(hint) is Annotated and name != "metrics":
                kind, fact = get_args(hint)
                kinds = {_kind(one) for one in (get_args(kind) if type(None) in get_args(kind) else [kind])}
                yield Column(name, (kinds - {None}).pop() or "text", None in kinds, fact)
    skill = Fact("1 - loss / floor: 0 is trivial, 1 is perfect.", most=100)
    yield Column("skill", "number", nullable=True, fact=skill)


def _kind(hint: Any) -> Kind | None:
    """Return the kind of a type; None for that of None."""
    kinds: dict[Any, Kind | None] = {int: "integer", float: "number", bool: "boolean", type(None): None}
    return kinds.get(hint, "text")


COLUMNS = {column.name: column for column in _columns()}
"""Every column of a row but the metrics, in order. Skill ends at 1; what is near is no damage."""

REQUIRED = {column.name for column in COLUMNS.values() if column.required}
"""The columns that every row has, of whichever version of the schema."""

REACHED = [name for name in COLUMNS if name.startswith(("reach_", "cell_reach_", "input_reach_", "growth_"))]
"""What nobody can know who did not count the steps before the scored ones."""


def make_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a row, the content of a file in ``rows/``."""
    suite = [column.name for column in COLUMNS.values() if not (column.nullable or column.fact.always)]
    blind = {name: {"type": "null"} for name in REACHED}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A row of a Farreach result set",
        "description": "One case: what was trained, what came out, where the time went, and where it ran. "
        "Made from results/record.py by `python -m benchmarks publish`.",
        "type": "object",
        "required": [column.name for column in COLUMNS.values() if column.required],
        "properties": {name: _json_column(column) for name, column in COLUMNS.items()},
        "patternProperties": {
            f"^{METRIC.replace('.', '[.]')}": {
                "type": ["number", "boolean", "null"],
                "description": "A metric of the task, at the end of training.",
            }
        },
        "allOf": [
            {
                "if": {"properties": {"mode": {"const": OWN}}},
                "else": {"properties": {name: {"not": {"type": "null"}} for name in suite}},
            },
            *(_json_strength(kind, strength) for kind, strength in STRENGTHS.items()),
            *(_json_belonging(name, kind, words) for name, (kind, words) in BELONGS_TO.items()),
            {
                "if": {"properties": {"steps_before": {"type": "null"}}},
                "then": {"properties": blind},
            },
        ],
    }


def render_json_schema() -> str:
    """Return the JSON Schema of a row as its file has it."""
    return json.dumps(make_json_schema(), indent=1) + "\n"


def _json_column(column: Column) -> dict[str, Any]:
    limits = {"minimum": column.least, "maximum": column.fact.most}
    if column.kind == "integer":
        limits["exclusiveMaximum"] = 2**63
    schema: dict[str, Any] = {"description": column.fact.doc, "type": JSON[column.kind]}
    if not column.fact.always:  # a run of the user's own does not know it
        schema["type"] = [schema["type"], "null"]
    if column.name == "key":
        schema["pattern"] = f"^{KEY}$"
    elif column.name == "status":
        schema["enum"] = [*STATUSES, None]
    elif column.name in NAMES:
        schema["pattern"] = f"^{NAMES[column.name]}$"
    elif column.kind == "text":
        schema |= {"pattern": rf"^[^{CONTROL}]*$", "maxLength": LONGEST_TEXT}
    return schema | {name: limit for name, limit in limits.items() if limit is not None}


def _json_strength(kind: str, strength: str) -> dict[str, Any]:
    """Return the rule that a kind other than ``none`` has a positive strength, and ``none`` has none."""
    return {
        "if": {"properties": {kind: {"enum": [NONE, None]}}},
        "then": {"properties": {strength: {"type": "null"}}},
        "else": {"required": [strength], "properties": {strength: {"type": "number", "exclusiveMinimum": 0}}},
    }


def _json_belonging(name: str, kind: str, words: tuple[str, ...]) -> dict[str, Any]:
    """Return the rule that a number that belongs to some words of a column has its default under all others."""
    needed = {"required": [name], "properties": {name: {"type": COLUMNS[name].kind, "exclusiveMinimum": 0}}}
    return {
        "if": {"required": [kind], "properties": {kind: {"enum": [*words]}}},
        "then": {"if": {"properties": {"mode": {"const": OWN}}}, "else": needed} if name in NEEDED else {},
        "else": {"properties": {name: {"enum": [*dict.fromkeys((COLUMNS[name].before, None))]}}},
    }
