"""Do the frameworks agree? The gap between two of them beside the gap between permuted replicates of one.

A permuted replicate is the same case with its hidden units in another order: the same mathematics, so that its
distance from the original is what rounding alone does over the run. Two frameworks agree where they are no further
apart than that.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.labels import describe_clipping
from farreach.results.analysis.rows import Rows, cache_on_rows
from farreach.results.analysis.selection import CASE, LEARNER, PLACE, PLACE_FACTS
from farreach.results.vocabulary import NONE

SIDES = [f"{name} {side}" for name in (LEARNER, "framework", "path") for side in ("a", "b")]
COLUMNS = [*PLACE, *PLACE_FACTS, "clipped", "seed", *SIDES, "skill a", "skill b"]
COLUMNS += ["gap frameworks", "gap replicates", "replicates", "replicates of"]
LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class PairAgreement:
    """How two frameworks compare with permuted replicates over all cases that have both.

    Gaps are absolute differences of skill; infinite where one of two diverged and the other did not.
    """

    first: str
    second: str
    cases: int
    median_frameworks: float
    median_replicates: float
    max_frameworks: float
    max_replicates: float
    p: float | None  # of "further apart than replicates"; None where too few gaps differ for the test

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
        frameworks, replicates = (part[name].to_numpy(float) for name in ("gap frameworks", "gap replicates"))
        found.append(
            PairAgreement(
                first=str(first),
                second=str(second),
                cases=len(part),
                median_frameworks=float(np.median(frameworks)),
                median_replicates=float(np.median(replicates)),
                max_frameworks=float(frameworks.max()),
                max_replicates=float(replicates.max()),
                p=compute_p(frameworks, replicates),
            )
        )
    return found


def compute_p(frameworks: np.ndarray, replicates: np.ndarray) -> float | None:
    """Return p of the one-sided Wilcoxon signed-rank test that `frameworks` exceed `replicates`.

    1 where no gap differs; None where fewer than `statistics.FEWEST_PAIRS` do. An infinite gap ranks above every
    finite one and ties with another infinite one: ranks are all that the test looks at.
    """
    finite = np.concatenate([frameworks, replicates])
    far = 2 * max(finite[np.isfinite(finite)], default=0.0) + 1
    differences = np.minimum(frameworks, far) - np.minimum(replicates, far)
    return statistics.compare_signed_ranks(differences)


def measure_distances(first: pd.Series[float], second: pd.Series[float]) -> pd.Series[float]:
    """Return the distances of skills, NaN being a diverged run's."""
    torn = first.isna().astype(int) + second.isna().astype(int)
    return (first - second).abs().mask(torn == 1, math.inf).mask(torn == 2, 0.0)  # noqa: PLR2004 - both of them
