"""Suites as data: a TOML file is checked with pydantic and expanded into cases.

A suite has a `description`, `defaults`, `[[block]]` tables and the `[[contrast]]` tables of its headline. The fields of
a block are those of a case; each may hold one value or a list of values; the block expands to their product. `defaults`
fills what a block leaves out. A block with a `draw` draws recipes from ranges, and each of them is a point of the
product.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
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
from farreach.benchmarks.matrix.case import CHOICES, Case, find_contradiction, list_words, load_task
from farreach.benchmarks.matrix.contrasts import Contrast, find_sides, list_facts
from farreach.benchmarks.matrix.draws import Draw, Point, draw_points
from farreach.frameworks.base import Device
from farreach.results.record import STRENGTHS, Scalar
from farreach.results.storage.columns import COLUMNS
from farreach.results.storage.sanitising import format_line
from farreach.results.vocabulary import NONE
from farreach.tasks.base import TaskError

MOST_CASES = 100_000
"""Cases that a suite may expand to."""

MOST_FAULTS = 10
"""What is wrong with a suite that is named at once."""

LONGEST = 850
"""Characters of what is said of a suite."""

MOST_FAULTY = 1_000
"""Cases that cannot be, after which a suite is not looked at any further."""

LARGEST = 2**20
"""Bytes that a suite's file may have."""

LENGTH: Any = "length"
"""A `chrono_length` that is the steps of each task's sequences; of an initial that takes none it is none."""


def _make_list(value: object) -> list[object]:
    if isinstance(value, list) and not value:
        message = "an axis needs at least one value"
        raise ValueError(message)
    return value if isinstance(value, list) else [value]


Kind = TypeVar("Kind", bound=BaseModel)

Finite = Annotated[float, Field(allow_inf_nan=False, strict=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)]
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


def _check_cell(word: str) -> str:
    """Return a cell; which there are is asked when a suite is read, since plug-ins bring some."""
    words = list_words("cell")
    if word not in words:
        message = f"Input should be {', '.join(map(repr, words[:-1]))} or {words[-1]!r}"
        raise ValueError(message)
    return word


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


ORDER: tuple[str, ...] = ("framework", "task", "parameters", "cell", "activation", "layers", "heads", "radius")
ORDER += ("initial", "chrono_length", "forget_bias", "hidden", "optimizer", "decay", "accumulator", "weight_decay")
ORDER += ("batch", "replicas", "microbatches", "clip_at", "steps", "until", "dtype", "mode", "regulariser", "clip")
ORDER += ("learning_rate", "schedule", "warmup", "rate_end", "rate_every", "rate_factor", "replicate", "seed")
"""The fields of a case that a block may have several values of; in its product the last changes fastest."""

FIELDS = {field.name: field for field in dataclasses.fields(Case)}


def _make_axis(name: str) -> tuple[Any, Any]:
    """Return the type and the default of a block's field, from the field of a case."""
    default = FIELDS[name].default
    positive = {"integer": PositiveInt, "number": Positive, "text": str}
    kinds = positive if default != 0 else {"integer": Count, "number": NotNegative}
    kind: Any = Literal[CHOICES[name]] if name in CHOICES else kinds[COLUMNS[name].kind]
    kind = Annotated[str, AfterValidator(_check_cell)] if name == "cell" else kind
    return _allow_many(kind), ... if default is dataclasses.MISSING else [default]


SPECIAL: dict[str, tuple[Any, Any]] = {
    "parameters": (dict[str, _allow_many(Scalar)], {}),  # type: ignore[misc]
    "framework": (_allow_many(str) | None, None),
    "clip": (_allow_many(ClipAxis), [ClipAxis(kind=NONE)]),
    "regulariser": (_allow_many(RegulariserAxis), [RegulariserAxis(kind=NONE)]),
    "evaluate_every": (PositiveInt, FIELDS["evaluate_every"].default),
    "path": (dict[str, str], {}),
    "forget_bias": (_allow_many(Finite), [None]),
    "chrono_length": (_allow_many(PositiveInt | Literal[LENGTH]), [None]),
}
"""The fields of a block that are more than a list of a case's values, and their defaults."""

GIVEN = {"device", "threads", *STRENGTHS.values()}
"""The fields of a case that no block has: the command line sets them, or an axis has them beside its kind."""

