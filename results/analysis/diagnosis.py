"""What is wrong with a run, if anything: one label a row, the figures behind it, and a sentence.

The rules are tried in this order; the first that holds gives the label, the others become remarks. Their bounds
were set on planted cases with known answers; ``python -m benchmarks calibrate`` runs those and publishes how it came
out.

    diverged            a loss or a gradient norm was not finite
    healthy             it solved the task (a clip that never clipped is told as `clip inactive`)
    exploding           going back from the scored group to the first step, the gradient grows by `GROWN` or more,
                        and the interval of its growth rate lies above 0
    over-clipped        at least `NEARLY_ALL` of the steps were clipped, to `TIGHT` of the norm or less, and learning
                        was slow: the weights hardly moved (`STILL`), or the loss was still falling at the end
    vanishing           the gradient reaches less than `HALF` of the steps before the group, or is exactly zero
    stuck on the floor  skill within `NEAR` of 0 and the loss no longer falling, though the gradient gets there
    clip inactive       there is a clip, and it changed less than `HARDLY` of the steps
    healthy             none of these

For an lstm the gradient gets as far as the farther of dL/dh_t and dL/dc_t. Reach and growth are those at the end of
training, or at the last probe before a divergence. A run without a probe (mode native, a run of one's own) is judged
by what it has, and the remark says so.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from farreach.results.analysis.labels import percent
from farreach.results.analysis.once import once

Label = Literal["healthy", "vanishing", "exploding", "diverged", "over-clipped", "clip inactive", "stuck on the floor"]
LABELS: tuple[Label, ...] = (
    "healthy",
    "vanishing",
    "exploding",
    "diverged",
    "over-clipped",
    "clip inactive",
    "stuck on the floor",
)

GROWN = 10.0
NEARLY_ALL = 0.95
TIGHT = 0.1
STILL = 0.02
FALLING = 0.02
"""Of the floor: by so much a loss that is still falling went down between the middle and the last third."""
HALF = 0.5
NEAR = 0.1
HARDLY = 0.001


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """A row's label, the sentence that gives its figures, and what else was found."""

    label: Label
    sentence: str
    remarks: tuple[str, ...] = ()


def diagnose(row: Mapping[str, Any]) -> Diagnosis:
    """Diagnose one row of a store; fields that are missing or None count as unknown, never as fine."""
    label, sentence, remarks = diagnoses(pd.DataFrame([dict(row)])).iloc[0]
    return Diagnosis(label, sentence, remarks)


