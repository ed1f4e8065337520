"""Suites as data: a TOML file is checked with pydantic and expanded into cases.

A suite has a `description`, `defaults`, `[[block]]` tables and the `[[contrast]]` tables of its headline. The fields of
a block are those of a case; each may hold one value or a list of values; the block expands to their product. `defaults`
fills what a block leaves out.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    create_model,
    model_validator,
)

from farreach.benchmarks.matrix import narrowing, registry
from farreach.benchmarks.matrix.case import CHOICES, Case, find_contradiction
from farreach.benchmarks.matrix.contrasts import Contrast, find_sides, list_facts
from farreach.frameworks.base import Device
from farreach.results.record import STRENGTHS, Scalar
from farreach.results.storage.columns import COLUMNS
from farreach.results.storage.sanitising import format_line
from farreach.results.vocabulary import NONE
from farreach.tasks.base import TaskError

MOST_CASES = 100_000
"""Cases that a suite may expand to."""

LARGEST = 2**20
"""Bytes that a suite's file may have."""


def _make_list(value: object) -> list[object]:
    if isinstance(value, list) and not value:
        message = "an axis needs at least one value"
        raise ValueError(message)
    return value if isinstance(value, list) else [value]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)]
Count = Annotated[int, Field(ge=0)]


def _allow_many(kind: Any) -> Any:
    """A field that takes one value or a list of at least one."""
    return Annotated[list[kind], BeforeValidator(_make_list)]


class Graded(BaseModel):
    """A kind of clip or of penalty, and a grid of how strong it is: the threshold grid of a clip, say."""

    model_config = ConfigDict(extra="forbid", strict=True)
    field: ClassVar[str]
    kind: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        reason = find_contradiction(self.field, self.kind, STRENGTHS[self.field], self._grid())
        if reason:
            raise ValueError(reason)
        return self

    def _grid(self) -> Any:
        return getattr(self, STRENGTHS[self.field])

    def list_points(self) -> list[dict[str, Any]]:
        """Return the fields of a case at each grid point."""
        return [{self.field: self.kind, STRENGTHS[self.field]: point} for point in self._grid() or [None]]


ClipWord: Any = Literal[CHOICES["clip"]]
RegulariserWord: Any = Literal[CHOICES["regulariser"]]


class ClipAxis(Graded):
    """One kind of clip and its threshold grid."""

    field = "clip"
    kind: ClipWord
    threshold: _allow_many(Positive) | None = None  # type: ignore[valid-type]


class RegulariserAxis(Graded):
    """One kind of penalty and its grid of strengths."""

    field = "regulariser"
    kind: RegulariserWord
    strength: _allow_many(Positive) | None = None  # type: ignore[valid-type]


ORDER: tuple[str, ...] = ("framework", "task", "parameters", "cell", "activation", "layers", "radius", "hidden")
ORDER += ("optimizer", "batch", "steps", "dtype", "mode", "regulariser", "clip", "learning_rate", "replicate", "seed")
"""The fields of a case that a block may have several values of; in its product the last changes fastest."""

FIELDS = {field.name: field for field in dataclasses.fields(Case)}


def _make_axis(name: str) -> tuple[Any, Any]:
    """Return the type and the default of a block's field, from the field of a case."""
    kinds = {"integer": Count if name in {"seed", "replicate"} else PositiveInt, "number": Positive, "text": str}
    kind: Any = Literal[CHOICES[name]] if name in CHOICES else kinds[COLUMNS[name].kind]
    default = FIELDS[name].default
    return _allow_many(kind), ... if default is dataclasses.MISSING else [default]


SPECIAL: dict[str, tuple[Any, Any]] = {
    "parameters": (dict[str, _allow_many(Scalar)], {}),  # type: ignore[misc]
    "framework": (_allow_many(str) | None, None),
    "clip": (_allow_many(ClipAxis), [ClipAxis(kind=NONE)]),
    "regulariser": (_allow_many(RegulariserAxis), [RegulariserAxis(kind=NONE)]),
    "evaluate_every": (PositiveInt, FIELDS["evaluate_every"].default),
    "path": (dict[str, str], {}),
}
"""The fields of a block that are more than a list of a case's values, and their defaults."""

