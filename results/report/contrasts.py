"""The contrasts that a suite declared, in words."""

from __future__ import annotations

from typing import Any

from farreach.results.analysis.contrasts import ContrastVerdict, Side, Trial
from farreach.results.analysis.labels import format_metric, join_words, label_cell, label_clip, label_fact
from farreach.results.record import STANDS_FOR
from farreach.results.report.phrases import write_count
from farreach.results.vocabulary import FEWEST_SEEDS, NONE

NO_CLIP = "no clip"

VERBS = {"solved": "solves {} of {} seeds", "diverged": "diverges in {} of {} seeds"}
"""What is said of the first side; the second side's verb is left out."""


def write_contrast(one: ContrastVerdict) -> str:
    """Say how a declared contrast came out in each framework, and whether a permuted replicate turns it."""
    names = [_name_side(side) for side in one.sides]
    alike: dict[tuple[str, str], list[str]] = {}
    for trial in one.plain:
        alike.setdefault((_write_values(one, names, trial), _write_test(one, trial)), []).append(trial.learner)
    plain = [
        f"{values} within {one.steps:,} steps ({test}, {join_words(learners)}{' each' if len(learners) > 1 else ''})"
        for (values, test), learners in alike.items()
    ]
    copies = [_write_replicate(one, names, trial, same=alike) for trial in one.trials if trial.replicate]
    return f"{one.setting}, declared before it ran: {'; '.join([*plain, *copies])}"


def _name_side(side: dict[str, Any]) -> str:
    """Return what a side is called, by what tells it from the other: ``no clip``, ``initial chrono with radius 1``."""
    facts = STANDS_FOR | {name: value for name, value in side.items() if value is not None}
    names = []
    if "cell" in side:
        names.append(label_cell(side))
    if "clip" in side:
        names.append(NO_CLIP if side["clip"] == NONE else label_clip(side))
    rest = [
        name
        for name in side
        if name not in {"cell", "clip", "threshold"} and not ("cell" in side and name == "activation")
    ]
    names += [label_fact(name, facts[name]) for name in rest if name in facts]
    first, *others = names or ["the default"]
    return f"{first} with {join_words(others)}" if others else first


def _write_test(one: ContrastVerdict, trial: Trial) -> str:
    if trial.p is None:
        return f"not tested, which takes {FEWEST_SEEDS} seeds a side"
    test = "exact rank test" if one.outcome == "metric" else "Fisher's exact"
    return f"{test} p = {trial.p:.2g}{'' if trial.winner else ', not told apart'}"


def _write_replicate(
    one: ContrastVerdict, names: list[str], trial: Trial, *, same: dict[tuple[str, str], list[str]]
) -> str:
    """Say what a permuted replicate gives; in short where that is what its own framework gave."""
    values, copy = _write_values(one, names, trial), f"permuted replicate {trial.replicate} of {trial.learner}"
    if trial.learner in same.get((values, _write_test(one, trial)), []):
        return f"{copy} gives the same"
    return f"{copy} {'turns' if one.is_turned(trial) else 'does not turn'} that ({values})"


def _write_values(one: ContrastVerdict, names: list[str], trial: Trial) -> str:
    if one.outcome == "metric":
        spreads = [
            f"{name} {_write_spread(side)}" for name, side in zip(names, (trial.first, trial.second), strict=True)
        ]
        return f"{format_metric(one.metric)} of {join_words(spreads)}"
    first = VERBS[one.outcome].format(trial.first.count, len(trial.first.by_seed))
    between = " in" if one.outcome == "diverged" else ""
    return f"{names[0]} {first}, {names[1]}{between} {trial.second.count} of {len(trial.second.by_seed)}"


def _write_spread(side: Side) -> str:
    """Return a metric's range over seeds."""
    low, high = (f"{end(side.by_seed):.3g}" for end in (min, max))
    return f"{low if low == high else f'{low} to {high}'} over {write_count(len(side.by_seed), 'seed')}"
