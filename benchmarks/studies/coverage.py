"""How often the intervals and tests are wrong: every promise of the register, simulated under every condition.

``python -m benchmarks coverage`` runs it. Streams are fixed, one a condition, so that a table made again is the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from farreach.benchmarks.studies.coverage_register import REGISTER, Promise
from farreach.benchmarks.studies.coverage_trials import LEVEL, Condition

ALLOWED = 0.06
"""What may be measured where 5 % is promised."""

RATES = ["functions", "what", "where", "says", "unit", "units", "values", "promised", "simulations", "wrong", "error"]
"""The columns of `measure_rates`; wrong and error are shares."""


def measure_rates(
    scale: float = 1.0,
    register: Sequence[Promise] = REGISTER,
    hear: Callable[[float], object] = lambda _: None,
) -> pd.DataFrame:
    """Return how often each promise is broken under each condition: `RATES`, one line a condition.

    Args:
        scale: simulations, as a multiple of what each promise names.
        register: the promises.
        hear: is told the share of the conditions that is done.

    """
    lines = []
    total = sum(len(one.conditions) for one in register)
    for one in register:
        for given in one.conditions:
            trials = max(1, round(scale * one.trials))
            wrong = float(one.measure(make_stream(one, given), trials, given).mean())
            error = float(np.sqrt(wrong * (1 - wrong) / trials))
            facts = [", ".join(one.functions), one.what, one.where, one.says, one.unit]
            lines.append([*facts, given.units, given.label, given.promised, trials, wrong, error])
            hear(len(lines) / total)
    return pd.DataFrame(lines, columns=RATES)


def make_stream(one: Promise, given: Condition) -> np.random.Generator:
    """Return the stream of a condition, which depends on nothing but its names."""
    return np.random.default_rng(zlib.crc32(f"{one.measure.__name__} {given.units} {given.label}".encode()))


def find_broken(rates: pd.DataFrame, errors: float = 0.0) -> pd.DataFrame:
    """Return the lines whose rate exceeds `ALLOWED` by more than so many of its standard errors, where it is promised.

    The standard error is that of a rate of `ALLOWED`.
    """
    slack = errors * np.sqrt(ALLOWED * (1 - ALLOWED) / rates["simulations"])
    broken: pd.DataFrame = rates[rates["promised"] & (rates["wrong"] > ALLOWED + slack)]
    return broken


def summarize_rates(rates: pd.DataFrame) -> pd.DataFrame:
    """Return one line a promise, in percent: what it says, and the worst that was measured, under which condition."""
    lines = []
    for (what, where, promised), part in rates.groupby(["what", "where", "promised"], sort=False):
        worst = part.iloc[int(part["wrong"].to_numpy().argmax())]
        lines.append(
            {
                "interval or test": what,
                "where": where,
                "says": worst["says"],
                "unit, fewest": f"{worst['unit']}, {part['units'].min()}",
                "promised": f"{LEVEL:.0%}" if promised else "nothing",
                "measured at worst": f"{worst['wrong']:.1%} ± {worst['error']:.1%}",
                "under": f"{worst['values']}; {worst['units']} {worst['unit']}",
                "conditions": str(len(part)),
            }
        )
    return pd.DataFrame(lines)


def write_verdict(rates: pd.DataFrame) -> str:
    """Say whether every promise is kept."""
    promised, broken = rates[rates["promised"]], find_broken(rates)
    worst = promised.iloc[int(promised["wrong"].to_numpy().argmax())]
    kept = f"No rate is above {ALLOWED:.0%}." if broken.empty else f"{len(broken)} rates are above {ALLOWED:.0%}."
    least, most = rates["simulations"].min(), rates["simulations"].max()
    return (
        f"{rates['what'].nunique()} intervals and tests under {len(rates)} conditions, each simulated {least:,} to "
        f"{most:,} times. {kept} The largest that is promised is {worst['wrong']:.1%}: {worst['what']}, "
        f"{worst['values']}, {worst['units']} {worst['unit']}. ± is one standard error of the simulation. Fewer units "
        "than the fewest have no interval and no test: their values are listed."
    )
