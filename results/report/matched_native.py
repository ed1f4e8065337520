"""Matched and native side by side, in words."""

from __future__ import annotations

import math

import pandas as pd

from farreach.results.analysis import matched_native, native_gaps
from farreach.results.analysis.labels import join_words
from farreach.results.analysis.matched_native import Change
from farreach.results.analysis.native_gaps import Explanation, GapShare
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING
from farreach.results.analysis.statistics import FEWEST_PAIRS
from farreach.results.report.phrases import write_clip, write_count, write_share
from farreach.results.vocabulary import NATIVE


def write_findings(rows: Rows) -> list[str]:
    """Say what the defaults do to each framework, and how much of the gap between two of them they explain."""
    if not (rows.frame["mode"] == NATIVE).any():
        return []
    lines = matched_native.compare_modes(rows)
    if lines.empty:
        return ["Matched and native cannot be compared: no case ran in both modes."]
    changes = map(write_change, matched_native.measure_changes(rows))
    gaps = map(write_gap, native_gaps.explain_gaps(rows))
    return [*changes, *gaps, *write_divergence(matched_native.find_unequal_divergence(lines))]


def write_gap(one: GapShare) -> str:
    """Say how far two frameworks are apart in both modes, and what the defaults explain of it."""
    yardstick = "" if one.seed is None else f"; another seed alone moves a native run by {one.seed:.2g}"
    head = (
        f"Matched and native, {one.first} and {one.second} over {write_count(one.cases, 'case')} of "
        f"{write_count(one.seeds, 'seed')}: they differ in skill "
        f"by {one.matched:.2g} matched and by {one.native:.2g} native (root mean square){yardstick}."
    )
    return f"{head} {_write_explanation(one)}"


def write_change(one: Change) -> str:
    """Say whether a framework's defaults raise or lower skill on average, and where they change it most."""
    if math.isnan(one.low):
        spread = "" if one.seeds == 1 else f", {one.least:+.2g} to {one.most:+.2g} over {one.seeds} seeds"
        few = f"too few seeds for an interval, which takes {FEWEST_PAIRS}"
        verdict = f"skill changes by {one.middle:+.2g}{spread} ({few})"
    else:
        size = f"skill {'up' if one.middle > 0 else 'down'} by {abs(one.middle):.2g} in the median of {one.seeds} seeds"
        sure = "" if one.low > 0 or one.high < 0 else "cannot tell up from down: "
        verdict = f"{sure}{size} (95 % interval of the change {one.low:.2g} to {one.high:.2g})"
    place = f"{one.place[SETTING]}, {one.place[CELL]}, {write_clip(one.place['clip'], one.place[CLIP])}"
    return (
        f"{one.framework} with its own defaults instead of matched, over {write_count(one.cases, 'case')}: {verdict}; "
        f"most in {place}: {one.matched:.2f} matched, {one.native:.2f} native."
    )


def _write_explanation(one: GapShare) -> str:
    within = f"(95 % interval {write_share(one.low)} to {write_share(one.high)})"
    match one.explanation:
        case Explanation.NO_GAP:
            return "There is no difference to explain."
        case Explanation.ONE_SEED:
            return "With one seed each it cannot be told from chance what the defaults explain."
        case Explanation.FEW_SEEDS:
            return f"What the defaults explain cannot be told from {one.seeds} seeds ({native_gaps.FEWEST} are needed)."
        case Explanation.SOME:
            share = write_share(one.share or 0.0)
            return f"The defaults explain {share} of the mean squared native difference {within}."
        case Explanation.LITTLE:
            of = f"next to nothing of the mean squared native difference {within}"
            return f"The defaults explain {of}: it is there without them."
        case Explanation.INCONCLUSIVE:
            return f"Whether the defaults explain any of the native difference: cannot tell {within}."


def write_divergence(lines: pd.DataFrame) -> list[str]:
    """Name the cases that diverged in one mode more often than in the other."""
    named = [
        f"{row[LEARNER]} in {row[SETTING]}, {row[CELL]}, clip {row[CLIP]} (matched {row['diverged matched']}"
        f"/{row['seeds']} seeds, native {row['diverged native']}/{row['seeds']})"
        for row in lines.to_dict("records")
    ]
    return [f"Diverged not equally often in both modes: {join_words(named)}."] if named else []
