"""Contrasts: what a suite's headline compares, declared in its file before it runs, and the cases on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from farreach.benchmarks.matrix import narrowing, registry
from farreach.benchmarks.matrix.case import Case
from farreach.results.record import STANDS_FOR, ContrastOutcome, Scalar
from farreach.results.vocabulary import FEWEST_SEEDS

SHARED = ("framework", "path", "seed", "replicate", "device", "threads")
"""The facts in which the cases of one side may differ; in all others they are alike."""

Facts = dict[str, Scalar]


class Contrast(BaseModel):
    """Two settings of one task, and what is expected to tell them apart.

    Attributes:
        on: facts that both sides share: the task, its parameters and whatever else.
        between: the facts of the first side and of the second.
        outcome: ``solved`` or ``diverged`` (how many seeds did), or ``metric`` (the task's headline metric).

    """

    model_config = ConfigDict(extra="forbid", strict=True)
    on: Facts
    between: Annotated[list[Facts], Field(min_length=2, max_length=2)]
    outcome: ContrastOutcome = "solved"


def find_sides(contrasts: Sequence[Contrast], cases: Iterable[Case]) -> dict[Case, dict[str, Any]]:
    """Return for each case on a side of a contrast what its row says of it: the outcome, and side 1 or 2.

    Raises `UsageError`, in one line, where a contrast is none: facts that no case has, a side of several settings or
    of too few seeds, a second contrast of a task with the same parameters.
    """
    if not contrasts:
        return {}
    described = [(case, narrowing.to_words(list_facts(case))) for case in cases]
    keys = sorted({key for _, words in described for key in words})
    found: dict[Case, dict[str, Any]] = {}
    seen: dict[tuple[str, Any], int] = {}
    for at, contrast in enumerate(contrasts):
        for key in {key for side in (contrast.on, *contrast.between) for key in side}:
            _require(key in keys, at, f"unknown key {key!r}; allowed: {', '.join(keys)}")
        sides = [_choose(at, contrast.on | side, described) for side in contrast.between]
        (first, *_), (second, *_) = sides
        place = first.task, first.parameters
        _require(_list_alike(first) != _list_alike(second), at, "both sides are the same setting")
        same = (second.task, second.parameters) == place
        _require(same, at, "the sides are of different tasks or parameters; they must share both")
        where = f"{first.task} {narrowing.join_facts(dict(first.parameters))}"
        _require(place not in seen, at, f"contrast.{seen.get(place)} is about {where} already; each has one at most")
        seen[place] = at
        if contrast.outcome == "solved":
            _require(
                first.has_criterion,
                at,
                f"task {first.task} has no criterion, so outcome is diverged or metric, not solved",
            )
        found |= {case: {"contrast": contrast.outcome, "side": n} for n, side in enumerate(sides, 1) for case in side}
    return found


def list_facts(case: Case) -> dict[str, Any]:
    """Return the facts of a case that it can be chosen by: its fields, and the parameters of its task."""
    fields: dict[str, Any] = case.to_json()
    parameters: dict[str, Any] = fields.pop("parameters")
    usual = {name: value for name, value in STANDS_FOR.items() if fields[name] is None}
    return fields | usual | parameters


def _choose(at: int, facts: Facts, described: Sequence[tuple[Case, narrowing.Words]]) -> list[Case]:
    """Return the cases of one side."""
    wanted = {key: narrowing.normalise(value) for key, value in facts.items()}
    side = [case for case, words in described if all(value in words.get(key, ()) for key, value in wanted.items())]
    said = narrowing.join_facts(facts)
    _require(bool(side), at, f"no case of the suite has {said}")
    several = {key for one in side for key, value in _list_alike(one).items() if value != _list_alike(side[0]).get(key)}
    _require(not several, at, f"{said} is several settings, which differ in {', '.join(sorted(several))}; name one")
    seeds = len({case.seed for case in side})
    few = f"{said} has {seeds} seed{'s' if seeds > 1 else ''}; a test needs {FEWEST_SEEDS}"
    _require(seeds >= FEWEST_SEEDS, at, few)
    return side


def _list_alike(case: Case) -> Mapping[str, Any]:
    return {key: value for key, value in list_facts(case).items() if key not in SHARED}


def _require(met: bool, at: int, said: str) -> None:  # noqa: FBT001 - what is required comes first
    if not met:
        message = f"contrast.{at}: {said}"
        raise registry.UsageError(message)
