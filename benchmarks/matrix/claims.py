"""The ledger's files: one TOML a published claim, checked with pydantic; its arms are blocks of a suite with a name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, create_model, model_validator

from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.results.analysis import ledger
from farreach.results.vocabulary import FEWEST_SEEDS

FOLDER = registry.ROOT / "benchmarks" / "ledger"
"""One file a claim."""

DECISIVE = ("inequality", "seeds", "defaults", "arm")
"""The keys of a file that a verdict follows from: they were committed before the first row was run."""

BOUNDS = ("above", "below")

_STRICT = ConfigDict(extra="forbid", strict=True)

Arm: Any = create_model(
    "Arm",
    __doc__="A block of a suite that stands for one setting, and what it is called.",
    __base__=suite.Block,
    name=(Annotated[str, Field(min_length=1)], ...),
)


class Source(BaseModel):
    """Where a claim was published; see `farreach.results.analysis.ledger.Source`."""

    model_config = _STRICT
    authors: str
    year: PositiveInt
    title: str
    at: str
    place: str
    read: ledger.Reading
    settings: str


class Inequality(BaseModel):
    """What a claim implies; see `farreach.results.analysis.ledger.Inequality`."""

    model_config = _STRICT
    of: ledger.Measure
    arms: Annotated[list[str], Field(min_length=1, max_length=2)]
    compare: ledger.Comparison
    above: suite.Finite | None = None
    below: suite.Finite | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in BOUNDS if getattr(self, name) is not None]
        reason = ""
        if len(given) != 1:
            reason = f"it needs one bound, above or below, and has {' and '.join(given) or 'none'}"
        elif (len(set(self.arms)) == 2) == (self.compare == "value"):  # noqa: PLR2004 - two are compared
            reason = f"compare {self.compare} takes {'one arm' if self.compare == 'value' else 'two arms'}"
        elif (
            self.of in get_args(ledger.Count)
            and self.compare != "value"
            and (self.compare, self.bound) != ("difference", 0)
        ):
            reason = f"of two arms {self.of} is compared by a difference above or below 0"
        elif self.compare == "ratio" and (self.of != "steps_to_solve" or self.bound <= 0):
            reason = "a ratio is of steps_to_solve, and its bound is positive"
        if reason:
            raise ValueError(reason)
        return self

    @property
    def bound(self) -> float:
        """What is compared with."""
        return next(value for value in (self.above, self.below) if value is not None)


class ClaimFile(BaseModel):
    """A file of the ledger; see `farreach.results.analysis.ledger.Claim`."""

    model_config = _STRICT
    claim: str
    source: Source
    deviations: list[str] = []
    inequality: Inequality
    seeds: Annotated[int, Field(ge=FEWEST_SEEDS, le=1_000)] = FEWEST_SEEDS
    minutes: suite.Positive | None = None
    needs: str | None = None
    cost: str | None = None
    defaults: dict[str, Any] = {}
    arm: list[Arm] = []

    @model_validator(mode="before")
    @classmethod
    def _fill_arms(cls, data: Any) -> Any:
        return suite.fill_tables(data, "arm")

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [one.name for one in self.arm]
        given = [name for name, value in (("arm", self.arm), ("needs", self.needs), ("cost", self.cost)) if value]
        reason = ""
        if len(given) != 1:
            reason = (
                "a claim has its arms, or says what it needs, or the cost that is not affordable: one of the three, "
                f"not {' and '.join(given) or 'none'}"
            )
        elif names and self.minutes is None:
            reason = "a claim with arms needs the minutes of one core that are planned"
        elif len({*names}) < len(names):
            reason = "two arms have the same name"
        elif names and {*names} != {*self.inequality.arms}:
            reason = f"the inequality is of {_join(self.inequality.arms)}, and the arms are {_join(names)}"
        elif any("seed" in one.model_fields_set for one in self.arm):
            reason = "seeds are said once, by seeds = N, and not in an arm"
        if reason:
            raise ValueError(reason)
        return self

    def list_cases(self) -> dict[str, list[Case]]:
        """Return the cases of each arm, one a seed; raise `UsageError` where one cannot be or is several settings."""
        found = {}
        for one in self.arm:
            seeded = one.model_copy(update={"seed": [*range(self.seeds)]})
            cases = suite.Suite.model_construct(description=self.claim, block=[seeded]).list_cases(["pytorch"])
            if len(cases) != self.seeds:
                message = f"arm {one.name} is {len(cases) // self.seeds} settings; it must be one"
                raise registry.UsageError(message)
            if self.inequality.of in {"solved", "steps_to_solve"} and not cases[0].has_criterion:
                message = f"{self.inequality.of} needs a task with a criterion; {cases[0].task} has none"
                raise registry.UsageError(message)
            found[one.name] = cases
        return found


@dataclasses.dataclass(frozen=True)
class Entry:
    """A claim of the ledger and its cases.

    Attributes:
        path: its file.
        content: what the file says.
        cases: of each arm, one a seed.

    """

    path: Path
    content: ClaimFile
    cases: dict[str, list[Case]]

    @property
    def name(self) -> str:
        """Its id: the name of the file."""
        return self.path.stem

    def list_cases(self) -> list[Case]:
        """Return the cases of all arms, seed after seed, so that a claim that is stopped has whole seeds."""
        return [case for seed in zip(*self.cases.values(), strict=True) for case in seed]

    def describe(self) -> ledger.Claim:
        """Return the claim as its verdict takes it."""
        content = self.content
        fields = content.model_dump(exclude={"arm", "defaults", "source", "inequality"})
        rule = content.inequality.model_dump()
        arms = (
            ledger.Arm(one.name, _list_settings(one), tuple(case.key() for case in self.cases[one.name]))
            for one in content.arm
        )
        return ledger.Claim(
            id=self.name,
            source=ledger.Source(**content.source.model_dump()),
            inequality=ledger.Inequality(**(rule | {"arms": tuple(rule["arms"])})),
            arms=tuple(arms),
            **(fields | {"deviations": tuple(content.deviations)}),
        )


def load_claim(path: Path) -> Entry:
    """Read a claim; raise `UsageError`, in one line, on any fault."""
    content = suite.read_file(path, ClaimFile, "claim")
    try:
        return Entry(path, content, content.list_cases())
    except registry.UsageError as error:
        message = f"claim {path.name}: {error}"
        raise registry.UsageError(message) from error


def load_ledger(folder: Path = FOLDER) -> list[Entry]:
    """Read every claim of a folder, cheapest first, those that are not run last; raise `UsageError` on any fault."""
    entries = [load_claim(path) for path in sorted(folder.glob("*.toml"))]
    if not entries:
        message = f"no claims in {folder}: a claim is a file NAME.toml"
        raise registry.UsageError(message)
    return sorted(entries, key=lambda one: (one.content.minutes is None, one.content.minutes or 0, one.name))


def _list_settings(arm: BaseModel) -> dict[str, Any]:
    """Return what an arm says beside its name, with the one value of each key."""
    said = arm.model_dump(exclude_unset=True, exclude={"name"}, exclude_none=True)
    return {name: _unwrap(value) for name, value in said.items()}


def _unwrap(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _unwrap(one) for name, one in value.items()}
    return _unwrap(value[0]) if isinstance(value, list) and len(value) == 1 else value


def _join(names: list[str]) -> str:
    return ", ".join(map(repr, names))