def among(rows: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """Return the `diagnoses` of a part of the labelled rows out of those of them all, which others ask for too."""
    found = diagnoses(rows)
    return found if len(part) == len(found) else found.loc[part.index]


@once
def diagnoses(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``label``, ``sentence`` and ``remarks`` of every row, in their order and under their index."""
    seen = _Figures(rows)
    torn = _is_diverged(seen)
    holds = np.array([rule.holds(seen) & ~torn for rule in RULES])  # rules x rows
    chosen = np.where(holds.any(axis=0), holds.argmax(axis=0), HEALTHY)
    # A clip that never clipped in a run that solved its task is what there is to tell of it.
    chosen[holds[SOLVED] & holds[IDLE] & (holds.sum(axis=0) == 2)] = IDLE  # noqa: PLR2004 - these two alone
    chosen[torn] = DIVERGED
    holds = np.vstack([holds, chosen == HEALTHY, torn])
    sentences = np.empty(len(rows), object)
    remarks: dict[int, list[str]] = {}
    for at, rule in enumerate((*RULES, *REST)):
        where = np.flatnonzero(holds[at])
        told = [rule.says(*figures) for figures in zip(*seen.at(rule.figures, where), strict=True)]
        first = chosen[where] == at
        sentences[where[first]] = list(itertools.compress(told, first))
        for place, said in zip(where[~first].tolist(), itertools.compress(told, ~first), strict=True):
            remarks.setdefault(place, []).append(f"{rule.label}: {said}")
    for place in np.flatnonzero(np.isnan(seen["reach_end"]) & ~torn).tolist():
        remarks.setdefault(place, []).append(BLIND)
    labels = np.array([rule.label for rule in (*RULES, *REST)], object)[chosen]
    noted = [tuple(remarks.get(at, ())) for at in range(len(rows))]
    return pd.DataFrame({"label": labels.tolist(), "sentence": sentences.tolist(), "remarks": noted}, index=rows.index)


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

    def at(self, names: tuple[str, ...], where: NDArray[np.intp]) -> list[list[Any]]:
        """Return the values of these columns on these rows, as Python has them; the clip is the one text."""
        return [
            self._rows[name].iloc[where].astype(object).tolist() if name == "clip" else self[name][where].tolist()
            for name in names
        ]

    def _column(self, name: str) -> Numbers:
        if name not in self._rows:
            return np.full(len(self._rows), np.nan)
        values = self._rows[name]
        if pd.api.types.is_numeric_dtype(values):
            return values.to_numpy(float, na_value=np.nan)
        return np.array([math.nan if value is None or value is pd.NA else float(value) for value in values], float)


def _farther(seen: _Figures) -> Numbers:
    """Return the reach at the end: of dL/dh_t or, where it is farther, of dL/dc_t."""
    return np.fmax(seen["reach_end"], seen["cell_reach_end"])


def _falling(seen: _Figures) -> Numbers:
    """Say whether the loss fell by `FALLING` of the floor, or of its own level where there is none (own runs)."""
    floor = seen["floor"]
    level = np.where(np.isnan(floor) | (floor == 0), seen["metric.training_loss"], floor)
    return np.asarray(seen["gain_late"] > FALLING * level, float)


WORKED_OUT: dict[str, Callable[[_Figures], Numbers]] = {"farther": _farther, "falling": _falling}


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule: its label, the rows for which it holds, and what it says of one of them from these figures."""

    label: Label
    holds: Callable[[_Figures], Flags]
    figures: tuple[str, ...]
    says: Callable[..., str]


def _any(seen: _Figures) -> Flags:
    return np.ones(len(seen["skill"]), bool)


def _is_diverged(seen: _Figures) -> Flags:
    return seen.is_("status", "diverged")


def _clips(seen: _Figures) -> Flags:
    return ~seen.is_("clip", "none")


def _is_solved(seen: _Figures) -> Flags:
    return np.asarray(np.nan_to_num(seen["solved"]) != 0)


def _solved(step: float) -> str:
    return f"solved at step {step:.0f}"


def _is_exploding(seen: _Figures) -> Flags:
    return (seen["growth_end_low"] > 0) & (seen["growth_end"] * seen["steps_before"] >= math.log(GROWN))


def _exploding(growth: float, low: float, before: float) -> str:
    times = f"{math.exp(min(growth * before, 700)):.2g}"
    return (
        f"going back over {before:.0f} steps the gradient's norm grows about {times} times, by {growth:.3f} a step in "
        f"its logarithm (95 % interval from {low:.3f})"
    )


def _is_over_clipped(seen: _Figures) -> Flags:
    tight = _clips(seen) & (seen["clip_fraction"] >= NEARLY_ALL) & (seen["scale_median"] <= TIGHT)
    return tight & ~_is_solved(seen) & ((seen["moved"] < STILL) | (seen["falling"] > 0))


def _over_clipped(fraction: float, scale: float, moved: float) -> str:
    slow = (
        f"the weights moved by {moved:.2g} of their norm" if moved < STILL else "the loss was still falling at the end"
    )
    return f"{percent(fraction)} of the steps were clipped, at the median to {scale:.2g} of their norm, and {slow}"


def _is_vanishing(seen: _Figures) -> Flags:
    return np.asarray((seen["norm_before_max"] == 0) | ((seen["farther"] < HALF) & ~np.isnan(seen["steps_before"])))


def _vanishing(norm: float, reached: float, before: float, half: float) -> str:
    if norm == 0:
        return "the gradient was exactly zero at every step"
    halves = f"; it halves every {math.log(2) / -half:.1f} steps" if half < 0 else ""
    return (
        f"the gradient keeps 1 % of its norm over {percent(reached)} "
        f"of the {before:.0f} steps before the scored ones{halves}"
    )


def _is_stuck(seen: _Figures) -> Flags:
    return np.asarray((np.abs(seen["skill"]) <= NEAR) & ~_is_solved(seen) & (seen["falling"] == 0))


def _stuck(skill: float, moved: float) -> str:
    way = "" if math.isnan(moved) else f"; the weights moved by {moved:.2g} of their norm"
    return f"skill {skill:.3f}, and the loss no longer falls{way}"


def _is_idle(seen: _Figures) -> Flags:
    return _clips(seen) & (seen["clip_fraction"] < HARDLY)


def _idle(clip: str, threshold: float, fraction: float, norm: float) -> str:
    most = "" if math.isnan(norm) else f"; the largest norm was {norm:.3g}"
    share = "none" if fraction == 0 else percent(fraction)
    return f"clip {clip} {threshold:g} changed {share} of the steps{most}"


def _healthy(skill: float, falling: float, reached: float) -> str:
    parts = [] if math.isnan(skill) else [f"skill {skill:.2f}"]
    parts += ["the loss was still falling"] if falling else []
    parts += (
        [] if math.isnan(reached) else [f"the gradient reaches {percent(reached)} of the steps before the scored ones"]
    )
    return ", ".join(parts) or "nothing was found"


def _diverged(step: float, norm: float) -> str:
    most = "" if math.isnan(norm) else f"; the largest finite gradient norm before that was {norm:.3g}"
    return f"loss or gradient norm was not finite at step {step:.0f}{most}"


RULES = (
    Rule("healthy", _is_solved, ("steps_to_solve",), _solved),
    Rule("exploding", _is_exploding, ("growth_end", "growth_end_low", "steps_before"), _exploding),
    Rule("over-clipped", _is_over_clipped, ("clip_fraction", "scale_median", "moved"), _over_clipped),
    Rule("vanishing", _is_vanishing, ("norm_before_max", "farther", "steps_before", "growth_end"), _vanishing),
    Rule("stuck on the floor", _is_stuck, ("skill", "moved"), _stuck),
    Rule("clip inactive", _is_idle, ("clip", "threshold", "clip_fraction", "norm_before_max"), _idle),
)
"""The rules, in the order in which they are tried."""

SOLVED, IDLE = 0, len(RULES) - 1

REST = (
    Rule("healthy", _any, ("skill", "falling", "farther"), _healthy),
    Rule("diverged", _is_diverged, ("diverged_at", "norm_before_max"), _diverged),
)
"""What is said where none of `RULES` holds, and of a run that diverged, for which they are not tried."""

HEALTHY, DIVERGED = len(RULES), len(RULES) + 1

BLIND = "the gradient through time is not known, so vanishing and exploding were not looked for"
