"""Who is faster, at a glance: a field for each cell and step, with the winner, the ratio and its interval."""

from __future__ import annotations

import collections
import math
from collections.abc import Hashable
from typing import Any

import pandas as pd

from farreach.results.analysis.labels import label_learner
from farreach.results.analysis.selection import sort_words
from farreach.results.report.answers.base import FASTER
from farreach.results.report.glances.base import Field, Glance, Grid, make_grid, name_places
from farreach.results.report.phrases import write_count
from farreach.results.report.speed_sentences import describe_step
from farreach.results.timing import interleaved
from farreach.results.timing.ratios import STEP, USUAL
from farreach.results.timing.winners import Side, StepWinner, find_winners
from farreach.results.vocabulary import CELLS

UNTIMED = Field("not timed")
NOTE = (
    "Each field: the fastest framework, how many times as fast it is as the next one, and the 95 % interval of that. "
    "Grey: inconclusive, the interval does not lie above 1."
)
ALONE = "Median milliseconds of a training step, with the 95 % interval in this launch."


def glance_at_speed(pairs: pd.DataFrame, groups: list[dict[str, Any]]) -> Glance:
    """Say who is the fastest at how many steps, over a grid of all of them."""
    if pairs.empty:
        return _glance_at_times(interleaved.list_costs(groups).to_dict("records"))
    winners = find_winners(pairs)
    shown = _write_steps([one.step for one in winners])
    fields = {place: _make_field(one) for place, one in zip(shown, winners, strict=True)}
    return Glance("faster", FASTER, write_winners(winners), _make_grid(fields, UNTIMED), NOTE)


def write_winners(winners: list[StepWinner]) -> str:
    """Say how many steps each framework is the fastest at, and how many are inconclusive."""
    decided = [one for one in winners if one.decided]
    if not decided:
        steps = write_count(len(winners), "timed step")
        return f"Inconclusive: no framework is shown to be the fastest at any of {steps}."
    if len(winners) == 1:
        one = winners[0]
        interval = f"95 % interval {one.ratio.low:.3g} to {one.ratio.high:.3g}"
        return f"{_name(one.fastest)} is {one.ratio.value:.3g} times as fast as {_name(one.next)} ({interval})."
    counts = collections.Counter(one.fastest[0] for one in decided)
    named = name_places(f"{name} at {count}" for name, count in counts.most_common())
    low, high = min(one.ratio.value for one in decided), max(one.ratio.value for one in decided)
    left = len(winners) - len(decided)
    rest = f"; {left} {'is' if left == 1 else 'are'} inconclusive" if left else ""
    return (
        f"Fastest of {write_count(len(winners), 'timed step')}: {named}, {low:.3g} to {high:.3g} times as fast as the "
        f"next{rest}."
    )


def _make_field(one: StepWinner) -> Field:
    interval = "no interval" if math.isnan(one.ratio.low) else f"{one.ratio.low:.3g} to {one.ratio.high:.3g}"
    if one.decided:
        text = f"{_name(one.fastest)} {one.ratio.value:.3g} times"
        return Field(text, f"{interval}; next: {_name(one.next)}", "decided", one.fastest[0])
    text = f"{one.ratio.value:.3g} times ({interval})"
    return Field("inconclusive", f"{_name(one.fastest)} over {_name(one.next)} {text}", "inconclusive")


def _glance_at_times(lines: list[dict[Hashable, Any]]) -> Glance:
    """Say what a step takes, where no two implementations were timed; no lines: none was, or all were set aside."""
    if not lines:
        missing = "Not known: no training step was timed (python -m benchmarks speed times them)."
        return Glance("faster", FASTER, missing)
    shown = _write_steps([{str(name): value for name, value in line.items() if name in STEP} for line in lines])
    fields = {}
    for place, line in zip(shown, lines, strict=True):
        interval = f"{line['low ms']:.3g} to {line['high ms']:.3g}"
        fields[place] = Field(f"{line['ms a step']:.3g} ms", f"{label_learner(line)}; {interval}", "decided")
    names = name_places(dict.fromkeys(label_learner(line) for line in lines))
    low, high = (f"{end(line['ms a step'] for line in lines):.3g}" for end in (min, max))
    took = f"{low} ms" if low == high else f"{low} to {high} ms"
    sentence = f"Only {names} was timed: {took} a training step. A comparison needs two frameworks."
    return Glance("faster", FASTER, sentence, _make_grid(fields, UNTIMED), ALONE)


def _write_steps(steps: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return each step as the head of its row, by what differs between the steps, and its cell."""
    names = [name for name in STEP if name in steps[0] and name != "cell"]
    differing = [name for name in names if name in {"task", "parameters"} or len({str(one[name]) for one in steps}) > 1]
    written = []
    for one in steps:
        told = [name for name in differing if name not in USUAL or one[name] != USUAL[name]]
        written.append((describe_step(one, told), str(one["cell"])))
    return written


def _make_grid(fields: dict[tuple[str, str], Field], missing: Field) -> Grid:
    return make_grid("training step", fields, sort_words([cell for _, cell in fields], CELLS), missing)


def _name(side: Side) -> str:
    return label_learner({"framework": side[0], "path": None})
