"""How far interleaved timings can be trusted on a machine: an A/A test, and launches with an injected slowdown."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.storage.interface import ResultSet
from farreach.results.timing import files

FOLDER = "check"

SCHEMA = 1
"""Version of the launches' files."""

POWER = 0.95


@dataclasses.dataclass(frozen=True)
class AATest:
    """What the trials of an A/A test say.

    Attributes:
        trials: one row per trial: framework, path, cell, launch, injected (the slowdown), rounds, ratio, low, high (its
            interval within the launch), wide low, wide high (with what launches differ by), and the median seconds per
            step of the first process.

    """

    trials: pd.DataFrame

    @property
    def equals(self) -> pd.DataFrame:
        """The trials of identical code."""
        return self.trials[self.trials["injected"] == 0]

    @property
    def slowed(self) -> pd.DataFrame:
        """The trials with an injected slowdown."""
        return self.trials[self.trials["injected"] > 0]

    @property
    def false_positives(self) -> int:
        """Trials of identical code whose interval, widened by what other launches differ by, excludes 1."""
        return int(((self.equals["wide low"] > 1) | (self.equals["wide high"] < 1)).sum())

    @property
    def false_positives_within(self) -> int:
        """The same of the interval within a launch alone."""
        return int(((self.equals["low"] > 1) | (self.equals["high"] < 1)).sum())

    @property
    def false_positive_rate(self) -> statistics.Estimate:
        """The share of the trials of identical code that are false positives, and its interval."""
        share = self.false_positives / max(1, len(self.equals))
        return statistics.Estimate(share, *statistics.bound_share(self.false_positives, len(self.equals)))

    @property
    def detected(self) -> int:
        """Trials with an injected slowdown whose widened interval lies on its side of 1."""
        return int((self.slowed["wide low"] > 1).sum())

    @property
    def slowed_ratio(self) -> statistics.Estimate:
        """The ratio that the slowed launches give together, Student's t over launches."""
        return statistics.estimate_mean_ratio(_average_launches(self.slowed))

    @property
    def order_ratio(self) -> statistics.Estimate:
        """The step time of the process that was started second over the first's, of identical code."""
        return statistics.estimate_mean_ratio(_average_launches(self.equals))

    @property
    def minimum_effect(self) -> float:
        """The minimum detectable effect at 95 % power: a slowdown, as a share.

        A slowdown moves the logarithm of a trial's interval by its own; it is detected where that carries the lower
        bound over 0. So it is the 95th percentile, over the trials of identical code, of what the bounds lack.
        """
        lacking = np.concatenate([-np.log(self.equals["wide low"]), np.log(self.equals["wide high"])])
        return float(np.expm1(np.quantile(lacking, POWER)))

    @property
    def ratio_spread(self) -> float:
        """The root mean square over launches of the logarithm of the ratio of two processes of identical code."""
        return float(np.sqrt((_average_launches(self.equals) ** 2).mean()))

    @property
    def time_spread(self) -> float:
        """The same of the step time itself, of the same code launched again and again, not paired with anything."""
        frame = self.equals.assign(log=np.log(self.equals["seconds"]))
        medians = frame.groupby(["framework", "path", "cell", "launch"])["log"].median()
        apart = medians - medians.groupby(["framework", "path", "cell"]).transform("mean")
        free = len(medians) - medians.groupby(["framework", "path", "cell"]).ngroups
        return float(np.sqrt((apart**2).sum() / free)) if free > 0 else float("nan")

    @property
    def launches(self) -> float:
        """The factor that a ratio of two processes of identical code stays within 95 % of the time."""
        return statistics.bound_factor(_average_launches(self.equals))


def read_test(store: ResultSet, damaged: files.Damage | None = None) -> AATest | None:
    """Return the A/A test of a result set, or None where it has none.

    Where a file is damaged, `damaged` hears of it; without it `DamagedError` is raised.
    """
    rows: list[dict[str, Any]] = []
    for launch in files.read_each(store, FOLDER, files.Launch, schema=None, damaged=damaged):
        facts = {name: launch[name] for name in ("framework", "path", "cell", "launch")}
        facts |= {"injected": launch["planted"], "rounds": launch["rounds"]}
        for trial in launch["trials"]:
            ratio = statistics.estimate_ratio(trial["second"], trial["first"])
            seconds = float(np.median(trial["first"]))
            rows.append(facts | {"ratio": ratio.value, "low": ratio.low, "high": ratio.high, "seconds": seconds})
    return AATest(_widen_trials(pd.DataFrame(rows))) if rows else None


def _widen_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Add to each trial its interval widened by what identical code differs by in the other launches."""
    means = _average_launches(trials[trials["injected"] == 0])
    factors = {
        launch: statistics.bound_factor(means.drop(launch, errors="ignore")) for launch in trials["launch"].unique()
    }
    wide = [
        statistics.widen_ratio(statistics.Estimate(*ratio), factors[launch])
        for launch, *ratio in trials[["launch", "ratio", "low", "high"]].itertuples(index=False)
    ]
    return trials.assign(**{"wide low": [ratio.low for ratio in wide], "wide high": [ratio.high for ratio in wide]})


def _average_launches(trials: pd.DataFrame) -> pd.Series[float]:
    """Return the mean logarithm of the ratio of each launch."""
    means: pd.Series[float] = np.log(trials["ratio"]).groupby(trials["launch"]).mean()
    return means
