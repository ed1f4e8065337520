"""Whether a penalty bounds the gradient, in words."""

from __future__ import annotations

import math

from farreach.results.analysis.labels import format_parameters, join_words
from farreach.results.analysis.penalties import Change, PenaltyCount, PenaltyVerdict
from farreach.results.report.phrases import write_clip, write_count

WORDS: dict[Change, str] = {
    "smaller": "smaller than without",
    "larger": "larger than without",
    "unclear": "not told apart from none",
    "listed": "not tested",
}


def write_penalties(one: PenaltyVerdict) -> str:
    """Say what each penalty did to the largest gradient norm and to divergence, at one setting, cell and clip."""
    where = " ".join(part for part in (one.task, format_parameters(one.parameters, between=" ")) if part)
    case = f"{one.cell} on {where} ({one.recipe}) {write_clip(one.clip, one.clip_label)}"
    head = f"does a penalty bound the gradient of {case}?"
    bounding = [_name(penalty) for penalty in one.penalties if one.is_bound(penalty)]
    if one.explodes:
        verdict = f"shown for {join_words(bounding)}" if bounding else "shown for none of those tried"
    else:
        verdict = "no seed diverges without one"
    parts = [f"none: {_write_figures(one.plain)}", *(_write_penalty(one, penalty) for penalty in one.penalties)]
    return f"{head} {verdict} ({'; '.join(parts)})"


def _write_penalty(verdict: PenaltyVerdict, one: PenaltyCount) -> str:
    p = "" if one.p_norm is None else f", p = {one.p_norm:.2g}"
    return f"{_name(one)}: {_write_figures(one)}, {WORDS[verdict.find_change(one)]}{p}"


def _write_figures(one: PenaltyCount) -> str:
    """Return the median over seeds of the largest norm, and how many diverged and solved."""
    largest = "" if math.isinf(one.median) else f"largest norm {one.median:.3g}, "
    solved = "" if one.solved is None else f", {one.solved} solved"
    return f"{largest}{one.diverged} of {write_count(one.seeds, 'seed')} diverged{solved}"


def _name(one: PenaltyCount) -> str:
    return f"{one.kind} {one.strength:g}"
