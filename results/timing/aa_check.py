"""How far interleaved timings can be trusted on a machine: an A/A test, and launches with an injected slowdown."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.storage.interface import ResultSet
from farreach.results.timing import files
from farreach.results.timing.ratios import LAUNCHES

FOLDER = "check"

SCHEMA = 1
"""Version of the launches' files."""

POWER = 0.95


@dataclasses.dataclass(frozen=True)
class AATest:
    """What the launches of an A/A test say; a launch counts once, however many trials it served.

    Attributes:
        launches: one row per launch: framework, path, cell, launch, injected (the slowdown), trials, rounds (of all
            trials), ratio (of the second process over the first), low, high (its interval within the launch), wide low,
            wide high (with what other launches differ by), and the median seconds per step of the first process.

    """

    launches: pd.DataFrame

    @property
    def equals(self) -> pd.DataFrame:
        """The launches of identical code."""
        return self.launches[self.launches["injected"] == 0]

    @property
    def slowed(self) -> pd.DataFrame:
        """The launches with an injected slowdown."""
        return self.launches[self.launches["injected"] > 0]

    @property
    def false_positives(self) -> int:
        """Launches of identical code whose interval, widened by what other launches differ by, excludes 1."""
        return int(((self.equals["wide low"] > 1) | (self.equals["wide high"] < 1)).sum())

    @property
    def false_positives_within(self) -> int:
        """The same of the interval within a launch alone."""
        return int(((self.equals["low"] > 1) | (self.equals["high"] < 1)).sum())

    @property
    def false_positive_rate(self) -> statistics.Estimate:
        """The share of the launches of identical code that are false positives, and its interval."""
        share = self.false_positives / max(1, len(self.equals))
        return statistics.Estimate(share, *statistics.bound_share(self.false_positives, len(self.equals)))

    @property
    def detected(self) -> int:
        """Launches with an injected slowdown whose widened interval lies on its side of 1."""
        return int((self.slowed["wide low"] > 1).sum())

    @property
    def slowed_ratio(self) -> statistics.Estimate:
        """The ratio that the slowed launches give together, Student's t over launches."""
        return statistics.estimate_mean_ratio(np.log(self.slowed["ratio"]))

    @property
    def order_ratio(self) -> statistics.Estimate:
        """The step time of the process that was started second over the first's, of identical code."""
        return statistics.estimate_mean_ratio(np.log(self.equals["ratio"]))

    @property
    def minimum_effect(self) -> float:
        """The minimum detectable effect at 95 % power: a slowdown, as a share.

        A slowdown moves the logarithm of a launch's interval by its own; it is detected where that carries the lower
        bound over 0. So it is the 95th percentile, over the launches of identical code, of what the bounds lack; NaN
        where there is none.
        """
        lacking = np.concatenate([-np.log(self.equals["wide low"]), np.log(self.equals["wide high"])])
        return float(np.expm1(np.quantile(lacking, POWER))) if len(lacking) else float("nan")

    @property
    def ratio_spread(self) -> float:
        """The root mean square over launches of the logarithm of the ratio of two processes of identical code."""
        return float(np.sqrt((np.log(self.equals["ratio"]) ** 2).mean()))

    @property
    def time_spread(self) -> float:
        """The same of the step time itself, of the same code launched again and again, not paired with anything."""
        logs = np.log(self.equals["seconds"])
        kinds = logs.groupby([self.equals[name] for name in ("framework", "path", "cell")])
        apart, free = logs - kinds.transform("mean"), len(logs) - kinds.ngroups
        return float(np.sqrt((apart**2).sum() / free)) if free > 0 else float("nan")

    @property
    def factor(self) -> float:
        """The factor that a ratio of two processes of identical code stays within 95 % of the time."""
        return bound_launches(np.log(self.equals["ratio"]))


def bound_launches(logs: pd.Series[float]) -> float:
    """Return the factor that one more launch stays within; of too few launches the published `LAUNCHES`."""
    factor = float(statistics.bound_factor(logs))
    return LAUNCHES if math.isnan(factor) else factor


def read_test(store: ResultSet, damaged: files.Damage | None = None) -> AATest | None:
    """Return the A/A test of a result set, or None where it has none.

    The trials of a launch follow each other in the same two processes, so that their rounds are one series. Where a
    file is damaged, `damaged` hears of it; without it `DamagedError` is raised.
    """
    rows: list[dict[str, Any]] = []
    for launch in files.read_each(store, FOLDER, files.Launch, schema=None, damaged=damaged):
        facts = {name: launch[name] for name in ("framework", "path", "cell", "launch")}
        facts |= {"injected": launch["planted"], "trials": len(launch["trials"])}
        first, second = (np.concatenate([trial[name] for trial in launch["trials"]]) for name in ("first", "second"))
        ratio, low, high = statistics.estimate_ratio(second, first)
        facts |= {"rounds": len(first), "ratio": ratio, "low": low, "high": high, "seconds": float(np.median(first))}
        rows.append(facts)
    return AATest(_widen_launches(pd.DataFrame(rows))) if rows else None


def _widen_launches(launches: pd.DataFrame) -> pd.DataFrame:
    """Add to each launch its interval widened by what identical code differs by in the other launches."""
    logs = np.log(launches.loc[launches["injected"] == 0, "ratio"])
    wide = [
        statistics.widen_ratio(statistics.Estimate(*ratio), bound_launches(logs.drop(at, errors="ignore")))
        for at, *ratio in launches[["ratio", "low", "high"]].itertuples(name=None)
    ]
    return launches.assign(**{"wide low": [ratio.low for ratio in wide], "wide high": [ratio.high for ratio in wide]})