GIVEN = {"device", "threads", *STRENGTHS.values()}
"""The fields of a case that no block has: the command line sets them, or an axis has them beside its kind."""

_BLOCK: dict[str, Any] = {name: SPECIAL.get(name) or _make_axis(name) for name in FIELDS if name not in GIVEN}
Block: Any = create_model(
    "Block",
    __doc__="A product of axes: the fields of a case, of which each may have one value or a list of values.",
    __config__=ConfigDict(extra="forbid", strict=True),
    **_BLOCK,
)


def expand_block(block: Any, frameworks: list[str], *, device: Device, threads: int) -> Iterator[Case]:
    """Yield a block's cases, for `frameworks` where it names none; seeds change fastest."""
    for task in block.task:
        registry.require_name("task", task, registry.list_tasks())
    chosen = block.framework or frameworks
    for framework in chosen:
        registry.require_name("framework", framework, registry.list_frameworks())
    points: dict[str, list[dict[str, Any]]] = {
        "framework": [{"framework": framework} for framework in chosen],
        "parameters": [{"parameters": values} for values in _list_products(block.parameters)],
        "clip": [point for axis in block.clip for point in axis.list_points()],
        "regulariser": [point for axis in block.regulariser for point in axis.list_points()],
    }
    axes = [points.get(name) or [{name: value} for value in getattr(block, name)] for name in ORDER]
    for parts in itertools.product(*axes):
        fields: dict[str, Any] = {name: value for part in parts for name, value in part.items()}
        framework = fields["framework"]
        path = block.path.get(framework) or registry.list_paths(framework, device, fields["cell"])[0]
        yield Case(**fields, evaluate_every=block.evaluate_every, device=device, path=path, threads=threads)


def _list_products(parameters: dict[str, list[Scalar]]) -> list[tuple[tuple[str, Scalar], ...]]:
    """Return every combination of the values of a task's parameters."""
    products = itertools.product(*parameters.values())
    return [tuple(sorted(zip(parameters, values, strict=True))) for values in products]


def count_cases(block: Any, frameworks: list[str]) -> int:
    """Return how many cases a block expands to, without expanding it."""
    sizes = {name: len(getattr(block, name)) for name in ORDER if name not in {"framework", "parameters", *STRENGTHS}}
    sizes["framework"] = len(block.framework or frameworks)
    graded = {axis: sum(len(one.list_points()) for one in getattr(block, axis)) for axis in STRENGTHS}
    return math.prod([*sizes.values(), *graded.values(), *map(len, block.parameters.values())])


class Suite(BaseModel):
    """A named matrix: the union of its blocks."""

    model_config = ConfigDict(extra="forbid", strict=True)
    description: str
    defaults: dict[str, Any] = {}
    block: Annotated[list[Block], Field(min_length=1)]
    contrast: list[Contrast] = []

    @model_validator(mode="before")
    @classmethod
    def _fill_blocks(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("block"), list):
            given = data.get("defaults", {})
            if isinstance(given, dict):
                filled = [given | block if isinstance(block, dict) else block for block in data["block"]]
                return data | {"block": filled}
        return data

    def list_cases(
        self, frameworks: list[str] | None = None, *, device: Device = "cpu", threads: int = 1
    ) -> list[Case]:
        """Return every case once, in order; raise `UsageError` where one cannot be.

        A block that names no framework is for `frameworks`, by default all but the reference.
        """
        chosen = frameworks or registry.list_compared()
        count = sum(count_cases(block, chosen) for block in self.block)
        if count > MOST_CASES:
            message = f"the suite expands to {format_line(f'{count:,}', most=40)} cases; the limit is {MOST_CASES:,}"
            raise registry.UsageError(message)
        try:
            blocks = [expand_block(block, chosen, device=device, threads=threads) for block in self.block]
            cases = [case for block in blocks for case in block]
        except TaskError as error:
            raise registry.UsageError(str(error)) from error
        unique = list(dict.fromkeys(cases))
        self.find_sides(unique)
        return unique

    def find_sides(self, cases: list[Case]) -> dict[Case, dict[str, Any]]:
        """Return for each case on a side of a contrast what its row says of it; raise `UsageError` on a faulty one."""
        return find_sides(self.contrast, cases)


