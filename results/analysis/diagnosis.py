"""What is wrong with a run, if anything: one label per row, and the figures behind it.

The rules are tried in this order; the first that holds gives the label, the others become remarks. Their bounds
were set on planted cases with known answers; ``python -m benchmarks calibrate`` runs those and publishes how it came
out.

    diverged            a loss or a gradient norm was not finite
    healthy             it solved the task (labelled `clip inactive` where its clip never clipped)
    exploding           going back from the scored group to the first step, the gradient grows by `GROWN` or more, in
                        a run whose skill is above `NEAR` by `SOARED` or more, and the interval of its growth rate lies
                        above 0: gated cells that learn well may have grown a gradient by some tens
    over-clipped        at least `NEARLY_ALL` of the steps were clipped, to `TIGHT` of the norm or less, and learning
                        was slow: the weights hardly moved (`STILL`), or the loss was still falling at the end
    vanishing           the gradient reaches less than `HALF` of the steps before the group, or is exactly zero
    stuck on the floor  skill within `NEAR` of 0 and the loss no longer falling, though the gradient gets there; of a
                        run of one's own, whose skill is not known: the weights did not move at all
    clip inactive       there is a clip, and it changed less than `HARDLY` of the steps
    not looked at       none of these, and the gradient through time was not measured
    healthy             none of these

For an lstm the gradient gets as far as the farther of dL/dh_t and dL/dc_t. Reach and growth are those at the end of
training, or at the last probe before a divergence. A run without a probe (mode native, a run of one's own) is judged
by what it has, and a remark says so: that it neither vanished nor exploded is never said of it.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Found = Literal["healthy", "vanishing", "exploding", "diverged", "over-clipped", "clip inactive", "stuck on the floor"]
UNSEEN: Literal["not looked at"] = "not looked at"
Label = Found | Literal["not looked at"]
FOUND: tuple[Found, ...] = get_args(Found)
"""What can be wrong with a run that was looked at, or nothing: what a case can be planted with."""

LABELS: tuple[Label, ...] = (*FOUND, UNSEEN)

GROWN, SOARED = 10.0, 1_000.0
NEARLY_ALL = 0.95
TIGHT = 0.1
STILL = 0.02
FALLING = 0.02
"""Of the floor: by so much a loss that is still falling went down between the middle and the last third."""
HALF = 0.5
NEAR = 0.1
HARDLY = 0.001


class Rule(enum.StrEnum):
    """What a row can show: the rules, in the order in which they are tried, then what holds beside them."""

    SOLVED = "solved"
    EXPLODING = "exploding"
    OVER_CLIPPED = "over-clipped"
    VANISHING = "vanishing"
    STUCK = "stuck"
    IDLE = "clip inactive"
    HEALTHY = "healthy"  # where no rule holds
    DIVERGED = "diverged"  # for which the rules are not tried
    BLIND = "no probe"  # of the gradient through time, so that vanishing and exploding were not looked for


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """A rule that holds for a row, with the figures it rests on; NaN is what is not known."""

    rule: Rule
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> Label:
        """The label that the rule gives."""
        return LABEL_OF[self.rule]


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """A row's label, the reason for it, and what else was found."""

    label: Label
    reason: Reason
    remarks: tuple[Reason, ...] = ()


def diagnose_row(row: Mapping[str, Any]) -> Diagnosis:
    """Diagnose one row of a store; fields that are missing or None count as unknown, never as fine."""
    label, reason, remarks = diagnose_rows(pd.DataFrame([dict(row)])).iloc[0]
    return Diagnosis(label, reason, remarks)


def diagnose_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``label``, ``reason`` and ``remarks`` of every row, in their order and under their index."""
    seen = _Figures(rows)
    diverged = _is_diverged(seen)
    holds = np.array([criterion.holds(seen) & ~diverged for criterion in CRITERIA])  # rules x rows
    chosen = np.where(holds.any(axis=0), holds.argmax(axis=0), HEALTHY)
    # A clip that never clipped in a run that solved its task is what there is to tell of it.
    chosen[holds[SOLVED] & holds[IDLE] & (holds.sum(axis=0) == 2)] = IDLE  # noqa: PLR2004 - these two alone
    blind = np.isnan(seen["reach_end"]) & ~diverged
    chosen[(chosen == HEALTHY) & blind] = BLIND
    chosen[diverged] = DIVERGED
    holds = np.vstack([holds, chosen == HEALTHY, diverged, blind])
    reasons = np.empty(len(rows), object)
    remarks: dict[int, list[Reason]] = {}
    for at, criterion in enumerate((*CRITERIA, *REST)):
        where = np.flatnonzero(holds[at])
        for place, values in zip(where.tolist(), seen.at(criterion.figures, where), strict=True):
            reason = Reason(criterion.rule, dict(zip(criterion.figures, values, strict=True)))
            if chosen[place] == at:
                reasons[place] = reason
            else:
                remarks.setdefault(place, []).append(reason)
    labels = np.array([LABEL_OF[criterion.rule] for criterion in (*CRITERIA, *REST)], object)[chosen]
    noted = [tuple(remarks.get(at, ())) for at in range(len(rows))]
    return pd.DataFrame({"label": labels.tolist(), "reason": reasons.tolist(), "remarks": noted}, index=rows.index)


Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


class _Figures:
    """What the rules look at, one array a column; NaN is what is not known."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = rows
        self._known: dict[str, Numbers] = {}

    def __getitem__(self, name: str) -> Numbers:
        if name not in self._known:
            self._known[name] = WORKED_OUT[name](self) if name in WORKED_OUT else self._column(name)
        return self._known[name]

    def is_(self, name: str, word: str) -> Flags:
        return np.asarray(self._rows[name].astype(object) == word, bool)

    def at(self, names: tuple[str, ...], where: NDArray[np.intp]) -> Iterator[tuple[Any, ...]]:
        """Yield the values of these columns on each of these rows, as Python has them; the clip is the one text."""
        columns = (
            self._rows[name].iloc[where].astype(object).tolist() if name == "clip" else self[name][where].tolist()
            for name in names
        )
        return zip(*columns, strict=True) if names else itertools.repeat((), len(where))

    def _column(self, name: str) -> Numbers:
        if name not in self._rows:
            return np.full(len(self._rows), np.nan)
        values = self._rows[name]
        if pd.api.types.is_numeric_dtype(values):
            return values.to_numpy(float, na_value=np.nan)
        return np.array([math.nan if value is None or value is pd.NA else float(value) for value in values], float)


