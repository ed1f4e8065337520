"""The contrasts that a suite declared, in words."""

from __future__ import annotations

from farreach.results.analysis.contrasts import ContrastVerdict, Side, Trial
from farreach.results.analysis.labels import format_metric, join_words
from farreach.results.analysis.selection import CLIP
from farreach.results.report.phrases import write_count
from farreach.results.vocabulary import FEWEST_SEEDS, NONE

NO_CLIP = "no clip"

VERBS = {"solved": "solves {} of {} seeds", "diverged": "diverges in {} of {} seeds"}
"""What is said of the first side; the second side's verb is left out."""


def write_contrast(one: ContrastVerdict) -> str:
    """Say how a declared contrast came out in each framework, and whether a permuted replicate turns it."""
    names = [_name_side(side) for side in one.sides]
    plain = [_write_trial(one, names, trial) for trial in one.plain]
    copies = [_write_replicate(one, names, trial) for trial in one.trials if trial.replicate]
    return f"{one.setting}, declared before it ran: {'; '.join([*plain, *copies])}"


def _name_side(side: dict[str, str]) -> str:
    """Return what a side is called, by what tells it from the other: ``norm 1``, ``no clip``, ``gru``."""
    return join_words(NO_CLIP if (kind, label) == (CLIP, NONE) else label for kind, label in side.items())


def _write_trial(one: ContrastVerdict, names: list[str], trial: Trial) -> str:
    test = "exact rank test" if one.outcome == "metric" else "Fisher's exact"
    said = f"{_write_values(one, names, trial)} within {one.steps:,} steps"
    if trial.p is None:
        return f"{said} ({trial.learner}; a test needs {FEWEST_SEEDS} seeds a side)"
    apart = "" if trial.winner else ", which does not tell them apart"
    return f"{said} ({test} p = {trial.p:.2g}, {trial.learner}){apart}"


def _write_replicate(one: ContrastVerdict, names: list[str], trial: Trial) -> str:
    turns = "turns that" if one.is_turned(trial) else "does not turn that"
    return f"permuted replicate {trial.replicate} of {trial.learner} {turns} ({_write_values(one, names, trial)})"


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