_BLOCK: dict[str, Any] = {name: SPECIAL.get(name) or _make_axis(name) for name in FIELDS if name not in GIVEN}


def _refuse_twice(block: Any) -> Any:
    """Refuse what is drawn and given beside it."""
    twice = [name for name in (block.draw.list_axes() if block.draw else ()) if name in block.model_fields_set]
    if twice:
        message = f"{twice[0]} is drawn, and given beside it: leave one out"
        raise ValueError(message)
    return block


_VALIDATORS: dict[str, Any] = {"refuse_twice": model_validator(mode="after")(_refuse_twice)}

Block: Any = create_model(
    "Block",
    __doc__="A product of axes: the fields of a case, of which each may have one value or a list of values.",
    __config__=ConfigDict(extra="forbid", strict=True),
    __validators__=_VALIDATORS,
    **_BLOCK,
    draw=(Draw | None, None),
)

UNDRAWN = Point(1, 1, {})
"""What stands for the recipe of a block that draws none."""

Rows = dict[Case, dict[str, Any]]
"""The cases of a suite, and what the row of each says beside it: its contrast, the recipe that was drawn for it."""


def expand_block(
    block: Any, frameworks: list[str], *, device: Device, threads: int, faults: Counter[str], gaps: Counter[str]
) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Yield a block's cases, for `frameworks` where it names none, with what was drawn; seeds change fastest.

    Study k of a draw has seeds of its own: those of the block, each k - 1 times as far on as there are numbers from 0
    to the largest.

    `faults` counts why others cannot be, and `gaps` what a framework that the block does not name has not.
    """
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
    axes = [points.get(name) or [{name: value} for value in getattr(block, name)] for name in ORDER if name != "seed"]
    drawn = [*draw_points(block.draw)] if block.draw else [UNDRAWN]
    for *parts, point, seed in itertools.product(*axes, drawn, block.seed):
        fields: dict[str, Any] = {name: value for part in parts for name, value in part.items()}
        fields |= {**point.fields, "seed": seed + (point.study - 1) * (max(block.seed) + 1)}
        framework, cell = fields["framework"], fields["cell"]
        gap = "" if block.framework else registry.find_gap(framework, device, cell, fields["mode"])
        if gap:
            gaps[gap] += 1
            continue
        try:
            if fields["chrono_length"] == LENGTH:
                steps = load_task(fields["task"], fields["parameters"]).length
                fields["chrono_length"] = steps if fields["initial"] == "chrono" else None
            path = block.path.get(framework) or registry.list_paths(framework, device, cell)[0]
            case = Case(**fields, evaluate_every=block.evaluate_every, device=device, path=path, threads=threads)
        except (registry.UsageError, TaskError) as error:
            faults[str(error)] += 1
        else:
            yield case, point.facts if block.draw else {}
        if len(faults) > MOST_FAULTS or faults.total() > MOST_FAULTY:
            return


def _list_products(parameters: dict[str, list[Scalar]]) -> list[tuple[tuple[str, Scalar], ...]]:
    """Return every combination of the values of a task's parameters."""
    products = itertools.product(*parameters.values())
    return [tuple(sorted(zip(parameters, values, strict=True))) for values in products]


def count_cases(block: Any, frameworks: list[str]) -> int:
    """Return how many cases a block expands to, without expanding it."""
    sizes = {name: len(getattr(block, name)) for name in ORDER if name not in {"framework", "parameters", *STRENGTHS}}
    sizes["framework"] = len(block.framework or frameworks)
    graded = {axis: sum(len(one.list_points()) for one in getattr(block, axis)) for axis in STRENGTHS}
    drawn = block.draw.recipes * block.draw.studies if block.draw else 1
    return math.prod([*sizes.values(), *graded.values(), *map(len, block.parameters.values()), drawn])


