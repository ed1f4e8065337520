"""Suites as data: a TOML file is checked with pydantic and expanded into cases.

A suite has a `description`, `defaults`, and `[[block]]` tables. Every field of a block may hold one
value or a list of values; the block stands for their product. `defaults` fills what a block leaves out.
"""

from __future__ import annotations

import itertools
import math
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from farreach.benchmarks.matrix import narrowing, registry
from farreach.benchmarks.matrix.case import Case, Scalar
from farreach.frameworks.base import Activation, Cell, ClipKind, Device, Mode, Optimizer, Precision
from farreach.tasks.base import TaskError

MOST_CASES = 1_000_000
"""Cases that one block may stand for."""

LARGEST = 2**20
"""Bytes that a suite's file may have."""


def _listed(value: object) -> list[object]:
    if isinstance(value, list) and not value:
        message = "an axis needs at least one value"
        raise ValueError(message)
    return value if isinstance(value, list) else [value]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)]
Count = Annotated[int, Field(ge=0)]


def _many(kind: Any) -> Any:
    """A field that takes one value or a list of at least one."""
    return Annotated[list[kind], BeforeValidator(_listed)]


class ClipAxis(BaseModel):
    """One kind of clip and its ladder of thresholds."""

    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Literal["none"] | ClipKind
    threshold: _many(Positive) | None = None  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _consistent(self) -> ClipAxis:
        if self.kind == "none" and self.threshold is not None:
            message = "clip none takes no threshold"
            raise ValueError(message)
        if self.kind != "none" and self.threshold is None:
            message = f"clip {self.kind} needs a threshold"
            raise ValueError(message)
        return self

    def points(self) -> list[tuple[str, float | None]]:
        """Return (kind, threshold) for each rung of the ladder."""
        return [(self.kind, None if rung is None else float(rung)) for rung in self.threshold or [None]]


class RegulariserAxis(BaseModel):
    """One kind of penalty and its ladder of strengths."""

    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Literal["none", "l1", "l2", "omega"]
    strength: _many(Positive) | None = None  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _consistent(self) -> RegulariserAxis:
        if self.kind == "none" and self.strength is not None:
            message = "regulariser none takes no strength"
            raise ValueError(message)
        if self.kind != "none" and self.strength is None:
            message = f"regulariser {self.kind} needs a strength"
            raise ValueError(message)
        return self

    def points(self) -> list[tuple[str, float | None]]:
        """Return (kind, strength) for each rung of the ladder."""
        return [(self.kind, None if rung is None else float(rung)) for rung in self.strength or [None]]


class Block(BaseModel):
    """A product of axes; the axes of the matrix and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)
    task: _many(str)  # type: ignore[valid-type]
    parameters: dict[str, _many(Scalar)] = {}  # type: ignore[valid-type]
    framework: _many(str) | None = None  # type: ignore[valid-type]
    cell: _many(Cell)  # type: ignore[valid-type]
    activation: _many(Activation) = ["tanh"]  # type: ignore[valid-type]
    layers: _many(PositiveInt) = [1]  # type: ignore[valid-type]
    radius: _many(Positive) = [1.0]  # type: ignore[valid-type]
    hidden: _many(PositiveInt) = [64]  # type: ignore[valid-type]
    clip: _many(ClipAxis) = [ClipAxis(kind="none")]  # type: ignore[valid-type]
    regulariser: _many(RegulariserAxis) = [RegulariserAxis(kind="none")]  # type: ignore[valid-type]
    optimizer: _many(Optimizer) = ["adam"]  # type: ignore[valid-type]
    learning_rate: _many(Positive) = [3e-3]  # type: ignore[valid-type]
    batch: _many(PositiveInt) = [32]  # type: ignore[valid-type]
    steps: _many(PositiveInt) = [1_000]  # type: ignore[valid-type]
    evaluate_every: PositiveInt = 100
    seed: _many(Count) = [0]  # type: ignore[valid-type]
    replicate: _many(Count) = [0]  # type: ignore[valid-type]
    dtype: _many(Precision) = ["float32"]  # type: ignore[valid-type]
    mode: _many(Mode) = ["matched"]  # type: ignore[valid-type]
    path: dict[str, str] = {}

    def cases(self, frameworks: list[str], *, device: Device, threads: int) -> Iterator[Case]:
        """Yield the block's cases, for `frameworks` where it names none; seeds change fastest."""
        for task in self.task:
            registry.known("task", task, registry.tasks())
        for framework in self.framework or frameworks:
            registry.known("framework", framework, registry.frameworks())
        parameters = [
            tuple(sorted(zip(self.parameters, values, strict=True)))
            for values in itertools.product(*self.parameters.values())
        ]
        clips = [point for axis in self.clip for point in axis.points()]
        penalties = [point for axis in self.regulariser for point in axis.points()]
        axes = {
            "framework": self.framework or frameworks,
            "task": self.task,
            "parameters": parameters,
            "cell": self.cell,
            "activation": self.activation,
            "layers": self.layers,
            "radius": [float(radius) for radius in self.radius],
            "hidden": self.hidden,
            "optimizer": self.optimizer,
            "batch": self.batch,
            "steps": self.steps,
            "dtype": self.dtype,
            "mode": self.mode,
            "penalty": penalties,
            "limit": clips,
            "learning_rate": self.learning_rate,
            "replicate": self.replicate,
            "seed": self.seed,
        }
        count = math.prod(len(values) for values in axes.values())
        if count > MOST_CASES:
            message = f"a block stands for {count} cases, more than {MOST_CASES}"
            raise registry.UsageError(message)
        for values in itertools.product(*axes.values()):
            point: dict[str, Any] = dict(zip(axes, values, strict=True))
            (regulariser, strength), (clip, threshold) = point.pop("penalty"), point.pop("limit")
            framework, cell = point["framework"], point["cell"]
            yield Case(
                **point,
                regulariser=regulariser,
                strength=strength,
                clip=clip,
                threshold=threshold,
                evaluate_every=self.evaluate_every,
                device=device,
                path=self.path.get(framework) or registry.paths(framework, device, cell)[0],
                threads=threads,
            )


