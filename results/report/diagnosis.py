"""The evidence behind a diagnosis, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pandas as pd

from farreach.results.analysis import observatory
from farreach.results.analysis.diagnosis import STILL, Reason, Rule
from farreach.results.analysis.labels import format_percent
from farreach.results.analysis.rows import Rows


def write_reason(reason: Reason) -> str:
    """Say why a rule holds, with its figures."""
    return WRITERS[reason.rule](**reason.figures)


def write_remarks(remarks: Iterable[Reason]) -> str:
    """Say what else was found, each under its label."""
    return "; ".join(f"{one.label}: {write_reason(one)}" for one in remarks)


def write_diagnoses(rows: Rows) -> pd.DataFrame:
    """Return `observatory.list_diagnoses` with the evidence and the remarks in words."""
    table = observatory.list_diagnoses(rows)
    evidence, remarks = table["reason"].map(write_reason), table["remarks"].map(write_remarks)
    return table.drop(columns=["reason", "remarks"]).assign(evidence=evidence, remarks=remarks)


def _write_solved(steps_to_solve: float) -> str:
    return f"solved at step {steps_to_solve:.0f}"


def _write_exploding(growth_end: float, steps_before: float) -> str:
    times = f"{math.exp(min(growth_end * steps_before, 700)):.2g}"
    return (
        f"going back over {steps_before:.0f} steps the gradient's norm grows about {times} times, by {growth_end:.3f} "
        "per step in its logarithm"
    )


def _write_over_clipped(clip_fraction: float, scale_median: float, moved: float) -> str:
    still = f"the weights moved by {moved:.2g} of their norm"
    slow = still if moved < STILL else "the loss was still falling at the end"
    return (
        f"{format_percent(clip_fraction)} of the steps were clipped, at the median to {scale_median:.2g} of their "
        f"norm, and {slow}"
    )


def _write_vanishing(norm_before_max: float, farther: float, steps_before: float, growth_end: float) -> str:
    if norm_before_max == 0:
        return "the gradient was exactly zero at every step"
    halves = f"; it halves every {math.log(2) / -growth_end:.1f} steps" if growth_end < 0 else ""
    return (
        f"the gradient keeps 1 % of its norm over {format_percent(farther)} of the {steps_before:.0f} steps before "
        f"the scored ones{halves}"
    )


def _write_stuck(skill: float, moved: float) -> str:
    if math.isnan(skill):
        return "the weights did not move at all"
    way = "" if math.isnan(moved) else f"; the weights moved by {moved:.2g} of their norm"
    return f"skill {skill:.3f}, and the loss no longer falls{way}"


def _write_idle(clip: str, threshold: float, clip_fraction: float, norm_before_max: float) -> str:
    is_size = clip not in {"agc", "autoclip", "backprop"}  # a threshold that may be held against a norm
    most = f"; the largest norm was {norm_before_max:.3g}" if is_size and not math.isnan(norm_before_max) else ""
    share = "none" if clip_fraction == 0 else format_percent(clip_fraction)
    return f"clip {clip} {threshold:g} changed {share} of the steps{most}"


def _write_healthy(skill: float, falling: float, farther: float) -> str:
    parts = [] if math.isnan(skill) else [f"skill {skill:.2f}"]
    parts += ["the loss was still falling"] if falling else []
    if not math.isnan(farther):
        parts.append(f"the gradient reaches {format_percent(farther)} of the steps before the scored ones")
    return ", ".join(parts) or "nothing was found"


def _write_diverged(diverged_at: float, norm_before_max: float) -> str:
    most = (
        ""
        if math.isnan(norm_before_max)
        else f"; the largest finite gradient norm before that was {norm_before_max:.3g}"
    )
    return f"loss or gradient norm was not finite at step {diverged_at:.0f}{most}"


def _write_blind() -> str:
    return "the gradient through time is not known, so vanishing and exploding were not looked for"


WRITERS: dict[Rule, Callable[..., str]] = {
    Rule.SOLVED: _write_solved,
    Rule.EXPLODING: _write_exploding,
    Rule.OVER_CLIPPED: _write_over_clipped,
    Rule.VANISHING: _write_vanishing,
    Rule.STUCK: _write_stuck,
    Rule.IDLE: _write_idle,
    Rule.HEALTHY: _write_healthy,
    Rule.DIVERGED: _write_diverged,
    Rule.BLIND: _write_blind,
}