def fill_tables(data: Any, name: str) -> Any:
    """Return the content of a file in which what a table of that name leaves out comes from `defaults`."""
    if isinstance(data, dict) and isinstance(data.get(name), list):
        given = data.get("defaults", {})
        if isinstance(given, dict):
            return data | {name: [given | one if isinstance(one, dict) else one for one in data[name]]}
    return data


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
        return fill_tables(data, "block")

    def list_cases(
        self,
        frameworks: list[str] | None = None,
        *,
        device: Device = "cpu",
        threads: int = 1,
        notice: Callable[[str], None] = lambda _: None,
    ) -> list[Case]:
        """Return every case once, in order; raise `UsageError` where one cannot be, with all that is wrong."""
        return [*self.expand(frameworks, device=device, threads=threads, notice=notice)]

    def expand(
        self,
        frameworks: list[str] | None = None,
        *,
        device: Device = "cpu",
        threads: int = 1,
        notice: Callable[[str], None] = lambda _: None,
    ) -> Rows:
        """Return the cases of `list_cases`, each with what its row says beside it.

        A block that names no framework is for `frameworks`, by default all but the reference; `notice` hears which of
        them lack a cell, whose cases are left out.
        """
        chosen = frameworks or registry.list_compared()
        count = sum(count_cases(block, chosen) for block in self.block)
        if count > MOST_CASES:
            message = f"the suite expands to {format_line(f'{count:,}', most=40)} cases; the limit is {MOST_CASES:,}"
            raise registry.UsageError(message)
        faults, gaps = Counter[str](), Counter[str]()
        found: Rows = {}
        for block in self.block:
            try:
                cases = expand_block(block, chosen, device=device, threads=threads, faults=faults, gaps=gaps)
                found |= {case: facts for case, facts in cases if case not in found}
            except registry.UsageError as error:
                faults[str(error)] += 1
        lacks_all = bool(gaps) and not {*chosen} & {case.framework for case in found}
        if faults or not found or lacks_all:
            raise registry.UsageError(_join_faults([*faults, *([] if faults else gaps)]))
        for gap, count in gaps.items():
            notice(f"{gap}: its {count} cases are left out")
        sides = find_sides(self.contrast, found)
        return {case: facts | sides.get(case, {}) for case, facts in found.items()}


def load_suite(name: str) -> Suite:
    """Read a suite by its name, or by the path of a TOML file; raise `UsageError` on any fault."""
    path = Path(name)
    if path.suffix != ".toml":
        path = registry.find_suite(name)
    return read_file(path, Suite, "suite")


def read_file(path: Path, kind: type[Kind], what: str) -> Kind:
    """Read a TOML file of a kind; raise `UsageError` on any fault, which says `what` the file is."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            message = f"{what} {path.name} is not a file"
            raise registry.UsageError(message)
        if facts.st_size > LARGEST:
            message = f"{what} {path.name} has more than {LARGEST} bytes"
            raise registry.UsageError(message)
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        message = f"cannot read {what} {path}: {error.strerror}"
        raise registry.UsageError(message) from error
    except ValidationError as error:
        message = f"{what} {path.name}: {_describe_faults(error, kind)}"
        raise registry.UsageError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"{what} {path.name} is not valid TOML: {' '.join(str(error).split())[:200]}"
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


def _describe_faults(error: ValidationError, whole: type[BaseModel]) -> str:
    """Put pydantic's complaints into one line: where, what, and what was found; those of all blocks alike once."""
    lines: list[str] = []
    alike = set()
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"])
        same = fault["type"], re.sub(r"^block\.\d+", "block", where), repr(fault["input"])
        if same in alike:  # from the defaults, say, of which every block has it
            continue
        alike.add(same)
        if fault["type"] == "extra_forbidden":
            lines.append(f"unknown key {where}; allowed: {', '.join(_find_model(whole, fault['loc']).model_fields)}")
            continue
        value = "" if isinstance(fault["input"], dict | list) else f", not {format_line(repr(fault['input']), most=80)}"
        lines.append(f"{where}: {fault['msg'].removeprefix('Value error, ')}{value}")
    return _join_faults(lines)


def _find_model(model: type[BaseModel], place: Iterable[int | str]) -> type[BaseModel]:
    """Return the model that a place within a model is a field of."""
    for part in place:
        field = model.model_fields.get(str(part))
        kinds: list[Any] = [field.annotation] if field else []
        while kinds:
            kind = kinds.pop()
            kinds += get_args(kind)
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return model


def _join_faults(faults: list[str]) -> str:
    """Return faults as one line, the first `MOST_FAULTS` of them."""
    more = f" | and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
    return format_line(" | ".join(faults[:MOST_FAULTS]), most=LONGEST) + more
