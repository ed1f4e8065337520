"""Do the frameworks agree? The gap between two of them beside the gap between permuted replicates of one.

A permuted replicate is the same case with its hidden units in another order: the same mathematics, so that its
distance from the original is what rounding alone does over the run. Two frameworks agree where they are no further
apart than that.
"""

from __future__ import annotations

import bisect
import dataclasses
import math

import numpy as np
import pandas as pd

from farreach.results.analysis import seeds, statistics
from farreach.results.analysis.labels import describe_clipping
from farreach.results.analysis.rows import Rows, cache_on_rows
from farreach.results.analysis.selection import CASE, LEARNER, PLACE, PLACE_FACTS
from farreach.results.vocabulary import NONE

SIDES = [f"{name} {side}" for name in (LEARNER, "framework", "path") for side in ("a", "b")]
COLUMNS = [*PLACE, *PLACE_FACTS, "clipped", "seed", *SIDES, "skill a", "skill b"]
COLUMNS += ["gap frameworks", "gap replicates", "replicates", "replicates of"]
LEVEL = 0.05

POWER = 0.95

SIMULATIONS = 4_000

MOST_DRAWN = 400_000
"""Values of all simulations together: a test of more than a hundred seeds is simulated less often, 100 times at least.
"""

FARTHEST = 1_000.0
FACTORS = [float(f"{factor:.2g}") for factor in np.geomspace(1.1, FARTHEST, 60)]
"""What is tried, ascending."""


@dataclasses.dataclass(frozen=True)
class PairAgreement:
    """How two frameworks compare with permuted replicates over all cases that have both.

    Gaps are absolute differences of skill; infinite where one of two diverged and the other did not.

    Attributes:
        first, second: the frameworks.
        cases: how many there are.
        seeds: of how many seeds; a seed's gap is the mean over its cases, and the test is of seeds.
        median_frameworks, median_replicates, max_frameworks, max_replicates: of the gaps of seeds.
        p: of "further apart than replicates"; None where fewer than `statistics.FEWEST_PAIRS` seeds differ.
        power: the smallest factor by which frameworks must be further apart than replicates to be found `POWER` of the
            time; None where there is no test, or no factor up to `FARTHEST` is found so often.
        gaps: of each seed, that of the frameworks and that of the replicates.

    """

    first: str
    second: str
    cases: int
    seeds: int
    median_frameworks: float
    median_replicates: float
    max_frameworks: float
    max_replicates: float
    p: float | None
    power: float | None
    gaps: tuple[tuple[float, float], ...] = ()

    @property
    def apart(self) -> bool | None:
        """Whether the frameworks are further apart than replicates; None where the test cannot say."""
        return None if self.p is None else self.p < LEVEL


@cache_on_rows
def measure_gaps(rows: Rows) -> pd.DataFrame:
    """Return one line for each case and pair of frameworks that has a permuted replicate, worst first.

    ``gap frameworks`` is |skill a - skill b|; ``gap replicates`` is |skill - skill of its replicate|,
    the mean over all replicates of the case, whichever framework's they are (``replicates of``). Two diverged
    runs have the gap 0; a diverged run and one that is not have an infinite one.
    """
    frame = rows.matched.frame
    # A clip that never clipped is the case without clipping once more, and no evidence of its own.
    frame = frame[(frame["clip"] == NONE) | (frame["clip_fraction"] > 0)]
    same = [name for name in CASE if name not in {"framework", "path", "replicate"} and name in frame]
    frame = frame.assign(case=frame.groupby(same, dropna=False, sort=False).ngroup())
    needed = ["case", "framework", "path", "seed", "skill", "clip_fraction", *PLACE, LEARNER, *PLACE_FACTS]
    originals, copies = frame[frame["replicate"] == 0][needed], frame[frame["replicate"] > 0][needed]
    copies = copies.merge(originals[["case", LEARNER, "skill"]], on=["case", LEARNER], suffixes=("", " drawn"))
    copies["own"] = measure_distances(copies["skill drawn"], copies["skill"])
    by_case = copies.groupby("case", sort=False)
    seen = pd.DataFrame({"gap replicates": by_case["own"].mean(), "replicates": by_case.size()})
    seen["replicates of"] = _join_learners(copies).reindex(seen.index)
    pairs = originals[originals["case"].isin(seen.index)]
    pairs = pairs.merge(pairs, on="case", suffixes=(" a", " b"))
    ordered = pairs[f"{LEARNER} a"].cat.codes < pairs[f"{LEARNER} b"].cat.codes
    pairs = pairs[ordered & (pairs["framework a"] != pairs["framework b"])].join(seen, on="case")
    table = pairs.rename(columns={f"{name} a": name for name in (*PLACE, *PLACE_FACTS, "seed")})
    shares = (pairs["clip_fraction a"] + pairs["clip_fraction b"]) / 2
    kinds = table["clip"].astype(object)
    table["clipped"] = [describe_clipping(str(kind), share) for kind, share in zip(kinds, shares, strict=True)]
    table["gap frameworks"] = measure_distances(pairs["skill a"], pairs["skill b"])
    order = ["gap frameworks", *PLACE, "seed", f"{LEARNER} a", f"{LEARNER} b"]
    return table[COLUMNS].sort_values(order, ascending=[False, *[True] * 6], ignore_index=True)


