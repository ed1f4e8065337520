"""Where gradients vanished or exploded, from the diagnosis of every case."""

from __future__ import annotations

import math

from farreach.results.analysis.diagnosis import Label
from farreach.results.analysis.gradient_faults import FAULTS, Fault, Faults, find_faults
from farreach.results.analysis.labels import format_percent, join_words
from farreach.results.analysis.penalties import judge_penalties
from farreach.results.analysis.rows import Rows
from farreach.results.report.answers.base import GRADIENTS, MOST, Answer
from farreach.results.report.penalties import write_penalties
from farreach.results.report.phrases import write_clip, write_count


def answer_gradients(rows: Rows) -> Answer:
    """Say in how many cases a gradient vanished, exploded or was not finite, and where, with the figures."""
    found = find_faults(rows)
    if not found.cases:
        return Answer(GRADIENTS, "", ("not known: no case has finished",), missing=True)
    parts = [write_fault(label, found) for label in FAULTS]
    others = [f"{many} {label}" for label, many in found.labels.items() if label not in FAULTS]
    parts += [f"the others {join_words(others)}"] if others else []
    if found.probed and found.unprobed:
        parts.append(f"in {found.unprobed} of them the gradient through time was not measured")
    penalties = judge_penalties(rows)
    parts += [write_penalties(one) for one in penalties]
    lead = f"Of {write_count(found.cases, 'case')}:"
    return Answer(
        GRADIENTS, lead, tuple(parts), missing=not found.probed and not found.faults, verdicts=(found, *penalties)
    )


def write_fault(label: Label, found: Faults) -> str:
    """Return how many cases have a fault, and where it was found most often."""
    if label not in found.labels and label != "diverged" and not found.probed:
        return f"not looked at for {label} gradients: the gradient through time was not measured"
    if label not in found.labels:
        among = f" among the {found.probed} looked at" if label != "diverged" and found.probed < found.cases else ""
        return f"none {label}{among}"
    faults = [one for one in found.faults if one.label == label]
    places = [f"{one.cell} on {one.setting} {_write_clips(one.clips)} ({_write_figures(one)})" for one in faults[:MOST]]
    further = [f"{len(faults) - MOST} further settings and cells"] if len(faults) > MOST else []
    return f"{found.labels[label]} {label}, {join_words([*places, *further])}"


def _write_clips(clips: tuple[tuple[str, str], ...]) -> str:
    return join_words(write_clip(*clip) for clip in clips[:MOST]) + (
        f" and {len(clips) - MOST} more" if len(clips) > MOST else ""
    )


def _write_figures(one: Fault) -> str:
    """Return how many cases, and the figure behind the label, its mean with the range over the cases."""
    many = f"{write_count(one.cases, 'case')} of {write_count(one.seeds, 'seed')}"
    if one.label == "diverged":
        return f"{many}, the first at step {one.value:.0f}"
    several = not math.isnan(one.low) and one.low != one.high
    if one.label == "exploding":
        ends = f" ({one.low:.2g} to {one.high:.2g})" if several else ""
        return f"{many}: per step back in time the logarithm of the norm grows by {one.value:.2g}{ends}"
    if math.isnan(one.value):
        return f"{many}: the gradient was exactly zero"
    ends = f" ({format_percent(one.low)} to {format_percent(one.high)})" if several else ""
    return f"{many}: 1 % of the norm is left over {format_percent(one.value)}{ends} of {one.steps_before:.0f} steps"