def load_suite(name: str) -> Suite:
    """Read a suite by its name, or by the path of a TOML file; raise `UsageError` on any fault."""
    path = Path(name)
    if path.suffix != ".toml":
        path = registry.SUITES / f"{registry.require_name('suite', name, registry.list_suites())}.toml"
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            message = f"suite {path.name} is not a file"
            raise registry.UsageError(message)
        if facts.st_size > LARGEST:
            message = f"suite {path.name} has more than {LARGEST} bytes"
            raise registry.UsageError(message)
        return Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        message = f"cannot read suite {path}: {error.strerror}"
        raise registry.UsageError(message) from error
    except ValidationError as error:
        message = f"suite {path.name}: {_describe_fault(error)}"
        raise registry.UsageError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"suite {path.name} is not valid TOML: {' '.join(str(error).split())[:200]}"
        raise registry.UsageError(message) from error


def choose_frameworks(only: list[str]) -> list[str]:
    """Return the frameworks that --only names."""
    pairs = (text.partition("=") for text in only)
    return [
        registry.require_name(key, value, registry.list_frameworks()) for key, _, value in pairs if key == "framework"
    ]


def narrow_cases(cases: list[Case], only: list[str], suite: str) -> list[Case]:
    """Keep the cases that meet every KEY=VALUE; values of the same key are alternatives."""
    wanted = narrowing.parse_only(only)
    for axis, strength in STRENGTHS.items():
        _check_strengths(wanted, strength, axis)
    for key in {"task", "framework"} & set(wanted):
        for value in wanted[key]:
            registry.require_name(key, value, getattr(registry, f"list_{key}s")())
    described = [narrowing.to_words(list_facts(case)) for case in cases]
    return [cases[at] for at in narrowing.find_matches(described, only, f"suite {suite}")]


def choose_shard(cases: list[Case], part: str | None) -> list[Case]:
    """Return the K-th of N parts, ``K/N``: every N-th case from the K-th on, so that each part has some of all."""
    if part is None:
        return cases
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", part)
    at, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= at <= parts:
        message = f"--shard takes K/N with K from 1 to N, not {part!r}"
        raise registry.UsageError(message)
    part_cases = cases[at - 1 :: parts]
    if not part_cases:
        message = f"--shard {part} is empty: there are {len(cases)} cases"
        raise registry.UsageError(message)
    return part_cases


def _check_strengths(wanted: dict[str, list[str]], strength: str, axis: str) -> None:
    """Refuse a grid point (the threshold of a clip, say) that is not a positive number, or of a kind that has none."""
    for value in wanted.get(strength, []):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            message = f"{strength} must be a positive finite number, not {value}"
            raise registry.UsageError(message)
        if wanted.get(axis) == ["none"]:
            message = f"{axis} none takes no {strength}, so {axis}=none and {strength}={value} contradict each other"
            raise registry.UsageError(message)


def _describe_fault(error: ValidationError) -> str:
    """Put pydantic's first complaint into one line: where, what, and what was found."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        kind: Any = {"block": Block, "contrast": Contrast}.get(str(fault["loc"][0]), Suite)
        return f"unknown key {where}; allowed: {', '.join(kind.model_fields)}"
    value = "" if isinstance(fault["input"], dict | list) else f", not {fault['input']!r}"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}{value}"
