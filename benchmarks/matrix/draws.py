"""Recipes that a suite draws: quasi-random points over ranges, the same whenever and wherever the suite is read.

Each study draws its recipes by itself: a Halton sequence, scrambled by the seed of the draw and the number of the
study (J. H. Halton, "On the efficiency of certain quasi-random sequences of points in evaluating multi-dimensional
integrals", Numerische Mathematik 2, 1960; A. B. Owen, "A randomized Halton algorithm in R", 2017).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PositiveInt, Tag, create_model, model_validator

from farreach.benchmarks.matrix.case import CHOICES
from farreach.results.record import BELONGS_TO, STRENGTHS, Case, Scalar
from farreach.results.storage.columns import COLUMNS
from farreach.results.vocabulary import NONE

DIGITS = 3
"""Significant digits of a drawn number: what a label shows is what was run."""

MOST = 1_000
"""Recipes of a study, and studies, that a draw may have."""

FIXED = {"task", "parameters", "framework", "cell", "steps", "until", "evaluate_every", "seed", "replicate", "device"}
FIXED |= {"dtype", "mode", "path", "threads"}
"""The fields of a case that are no part of a recipe."""

FIRST = ("learning_rate", "clip", "threshold")
"""What is drawn first, and so alike for cells that differ in what else they draw."""

NAMES = tuple(dict.fromkeys((*FIRST, *(field.name for field in dataclasses.fields(Case) if field.name not in FIXED))))
"""The fields of a case that can be drawn."""

TAKERS: dict[str, tuple[str, tuple[str, ...]]] = BELONGS_TO | {
    "threshold": ("clip", tuple(word for word in CHOICES["clip"] if word != NONE)),
    "strength": ("regulariser", tuple(word for word in CHOICES["regulariser"] if word != NONE)),
    "chrono_length": ("initial", ("chrono",)),
    "forget_bias": ("initial", tuple(word for word in CHOICES["initial"] if word != "chrono")),
}
"""Which words of another field take a number: with any other word a drawn number is left out."""


KINDS: dict[str, Any] = {"integer": int, "number": int | float, "text": str}


class Range(BaseModel):
    """From which numbers one is drawn: alike over `linear` or `log`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    low: Annotated[float, Field(allow_inf_nan=False, strict=False)]
    high: Annotated[float, Field(allow_inf_nan=False, strict=False)]
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            message = f"the range from {self.low:g} to {self.high:g} is empty"
            raise ValueError(message)
        if self.scale == "log" and self.low <= 0:
            message = f"a range on scale log begins above 0, not at {self.low:g}"
            raise ValueError(message)
        return self

    def place(self, share: float) -> float:
        """Return the number at a share of the range, 0 to 1."""
        if self.scale == "log":
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


def _name_axis(value: object) -> str:
    return "list" if isinstance(value, list) else "range"


Axis: Any = Annotated[Annotated[Range, Tag("range")] | Annotated[list[Scalar], Tag("list")], Discriminator(_name_axis)]


class _Drawing(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    recipes: Annotated[PositiveInt, Field(le=MOST)]
    studies: Annotated[PositiveInt, Field(le=MOST)] = 1
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        axes = self.list_axes()
        message = "" if axes else f"a draw needs a field to draw; allowed: {', '.join(NAMES)}"
        for kind, strength in STRENGTHS.items():
            if strength in axes and kind not in axes:
                message = f'a drawn {strength} needs the {kind} drawn too, such as {kind} = ["{CHOICES[kind][1]}"]'
        for name, axis in axes.items():
            if isinstance(axis, Range) and COLUMNS[name].kind == "text":
                message = f"{name} is drawn from a list of words, not from a range"
            elif axis == []:
                message = f"{name} is drawn from an empty list"
            elif isinstance(axis, list):
                for value in axis:
                    if isinstance(value, bool) or not isinstance(value, KINDS[COLUMNS[name].kind]):
                        message = f"{name} is a {COLUMNS[name].kind}, not {value!r}"
        if message:
            raise ValueError(message)
        return self

    def list_axes(self) -> dict[str, Range | list[Scalar]]:
        """Return what is drawn, and from what."""
        return {name: axis for name in NAMES if (axis := getattr(self, name)) is not None}


_AXES: dict[str, Any] = dict.fromkeys(NAMES, (Axis | None, None))

Draw: Any = create_model(
    "Draw",
    __base__=_Drawing,
    __doc__="How many recipes are drawn in how many studies, and from what: a range of numbers or a list of values.",
    **_AXES,
)


@dataclasses.dataclass(frozen=True)
class Point:
    """A recipe that was drawn: study and number, both from 1, and the fields of a case that it sets."""

    study: int
    recipe: int
    fields: Mapping[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What a row says of it."""
        return {"study": self.study, "recipe": self.recipe}


def draw_points(draw: Any) -> Iterator[Point]:
    """Yield the recipes of every study."""
    from farreach.results.analysis import statistics  # noqa: PLC0415 - it loads SciPy, which few suites need

    axes = draw.list_axes()
    for study in range(1, draw.studies + 1):
        points = statistics.draw_halton(draw.recipes, len(axes), [draw.seed, study])
        for number, shares in enumerate(points.tolist(), start=1):
            drawn = {name: _place(name, axis, share) for (name, axis), share in zip(axes.items(), shares, strict=True)}
            yield Point(study, number, _leave_out(drawn))


def _place(name: str, axis: Range | list[Scalar], share: float) -> Scalar:
    if isinstance(axis, list):
        return axis[int(share * len(axis))]
    value = axis.place(share)
    return round(value) if COLUMNS[name].kind == "integer" else value


def _leave_out(drawn: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with no number that its words do not take."""
    for name, (kind, words) in TAKERS.items():
        if name in drawn and kind in drawn and drawn[kind] not in words:
            drawn[name] = None if name in STRENGTHS.values() else COLUMNS[name].before
    return drawn
