"""The ledger of published claims: what each is, and the verdict that follows from the rows of its arms.

A claim implies an inequality over rows. The seed is the unit: it gives one value, or one comparison of two arms that
share first weights and training data. A verdict takes the whole interval on one side of the bound, or Fisher's exact
test where rates of two arms are compared. A task that was not solved within the steps of a case has a lower bound of
its steps to solve, and no number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import pandas as pd
from typing_extensions import TypedDict

from farreach.results.analysis import statistics
from farreach.results.analysis.contrasts import LEVEL
from farreach.results.analysis.statistics import MISSING, Interval
from farreach.results.record import TIMES, Scalar
from farreach.results.storage.files import StoreError
from farreach.results.storage.interface import LEDGER, ResultSet
from farreach.results.storage.typed_json import parse_typed

Count = Literal["solved", "diverged"]
Measure = Literal[
    "solved",
    "diverged",
    "steps_to_solve",
    "skill",
    "score",
    "reach_start",
    "reach_end",
    "clip_fraction",
    "norm_before_max",
]
"""What an inequality is about: a share of the seeds (`Count`), or a column of the rows."""

LOST = ("skill", "score")
"""Measures that are as bad as can be where a case diverged."""

Comparison = Literal["value", "difference", "ratio"]
Reading = Literal["text", "code", "repository", "unverified"]
"""How a figure was read: in the source's text, in its authors' code, in another repository, or from memory."""

Word = Literal["supported", "contradicted", "inconclusive", "not affordable", "not run"]
WORDS: tuple[Word, ...] = get_args(Word)
SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_AFFORDABLE, NOT_RUN = WORDS

SECONDS = tuple(f"seconds_{kind}" for kind in TIMES if kind != "imports")

Setting = Scalar | list[Any] | dict[str, Any]
"""What a suite's block has under one key."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a claim was published.

    Attributes:
        authors, year, title: of the paper.
        at: its arXiv number, DOI or address.
        place: where in it the claim stands.
        read: how the figure was read.
        settings: those of the source, in words.

    """

    authors: str
    year: int
    title: str
    at: str
    place: str
    read: Reading
    settings: str


@dataclasses.dataclass(frozen=True)
class Inequality:
    """What a claim implies over rows: a measure of one arm, or of two compared, is above or below a bound.

    Attributes:
        of: the measure.
        arms: the arm, or the two that are compared: the first over, or minus, the second.
        compare: ``value`` of one arm; ``difference`` or ``ratio`` of two.
        above, below: the bound; one of them is None.

    """

    of: Measure
    arms: tuple[str, ...]
    compare: Comparison
    above: float | None = None
    below: float | None = None


@dataclasses.dataclass(frozen=True)
class Arm:
    """A setting that was tried: its name, the keys of a suite's block that say it, and the keys of its rows."""

    name: str
    settings: dict[str, Setting]
    rows: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A published claim and how it is tried here.

    Attributes:
        id: the name of its file.
        claim: what the source says, in one sentence.
        source: where.
        deviations: in which the settings tried here differ from the source's.
        inequality: what the claim implies.
        seeds: how many each arm has.
        minutes: planned minutes of one core; None where nothing is run.
        needs: what is missing here, where the claim cannot be run.
        cost: why it is not affordable, and what it would cost.
        arms: the settings tried; none where it is not run.

    """

    id: str
    claim: str
    source: Source
    deviations: tuple[str, ...]
    inequality: Inequality
    seeds: int
    minutes: float | None
    needs: str | None
    cost: str | None
    arms: tuple[Arm, ...]


class Ledger(TypedDict):
    """The document beside the rows."""

    claims: tuple[Claim, ...]


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """What the rows of an arm gave.

    Attributes:
        name: of the arm.
        by_seed: for each seed the interval that its value lies in: two equal ends where it is known, an infinite upper
            end where a task was not solved.
        counted: whether values are 1 or 0.

    """

    name: str
    by_seed: dict[int, Interval]
    counted: bool

    @property
    def count(self) -> int:
        """How many seeds did it, where seeds are counted."""
        return int(sum(one.low for one in self.by_seed.values()))

    @property
    def share(self) -> Interval:
        """The 95 % interval of the share of seeds that did it."""
        return statistics.bound_share(self.count, len(self.by_seed))


@dataclasses.dataclass(frozen=True)
class ClaimVerdict:
    """What the rows say of a claim.

    Attributes:
        claim: the claim.
        word: the verdict.
        arms: what each arm of the inequality gave.
        compared: by seed, the interval of what is compared with the bound; empty for the difference of two shares.
        interval: of that, over seeds; NaN ends below the declared seeds.
        p: of Fisher's exact test, where two shares are compared.
        minutes: of one core that its rows took.

    """

    claim: Claim
    word: Word
    arms: tuple[ArmResult, ...]
    compared: dict[int, Interval]
    interval: Interval
    p: float | None
    minutes: float

    @property
    def seeds(self) -> int:
        """How many seeds have a value in every arm of the inequality."""
        return len(set.intersection(*(set(one.by_seed) for one in self.arms))) if self.arms else 0


@dataclasses.dataclass(frozen=True)
class ClaimFault:
    """Why a set does not bear out the ledger.

    Attributes:
        claim: the id of the claim.
        kind: ``late`` (rows ran before the claim was committed as it stands), ``uncommitted`` (it is not),
            ``changed`` (the set has it otherwise), ``unknown`` (the set alone has it) or ``missing`` (it has not).
        rows: how many rows are meant, where they are.

    """

    claim: str
    kind: Literal["late", "uncommitted", "changed", "unknown", "missing"]
    rows: int = 0


def read_claims(store: ResultSet) -> tuple[Claim, ...]:
    """Return the claims of a ledger's set, none of another set; raise `DamagedError` where the document is damaged."""
    paths = store.list_documents(LEDGER)
    return parse_typed(store.read_document(paths[0]), paths[0], Ledger)["claims"] if paths else ()