class Suite(BaseModel):
    """A named matrix: the union of its blocks."""

    model_config = ConfigDict(extra="forbid", strict=True)
    description: str
    defaults: dict[str, Any] = {}
    block: Annotated[list[Block], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("block"), list):
            given = data.get("defaults", {})
            if isinstance(given, dict):
                filled = [given | block if isinstance(block, dict) else block for block in data["block"]]
                return data | {"block": filled}
        return data

    def cases(self, frameworks: list[str] | None = None, *, device: Device = "cpu", threads: int = 1) -> list[Case]:
        """Return every case once, in order; raise `UsageError` where one cannot be.

        A block that names no framework is for `frameworks`, by default all but the judge.
        """
        chosen = frameworks or registry.compared()
        try:
            cases = [case for block in self.block for case in block.cases(chosen, device=device, threads=threads)]
        except TaskError as error:
            raise registry.UsageError(str(error)) from error
        return list(dict.fromkeys(cases))


def load(name: str) -> Suite:
    """Read a suite by its name, or by the path of a TOML file; raise `UsageError` on any fault."""
    path = Path(name)
    if path.suffix != ".toml":
        path = registry.SUITES / f"{registry.known('suite', name, registry.suites())}.toml"
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            message = f"suite {path.name} is no file"
            raise registry.UsageError(message)
        if found.st_size > LARGEST:
            message = f"suite {path.name} has more than {LARGEST} bytes"
            raise registry.UsageError(message)
        return Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        message = f"cannot read suite {path}: {error.strerror}"
        raise registry.UsageError(message) from error
    except ValidationError as error:
        message = f"suite {path.name}: {_first_fault(error)}"
        raise registry.UsageError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"suite {path.name} is no TOML: {' '.join(str(error).split())[:200]}"
        raise registry.UsageError(message) from error


def named(only: list[str]) -> list[str]:
    """Return the frameworks that --only names."""
    pairs = (text.partition("=") for text in only)
    return [registry.known(key, value, registry.frameworks()) for key, _, value in pairs if key == "framework"]


def narrow(cases: list[Case], only: list[str], suite: str) -> list[Case]:
    """Keep the cases that meet every KEY=VALUE; values of the same key are alternatives."""
    wanted = narrowing.wanted(only)
    _check_rungs(wanted, "threshold", "clip")
    _check_rungs(wanted, "strength", "regulariser")
    for key in {"task", "framework"} & set(wanted):
        for value in wanted[key]:
            registry.known(key, value, getattr(registry, f"{key}s")())
    described = [narrowing.words(_facts(case)) for case in cases]
    return [cases[at] for at in narrowing.kept(described, only, f"suite {suite}")]


def shard(cases: list[Case], part: str | None) -> list[Case]:
    """Return the K-th of N parts, ``K/N``: every N-th case from the K-th on, so that each part has some of all."""
    if part is None:
        return cases
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", part)
    at, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= at <= parts:
        message = f"--shard takes K/N with K from 1 to N, not {part!r}"
        raise registry.UsageError(message)
    kept = cases[at - 1 :: parts]
    if not kept:
        message = f"--shard {part} is empty: there are {len(cases)} cases"
        raise registry.UsageError(message)
    return kept


def _check_rungs(wanted: dict[str, list[str]], rung: str, axis: str) -> None:
    """Refuse a rung of a ladder (the threshold of a clip, say) that is no positive number or has no ladder."""
    for value in wanted.get(rung, []):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            message = f"{rung} must be a positive finite number, not {value}"
            raise registry.UsageError(message)
        if wanted.get(axis) == ["none"]:
            message = f"{axis} none takes no {rung}, so {axis}=none and {rung}={value} contradict each other"
            raise registry.UsageError(message)


def _facts(case: Case) -> dict[str, Any]:
    fields: dict[str, Any] = case.to_json()
    parameters: dict[str, Any] = fields.pop("parameters")
    return fields | parameters


def _first_fault(error: ValidationError) -> str:
    """Put pydantic's first complaint into one line: where, what, and what was found."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        names = Block.model_fields if fault["loc"][0] == "block" else Suite.model_fields
        return f"unknown key {where}; allowed: {', '.join(names)}"
    found = "" if isinstance(fault["input"], dict | list) else f", not {fault['input']!r}"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}{found}"
