"""What recorded gradient norms suggest as clip thresholds, in words and as a table."""

from __future__ import annotations

import pandas as pd

from farreach.results.analysis.labels import format_percent
from farreach.results.analysis.norm_advice import Candidate, NormAdvice
from farreach.results.report.phrases import write_clip, write_count


def write_findings(found: list[NormAdvice]) -> list[str]:
    """Say of each line what its norms suggest, and what they cannot tell."""
    said = [_write_line(one) for one in found]
    return [
        *said,
        (
            "These are the norms of trainings that ran as they did, and another threshold changes what comes after it: "
            "which one trains best only trials tell, farreach.advise in Python."
        ),
    ]


def tabulate_candidates(found: list[NormAdvice]) -> pd.DataFrame:
    """Return the thresholds of each line with where they come from and what they would have clipped."""
    return pd.DataFrame(
        [
            {
                "setting": one.setting,
                "cell": one.cell,
                "clip": one.clip,
                "framework": one.learner,
                "threshold": f"{candidate.threshold:.3g}",
                "is": _describe(candidate),
                "would clip": format_percent(candidate.fraction),
            }
            for one in found
            for candidate in one.candidates
        ],
        columns=["setting", "cell", "clip", "framework", "threshold", "is", "would clip"],
    )


def _write_line(one: NormAdvice) -> str:
    where = f"{one.setting}, {one.cell}, {one.learner} {write_clip(one.kind, one.clip)}"
    if not one.candidates:
        return f"{where}: no gradient norm above 0 was recorded, so nothing can be advised."
    low, high = (candidate for candidate in one.candidates if candidate.times is not None)
    return (
        f"{where}: over {write_count(one.steps, 'step')} of {write_count(one.runs, 'run')} the average norm before the "
        f"clip is {one.average:.3g}; the rule of thumb of Pascanu et al. (2013), half to ten times it, is "
        f"{low.threshold:.3g}, which would have clipped {format_percent(low.fraction)} of the steps, to "
        f"{high.threshold:.3g}, {format_percent(high.fraction)}."
    )


def _describe(candidate: Candidate) -> str:
    if candidate.times is not None:
        return f"{candidate.times:g} times the average"
    return f"{100 * (candidate.quantile or 0):g} % quantile"
