"""What is wrong with a run, if anything: one label a row, the figures behind it, and a sentence.

The rules are tried in this order; the first that holds gives the label, the others become remarks. Their bounds
were set on planted cases with known answers; `benchmarks.calibration` runs those and publishes the confusion table.

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
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from results.cases import percent
from results.once import once

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

FIGURES = (
    *("status", "solved", "steps_to_solve", "diverged_at", "clip", "threshold", "clip_fraction", "norm_before_max"),
    *("skill", "floor", "metric.training_loss", "scale_median", "moved", "gain_late", "steps_before"),
    *("reach_end", "cell_reach_end", "growth_end", "growth_end_low"),
)
"""The columns of a row that the rules look at."""

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
    if row["status"] == "diverged":
        return Diagnosis("diverged", _diverged(row))
    rules = (_solved, _exploding, _over_clipped, _vanishing, _stuck, _idle)
    found = [one for rule in rules if (one := rule(row)) is not None] or [("healthy", _healthy(row))]
    if [label for label, _ in found] == ["healthy", "clip inactive"]:
        found.reverse()
    (label, sentence), *others = found
    remarks = [f"{name}: {said}" for name, said in others]
    if _number(row, "reach_end") is None:
        remarks.append("the gradient through time is not known, so vanishing and exploding were not looked for")
    return Diagnosis(label, sentence, tuple(remarks))


@once
def diagnoses(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``label``, ``sentence`` and ``remarks`` of every row, in their order and under their index."""
    names = tuple(name for name in FIGURES if name in rows)
    looked_at = rows[[*names]].astype(object)
    found = [_known(names, row) for row in looked_at.where(looked_at.notna(), None).itertuples(index=False, name=None)]
    columns = {name: [getattr(one, name) for one in found] for name in ("label", "sentence", "remarks")}
    return pd.DataFrame(columns, index=rows.index)


@functools.lru_cache(2**18)
def _known(names: tuple[str, ...], values: tuple[Any, ...]) -> Diagnosis:
    """Return the diagnosis of a row; a report asks for that of all rows, of the drawn ones, of those that count."""
    return diagnose(dict(zip(names, values, strict=True)))


Finding = tuple[Label, str] | None


def _diverged(row: Mapping[str, Any]) -> str:
    norm = _number(row, "norm_before_max")
    most = "" if norm is None else f"; the largest finite gradient norm before that was {norm:.3g}"
    return f"loss or gradient norm was not finite at step {row['diverged_at']:.0f}{most}"


def _solved(row: Mapping[str, Any]) -> Finding:
    return ("healthy", f"solved at step {row['steps_to_solve']:.0f}") if _number(row, "solved") else None


def _exploding(row: Mapping[str, Any]) -> Finding:
    growth, low, before = (_number(row, name) for name in ("growth_end", "growth_end_low", "steps_before"))
    if growth is None or low is None or before is None or low <= 0 or growth * before < math.log(GROWN):
        return None
    times = f"{math.exp(min(growth * before, 700)):.2g}"
    return "exploding", (
        f"going back over {before:.0f} steps the gradient's norm grows about {times} times, by {growth:.3f} a step in "
        f"its logarithm (95 % interval from {low:.3f})"
    )


def _over_clipped(row: Mapping[str, Any]) -> Finding:
    scale, moved = _number(row, "scale_median"), _number(row, "moved")
    if row["clip"] == "none" or scale is None or row["clip_fraction"] < NEARLY_ALL or scale > TIGHT:
        return None
    still, falling = moved is not None and moved < STILL, _falling(row)
    if _number(row, "solved") or not (still or falling):
        return None
    slow = f"the weights moved by {moved:.2g} of their norm" if still else "the loss was still falling at the end"
    return "over-clipped", (
        f"{percent(row['clip_fraction'])} of the steps were clipped, "
        f"at the median to {scale:.2g} of their norm, and {slow}"
    )


def _vanishing(row: Mapping[str, Any]) -> Finding:
    if _number(row, "norm_before_max") == 0:
        return "vanishing", "the gradient was exactly zero at every step"
    reached, before = farther(row, "end"), _number(row, "steps_before")
    if reached is None or before is None or reached >= HALF:
        return None
    half = _number(row, "growth_end")
    halves = f"; it halves every {math.log(2) / -half:.1f} steps" if half is not None and half < 0 else ""
    return "vanishing", (
        f"the gradient keeps 1 % of its norm over {percent(reached)} "
        f"of the {before:.0f} steps before the scored ones{halves}"
    )


def _stuck(row: Mapping[str, Any]) -> Finding:
    skill = _number(row, "skill")
    if skill is None or abs(skill) > NEAR or _number(row, "solved") or _falling(row):
        return None
    moved = _number(row, "moved")
    way = "" if moved is None else f"; the weights moved by {moved:.2g} of their norm"
    return "stuck on the floor", f"skill {skill:.3f}, and the loss no longer falls{way}"


def _idle(row: Mapping[str, Any]) -> Finding:
    if row["clip"] == "none" or row["clip_fraction"] >= HARDLY:
        return None
    norm = _number(row, "norm_before_max")
    most = "" if norm is None else f"; the largest norm was {norm:.3g}"
    return "clip inactive", f"clip {row['clip']} {row['threshold']:g} changed {_share(row)} of the steps{most}"


def _healthy(row: Mapping[str, Any]) -> str:
    skill, reached = _number(row, "skill"), farther(row, "end")
    parts = [] if skill is None else [f"skill {skill:.2f}"]
    parts += ["the loss was still falling"] if _falling(row) else []
    parts += [] if reached is None else [f"the gradient reaches {percent(reached)} of the steps before the scored ones"]
    return ", ".join(parts) or "nothing was found"


def farther(row: Mapping[str, Any], point: str) -> float | None:
    """Return the reach at ``start``, ``middle`` or ``end``: of dL/dh_t or, where it is farther, of dL/dc_t."""
    both = (_number(row, f"reach_{point}"), _number(row, f"cell_reach_{point}"))
    return max((one for one in both if one is not None), default=None)


def _falling(row: Mapping[str, Any]) -> bool:
    """Say whether the loss fell by `FALLING` of the floor, or of its own level where there is none (own runs)."""
    gain, level = _number(row, "gain_late"), _number(row, "floor") or _number(row, "metric.training_loss")
    return gain is not None and level is not None and gain > FALLING * level


def _share(row: Mapping[str, Any]) -> str:
    return "none" if row["clip_fraction"] == 0 else percent(row["clip_fraction"])


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    return None if value is None or value is pd.NA or value != value else float(value)  # noqa: PLR0124 - NaN alone
