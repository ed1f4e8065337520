"""Mixed precision beside float32, in words."""

from __future__ import annotations

import math

from farreach.results.analysis.labels import format_parameters
from farreach.results.analysis.precision import PLAIN, Change, PairedFigure, PrecisionVerdict, judge_precision
from farreach.results.analysis.rows import Rows
from farreach.results.report.phrases import write_clip, write_count

WORDS: dict[Change, str] = {
    "higher": "higher",
    "lower": "lower",
    "unclear": "not told apart",
    "listed": "too few seeds for an interval",
}


def write_findings(rows: Rows) -> list[str]:
    """Say what each mixed dtype did to skill and reach, where float32 ran beside it."""
    return [write_precision(one) for one in judge_precision(rows)]


def write_precision(one: PrecisionVerdict) -> str:
    """Say what a mixed dtype did to skill and reach, and how many steps it left out."""
    where = " ".join(part for part in (one.task, format_parameters(one.parameters, between=" ")) if part)
    head = (
        f"Precision: {one.learner}, {one.cell} on {where} ({one.recipe}) {write_clip(one.clip, one.clip_label)}, "
        f"{one.dtype} against {PLAIN} over {write_count(one.seeds, 'seed')}"
    )
    parts = [_write_figure("skill", one.skill), _write_figure("reach", one.reach)]
    if one.skipped is not None:
        parts.append(_write_skipped(one.skipped, one.steps))
    if one.diverged or one.diverged_plain:
        parts.append(f"{one.diverged} diverged, {one.diverged_plain} in {PLAIN}")
    return f"{head}: {'; '.join(parts)}."


def _write_figure(name: str, figure: PairedFigure) -> str:
    if not figure.plain:
        return f"no {name} on both sides"
    if math.isnan(figure.low):
        pairs = ", ".join(f"{mixed:.3g} ({plain:.3g})" for plain, mixed in zip(figure.plain, figure.mixed, strict=True))
        return f"{name} {pairs}, {WORDS['listed']}"
    between = f"between {figure.low:+.2g} and {figure.high:+.2g}, each end wrong at most 5 % of the time"
    return f"{name} {WORDS[figure.verdict]}, by {figure.change:+.2g} in the median of seeds ({between})"


def _write_skipped(skipped: tuple[int, ...], steps: int) -> str:
    least, most = min(skipped), max(skipped)
    count = f"{least}" if least == most else f"{least} to {most}"
    return f"{count} of {write_count(f'{steps:,}', 'step')} skipped"