def judge_ledger(store: ResultSet) -> tuple[ClaimVerdict, ...]:
    """Return the verdict on each claim of a set, in the order of its document."""
    claims = read_claims(store)
    try:
        rows = store.rows() if claims else pd.DataFrame(columns=["key"])
    except StoreError:  # nothing has been run yet
        rows = pd.DataFrame(columns=["key"])
    by_key = {str(row["key"]): row for row in rows.astype(object).to_dict("records")}
    return tuple(judge_claim(claim, by_key) for claim in claims)


def judge_claim(claim: Claim, rows: Mapping[str, Mapping[Any, Any]]) -> ClaimVerdict:
    """Return what rows, by their keys, say of a claim."""
    mine = [rows[key] for arm in claim.arms for key in arm.rows if key in rows]
    minutes = sum(_count_seconds(row) for row in mine) / 60
    if not mine:
        word = NOT_AFFORDABLE if claim.cost else NOT_RUN
        return ClaimVerdict(claim, word, (), {}, MISSING, None, minutes)
    rule = claim.inequality
    named = {arm.name: arm for arm in claim.arms}
    arms = tuple(_measure_arm(named[name], rule.of, rows) for name in rule.arms)
    compared, interval, p, word = _compare(claim, arms)
    return ClaimVerdict(claim, word, arms, compared, interval, p, minutes)


def _compare(claim: Claim, arms: tuple[ArmResult, ...]) -> tuple[dict[int, Interval], Interval, float | None, Word]:
    """Return what is compared with the bound by seed, its interval, p of a test, and the verdict."""
    rule, first, second = claim.inequality, arms[0], arms[-1]
    enough = min(len(one.by_seed) for one in arms) >= claim.seeds
    if first.counted and rule.compare != "value":
        p = statistics.compare_counts(first.count, len(first.by_seed), second.count, len(second.by_seed))
        lead = first.count / max(len(first.by_seed), 1) - second.count / max(len(second.by_seed), 1)
        holds = (lead > 0) == (rule.above is not None)
        word = (SUPPORTED if holds else CONTRADICTED) if enough and p < LEVEL else INCONCLUSIVE
        return {}, MISSING, p if enough else None, word
    if rule.compare == "value":
        compared = first.by_seed
    else:
        shared = sorted({*first.by_seed} & {*second.by_seed})
        relate = _divide if rule.compare == "ratio" else _subtract
        compared = {seed: relate(first.by_seed[seed], second.by_seed[seed]) for seed in shared}
    if not enough or len(compared) < claim.seeds:
        return compared, MISSING, None, INCONCLUSIVE
    interval = first.share if first.counted else _bound(compared)
    return compared, interval, None, _hold_against(rule, interval)


def _bound(compared: Mapping[int, Interval]) -> Interval:
    lows, highs = ([one[end] for one in compared.values()] for end in (0, 1))
    return Interval(statistics.bound_median_sides(lows).low, statistics.bound_median_sides(highs).high)


def _hold_against(rule: Inequality, interval: Interval) -> Word:
    """Return the verdict of an interval on an inequality."""
    low, high = interval
    if rule.above is not None:
        return SUPPORTED if low > rule.above else CONTRADICTED if high <= rule.above else INCONCLUSIVE
    bound = math.nan if rule.below is None else rule.below
    return SUPPORTED if high < bound else CONTRADICTED if low >= bound else INCONCLUSIVE


def _measure_arm(arm: Arm, measure: Measure, rows: Mapping[str, Mapping[Any, Any]]) -> ArmResult:
    """Return the value of each seed that has a row with one."""
    found = {int(rows[key]["seed"]): _measure_row(rows[key], measure) for key in arm.rows if key in rows}
    known = {seed: value for seed, value in sorted(found.items()) if value is not None}
    return ArmResult(arm.name, known, measure in get_args(Count))


def _measure_row(row: Mapping[Any, Any], measure: Measure) -> Interval | None:
    """Return the interval that a row's value lies in; None where it has none."""
    diverged = row["status"] == "diverged"
    if measure == "diverged":
        return _know(float(diverged))
    value = row[measure]
    if measure == "solved":
        return _know(float(value == True))  # noqa: E712 - a table writes None as NaN, which is true
    if not pd.isna(value):
        return _know(float(value))
    if measure == "steps_to_solve":
        return Interval(float(row["steps"]), math.inf)
    return _know(-math.inf) if diverged and measure in LOST else None


def _know(value: float) -> Interval:
    return Interval(value, value)


def _subtract(first: Interval, second: Interval) -> Interval:
    """Return where a difference lies; anywhere where both cases diverged."""
    low, high = first.low - second.high, first.high - second.low
    return Interval(-math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high)


def _divide(first: Interval, second: Interval) -> Interval:
    """Return where a ratio of positive numbers lies."""
    return Interval(first.low / second.high, math.inf if math.isinf(first.high) else first.high / second.low)


def _count_seconds(row: Mapping[Any, Any]) -> float:
    """Return the seconds of one core that a row took: of its wall time the share that its steps had a processor."""
    seconds = [row.get(name) for name in SECONDS]
    return float(row["cpu_to_wall"]) * sum(float(one) for one in seconds if one is not None and not pd.isna(one))