def _measure_farther(seen: _Figures) -> Numbers:
    """Return the reach at the end: of dL/dh_t or, where it is farther, of dL/dc_t."""
    return np.fmax(seen["reach_end"], seen["cell_reach_end"])


def _measure_fall(seen: _Figures) -> Numbers:
    """Say whether the loss fell by `FALLING` of the floor, or of its own level where there is none (own runs)."""
    floor = seen["floor"]
    level = np.where(np.isnan(floor) | (floor == 0), seen["metric.training_loss"], floor)
    return np.asarray(seen["gain_late"] > FALLING * level, float)


WORKED_OUT: dict[str, Callable[[_Figures], Numbers]] = {"farther": _measure_farther, "falling": _measure_fall}


@dataclasses.dataclass(frozen=True)
class Criterion:
    """A rule, the rows for which it holds, and the figures that say why."""

    rule: Rule
    holds: Callable[[_Figures], Flags]
    figures: tuple[str, ...]


def _any(seen: _Figures) -> Flags:
    return np.ones(len(seen["skill"]), bool)


def _is_diverged(seen: _Figures) -> Flags:
    return seen.is_("status", "diverged")


def _clips(seen: _Figures) -> Flags:
    return ~seen.is_("clip", "none")


def _is_solved(seen: _Figures) -> Flags:
    return np.asarray(np.nan_to_num(seen["solved"]) != 0)


def _is_exploding(seen: _Figures) -> Flags:
    least = np.where(seen["skill"] > NEAR, math.log(SOARED), math.log(GROWN))
    return (seen["growth_end_low"] > 0) & (seen["growth_end"] * seen["steps_before"] >= least)


def _is_over_clipped(seen: _Figures) -> Flags:
    tight = _clips(seen) & (seen["clip_fraction"] >= NEARLY_ALL) & (seen["scale_median"] <= TIGHT)
    return tight & ~_is_solved(seen) & ((seen["moved"] < STILL) | (seen["falling"] > 0))


def _is_vanishing(seen: _Figures) -> Flags:
    return np.asarray((seen["norm_before_max"] == 0) | ((seen["farther"] < HALF) & ~np.isnan(seen["steps_before"])))


def _is_stuck(seen: _Figures) -> Flags:
    still = np.isnan(seen["skill"]) & (seen["moved"] == 0)  # a run of one's own has no skill
    return np.asarray(((np.abs(seen["skill"]) <= NEAR) & (seen["falling"] == 0) | still) & ~_is_solved(seen))


def _is_idle(seen: _Figures) -> Flags:
    return _clips(seen) & (seen["clip_fraction"] < HARDLY)


CRITERIA = (
    Criterion(Rule.SOLVED, _is_solved, ("steps_to_solve",)),
    Criterion(Rule.EXPLODING, _is_exploding, ("growth_end", "steps_before")),
    Criterion(Rule.OVER_CLIPPED, _is_over_clipped, ("clip_fraction", "scale_median", "moved")),
    Criterion(Rule.VANISHING, _is_vanishing, ("norm_before_max", "farther", "steps_before", "growth_end")),
    Criterion(Rule.STUCK, _is_stuck, ("skill", "moved")),
    Criterion(Rule.IDLE, _is_idle, ("clip", "threshold", "clip_fraction", "norm_before_max")),
)
"""The rules, in the order in which they are tried."""

SOLVED, IDLE = 0, len(CRITERIA) - 1

REST = (
    Criterion(Rule.HEALTHY, _any, ("skill", "falling", "farther")),
    Criterion(Rule.DIVERGED, _is_diverged, ("diverged_at", "norm_before_max")),
    Criterion(Rule.BLIND, _any, ()),
)
"""What a row shows where none of `CRITERIA` holds, one that diverged, for which they are not tried, and one unseen."""

HEALTHY, DIVERGED, BLIND = (len(CRITERIA) + at for at in range(len(REST)))

LABEL_OF: dict[Rule, Label] = {
    Rule.SOLVED: "healthy",
    Rule.EXPLODING: "exploding",
    Rule.OVER_CLIPPED: "over-clipped",
    Rule.VANISHING: "vanishing",
    Rule.STUCK: "stuck on the floor",
    Rule.IDLE: "clip inactive",
    Rule.HEALTHY: "healthy",
    Rule.DIVERGED: "diverged",
    Rule.BLIND: UNSEEN,
}
