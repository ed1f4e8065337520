"""How far paired timings can be trusted on a machine: what identical code and a planted difference gave."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.timing import files

FOLDER = "check"

SCHEMA = 1
"""Version of the launches' files."""

CERTAIN = 0.95


@dataclasses.dataclass(frozen=True)
class Check:
    """What the trials of a check say.

    Attributes:
        trials: one line a trial: framework, path, cell, launch, planted, rounds, ratio, low, high (its interval within
            the launch), wide low, wide high (with what launches differ by), and the median seconds a step of the
            first process.

    """

    trials: pd.DataFrame

    @property
    def identical(self) -> pd.DataFrame:
        """The trials of identical code."""
        return self.trials[self.trials["planted"] == 0]

    @property
    def planted(self) -> pd.DataFrame:
        """The trials in which one side was slowed."""
        return self.trials[self.trials["planted"] > 0]

    @property
    def alarms(self) -> int:
        """Trials of identical code whose interval, widened by what other launches differ by, excludes 1."""
        return int(((self.identical["wide low"] > 1) | (self.identical["wide high"] < 1)).sum())

    @property
    def narrow_alarms(self) -> int:
        """The same of the interval within a launch alone."""
        return int(((self.identical["low"] > 1) | (self.identical["high"] < 1)).sum())

    @property
    def found(self) -> int:
        """Trials with a planted difference whose widened interval lies on its side of 1."""
        return int((self.planted["wide low"] > 1).sum())

    @property
    def together(self) -> statistics.Estimate:
        """What the planted launches say together: the ratio and its 95 % interval."""
        return _together(self.planted)

    @property
    def order(self) -> statistics.Estimate:
        """The step time of the process that was started second over the first's, of identical code; its interval."""
        return _together(self.identical)

    @property
    def detectable(self) -> float:
        """The smallest slow-down that would be found 95 % of the time: a share.

        A slow-down moves the logarithm of a trial's interval by its own; it is found where that carries the lower
        bound over 0. So it is the 95th percentile, over the trials of identical code, of what the bounds lack.
        """
        lacking = np.concatenate([-np.log(self.identical["wide low"]), np.log(self.identical["wide high"])])
        return float(np.expm1(np.quantile(lacking, CERTAIN)))

    @property
    def launch_ratio(self) -> float:
        """The root mean square over launches of the logarithm of the ratio of two processes of identical code."""
        return float(np.sqrt((_by_launch(self.identical) ** 2).mean()))

    @property
    def launch_time(self) -> float:
        """The same of the step time itself, of the same code launched again and again, not paired with anything."""
        frame = self.identical.assign(log=np.log(self.identical["seconds"]))
        medians = frame.groupby(["framework", "path", "cell", "launch"])["log"].median()
        apart = medians - medians.groupby(["framework", "path", "cell"]).transform("mean")
        free = len(medians) - medians.groupby(["framework", "path", "cell"]).ngroups
        return float(np.sqrt((apart**2).sum() / free)) if free > 0 else float("nan")

    @property
    def launches(self) -> float:
        """The factor that a ratio of two processes of identical code stays within 95 % of the time."""
        return statistics.bound_factor(_by_launch(self.identical))

    def sentences(self) -> list[str]:
        """Say what a reader of a speed table must know."""
        count, share = len(self.identical), self.alarms / max(1, len(self.identical))
        low, high = statistics.bound_share(self.alarms, count)
        said = [
            (
                "Identical code against itself, in two processes: the 95 % interval, with what launches differ by, "
                f"excluded 1 in {self.alarms} of {count} trials ({_percent(share)}; {_percent(low)} to "
                f"{_percent(high)}); without that, in {self.narrow_alarms}."
            ),
            f"A slow-down of {_percent(self.detectable)} or more would be found 95 % of the time.",
            (
                "From launch to launch the step time of identical code had a standard deviation of "
                f"{_percent(self.launch_time)}; the ratio of two in alternation, {_percent(self.launch_ratio)} about 1."
            ),
        ]
        second, least, most = self.order
        if not math.isnan(least):
            said.append(
                f"Of two processes of identical code the one started second took {second:.3f} times as long as the "
                f"first (95 % interval {least:.3f} to {most:.3f})."
            )
        if len(self.planted):
            by = _percent(self.planted["planted"].max())
            middle, lowest, highest = self.together
            launched = self.planted["launch"].nunique()
            said.insert(
                1,
                f"A planted slow-down of {by} was found in {self.found} of {len(self.planted)} trials; their "
                f"{launched} launches together give {_percent(middle - 1)} (95 % interval {_percent(lowest - 1)} to "
                f"{_percent(highest - 1)}).",
            )
        return said


def _together(trials: pd.DataFrame) -> statistics.Estimate:
    """Return the ratio that launches say together and its 95 % interval, Student's t over launches."""
    return statistics.estimate_mean_ratio(_by_launch(trials))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def read(folder: Path, damaged: files.Damage | None = None) -> Check | None:
    """Return the check of a result set, or None where it has none.

    Where a file is damaged, `damaged` hears of it; without it `DamagedError` is raised.
    """
    lines: list[dict[str, Any]] = []
    for launch in files.each(folder / FOLDER, files.Launch, None, damaged):
        facts = {name: launch[name] for name in ("framework", "path", "cell", "launch", "planted", "rounds")}
        for trial in launch["trials"]:
            middle, low, high = statistics.estimate_ratio(trial["second"], trial["first"])
            seconds = float(np.median(trial["first"]))
            lines.append(facts | {"ratio": middle, "low": low, "high": high, "seconds": seconds})
    return Check(_widened(pd.DataFrame(lines))) if lines else None


def _widened(trials: pd.DataFrame) -> pd.DataFrame:
    """Add to each trial its interval widened by what identical code differs by in the other launches."""
    means = _by_launch(trials[trials["planted"] == 0])
    factors = {
        launch: statistics.bound_factor(means.drop(launch, errors="ignore")) for launch in trials["launch"].unique()
    }
    wide = [
        statistics.widen_ratio(statistics.Estimate(*ratio), factors[launch])
        for launch, *ratio in trials[["launch", "ratio", "low", "high"]].itertuples(index=False)
    ]
    return trials.assign(**{"wide low": [ratio.low for ratio in wide], "wide high": [ratio.high for ratio in wide]})


def _by_launch(trials: pd.DataFrame) -> pd.Series[float]:
    """Return the mean logarithm of the ratio of each launch."""
    found: pd.Series[float] = np.log(trials["ratio"]).groupby(trials["launch"]).mean()
    return found