def _join_learners(replicates: pd.DataFrame) -> pd.Series[str]:
    """Return for each case the learners that there are replicates of, joined."""
    if replicates.empty:
        return pd.Series(dtype=object)
    there = replicates[["case", LEARNER]].drop_duplicates().sort_values(["case", LEARNER])
    names, cases = there[LEARNER].astype(str).tolist(), there["case"].to_numpy()
    starts = np.flatnonzero(np.diff(cases, prepend=cases[0] - 1))
    ends = [*starts[1:].tolist(), len(cases)]
    joined = [", ".join(names[start:end]) for start, end in zip(starts.tolist(), ends, strict=True)]
    return pd.Series(joined, index=pd.Index(cases[starts], name="case"), name="names")


def compare_pairs(table: pd.DataFrame) -> list[PairAgreement]:
    """Return a verdict for each pair of frameworks in the table of `measure_gaps`."""
    found = []
    for (first, second), part in table.groupby([f"{LEARNER} a", f"{LEARNER} b"], observed=True):
        gaps = [seeds.average_by_seed(part, f"gap {name}").to_numpy(float) for name in ("frameworks", "replicates")]
        p = compute_p(*gaps)
        found.append(
            PairAgreement(
                first=str(first),
                second=str(second),
                cases=len(part),
                seeds=seeds.count_seeds(part),
                median_frameworks=float(np.median(gaps[0])),
                median_replicates=float(np.median(gaps[1])),
                max_frameworks=float(gaps[0].max()),
                max_replicates=float(gaps[1].max()),
                p=p,
                power=None if p is None else find_power(gaps[1]),
                gaps=tuple(zip(*(one.tolist() for one in gaps), strict=True)),
            )
        )
    return found


def compute_p(frameworks: np.ndarray, replicates: np.ndarray) -> float | None:
    """Return p of the one-sided Wilcoxon signed-rank test that `frameworks` exceed `replicates`, a value a seed.

    1 where none of at least `statistics.FEWEST_PAIRS` gaps differs; None where fewer do, but some. An infinite gap
    ranks above every finite one and ties with another infinite one: ranks are all that the test looks at.
    """
    finite = np.concatenate([frameworks, replicates])
    far = 2 * max(finite[np.isfinite(finite)], default=0.0) + 1
    differences = np.minimum(frameworks, far) - np.minimum(replicates, far)
    differing = differences[differences != 0]
    if not len(differing) and len(differences) < statistics.FEWEST_PAIRS:
        return None
    return statistics.compare_signed_ranks(differing)


def find_power(replicates: np.ndarray) -> float | None:
    """Return the smallest factor at which the test of so many seeds finds frameworks apart, `POWER` of the time.

    Both gaps of a seed are drawn from those of the replicates, and that between frameworks is multiplied. Simulated
    up to `SIMULATIONS` times with a fixed stream, so that a report made again is the same; factors to two digits.
    """
    known = replicates[np.isfinite(replicates) & (replicates > 0)]
    if not len(known) or len(replicates) < statistics.FEWEST_PAIRS:
        return None
    simulations = min(SIMULATIONS, max(SIMULATIONS // 40, MOST_DRAWN // len(replicates)))
    drawn = np.random.default_rng(0).choice(known, (2, simulations, len(replicates)))

    def finds(factor: float) -> bool:
        return bool((statistics.compare_signed_rank_rows(factor * drawn[0] - drawn[1]) < LEVEL).mean() >= POWER)

    at = bisect.bisect_left(FACTORS, 1, key=finds)
    return FACTORS[at] if at < len(FACTORS) else None


def measure_distances(first: pd.Series[float], second: pd.Series[float]) -> pd.Series[float]:
    """Return the distances of skills, NaN being a diverged run's."""
    torn = first.isna().astype(int) + second.isna().astype(int)
    return (first - second).abs().mask(torn == 1, math.inf).mask(torn == 2, 0.0)  # noqa: PLR2004 - both of them
