"""Contrasts that a suite declared before it ran: does one setting do what the other does not?

Counts of seeds (solved, diverged) are compared by Fisher's exact test, headline metrics by the exact rank test of Mann
and Whitney, both two-sided. Each framework is a test of its own over the same seeds, and no further evidence. A row
that ran before its contrast was declared says nothing of it, and is left out.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pandas as pd

from farreach.results.analysis import labels, seeds, statistics
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import APART, CASE, FURTHER, LEARNER, NAMED, RECIPE, SETTING
from farreach.results.record import ContrastOutcome
from farreach.results.vocabulary import FEWEST_SEEDS

LEVEL = 0.05

PLACE = ["task", "parameters", "contrast", "device", "threads", "dtype"]
"""What the rows of one contrast share."""

CLIPS = {"clip", "threshold"}
RUNS = APART - {"cell", "activation", *CLIPS}
"""The facts of a case that say who ran it and how often, not on which side of a contrast it is."""

Winner = Literal[1, 2]


@dataclasses.dataclass(frozen=True)
class Side:
    """What one side of a contrast gave in one framework: a value per seed, 1 or 0 where seeds are counted."""

    by_seed: tuple[float, ...]

    @property
    def count(self) -> int:
        """How many seeds did it, where seeds are counted."""
        return int(sum(self.by_seed))


@dataclasses.dataclass(frozen=True)
class Trial:
    """A contrast in one framework.

    Attributes:
        learner: the framework.
        replicate: 0, or the permuted replicate.
        first, second: the two sides.
        p: of the two-sided test; None below `FEWEST_SEEDS` seeds a side, which are listed and not tested.

    """

    learner: str
    replicate: int
    first: Side
    second: Side
    p: float | None

    @property
    def winner(self) -> Winner | None:
        """The side that is shown to do it more, or to have the larger metric; None where neither is."""
        if self.p is None or self.p >= LEVEL:
            return None
        ranks = pd.Series([*self.first.by_seed, *self.second.by_seed]).rank()
        middle = ranks.mean()
        return 1 if ranks[: len(self.first.by_seed)].mean() > middle else 2


@dataclasses.dataclass(frozen=True)
class ContrastVerdict:
    """A declared contrast, in every framework that ran both sides.

    Attributes:
        task, parameters, setting: what it is about; the setting is called by what both sides share.
        outcome: ``solved``, ``diverged`` or ``metric``.
        metric: the task's headline metric.
        steps: of training.
        sides: of each side the facts that tell it from the other, and those alone.
        trials: one per framework, those of hidden units as drawn first.

    """

    task: str
    parameters: str
    setting: str
    outcome: ContrastOutcome
    metric: str
    steps: int
    sides: tuple[dict[str, Any], dict[str, Any]]
    trials: tuple[Trial, ...]

    @property
    def is_of_clips(self) -> bool:
        """Whether the sides differ in the clip alone."""
        return {*self.sides[0]} <= CLIPS

    @property
    def plain(self) -> tuple[Trial, ...]:
        """The trials of hidden units as drawn."""
        return tuple(one for one in self.trials if not one.replicate)

    def is_turned(self, replicate: Trial) -> bool:
        """Say whether a permuted replicate comes out otherwise than its own framework's trial."""
        return any(one.learner == replicate.learner and one.winner != replicate.winner for one in self.plain)


def judge_contrasts(rows: Rows) -> list[ContrastVerdict]:
    """Return a verdict for each declared contrast of which both sides ran, in the order of the settings."""
    frame = rows.ours.frame
    if "side" not in frame or not frame["side"].notna().any():
        return []
    declared = frame[frame["side"].isin([1, 2]) & frame["contrast"].notna()]
    found = [_judge(part, frame) for _, part in declared.groupby(PLACE, observed=True, sort=False)]
    return [one for one in found if one is not None]


def find_covered(rows: Rows, verdicts: list[ContrastVerdict]) -> set[str]:
    """Return the tasks with whose every parameters a contrast was declared."""
    declared = {(one.task, one.parameters) for one in verdicts}
    places = rows.ours.frame[["task", "parameters"]].drop_duplicates().astype(str).itertuples(index=False, name=None)
    return {task for task, _ in declared} - {task for task, parameters in places if (task, parameters) not in declared}


def _judge(part: pd.DataFrame, frame: pd.DataFrame) -> ContrastVerdict | None:
    outcome: ContrastOutcome = part["contrast"].iloc[0]
    values = {"solved": part["solved"], "diverged": part["status"] == "diverged", "metric": part["score"]}[outcome]
    part = part.assign(value=values)
    trials = []
    for (learner, replicate), group in part.groupby([LEARNER, "replicate"], observed=True):
        first, second = (_reduce(group[group["side"] == number], counted=outcome != "metric") for number in (1, 2))
        if first.by_seed and second.by_seed:
            p = _test(first, second, counted=outcome != "metric")
            trials.append(Trial(str(learner), int(str(replicate)), first, second, p))
    if not trials:
        return None
    heads = [part[part["side"] == number].iloc[0] for number in (1, 2)]
    sides = _list_differing(heads[0], heads[1]), _list_differing(heads[1], heads[0])
    return ContrastVerdict(
        task=str(heads[0]["task"]),
        parameters=str(heads[0]["parameters"]),
        setting=_label_shared(part, frame, sides[0]),
        outcome=outcome,
        metric=str(heads[0]["metric"]),
        steps=int(heads[0]["steps"]),
        sides=sides,
        trials=tuple(sorted(trials, key=lambda one: one.replicate)),
    )


def _reduce(side: pd.DataFrame, *, counted: bool) -> Side:
    by_seed = seeds.hold_by_seed(side, "value") if counted else seeds.average_by_seed(side, "value")
    return Side(tuple(map(float, by_seed)))


def _test(first: Side, second: Side, *, counted: bool) -> float | None:
    if min(len(first.by_seed), len(second.by_seed)) < FEWEST_SEEDS:
        return None
    if counted:
        return statistics.compare_counts(first.count, len(first.by_seed), second.count, len(second.by_seed))
    return float(statistics.compare_ranks_exactly(first.by_seed, second.by_seed))


def _list_differing(row: pd.Series[Any], other: pd.Series[Any]) -> dict[str, Any]:
    """Return the facts of one side that tell it from the other, a clip whole; what is not known is None."""
    known = {name: (row[name], other[name]) for name in CASE if name in row and name not in RUNS}
    apart = {name for name, (one, two) in known.items() if one != two and not (pd.isna(one) and pd.isna(two))}
    apart |= CLIPS if CLIPS & apart else set()
    return {name: None if pd.isna(one) else one for name, (one, _) in known.items() if name in apart}


def _label_shared(part: pd.DataFrame, frame: pd.DataFrame, differing: dict[str, Any]) -> str:
    """Return what a contrast's setting is called among all those of a set, by the facts that both sides share."""
    facts = [name for name in (*NAMED, *RECIPE, *FURTHER) if name in frame]
    others = frame[~frame[SETTING].isin(part[SETTING].unique())].drop_duplicates(SETTING)
    shared = part.iloc[:1][facts].astype(object).assign(**dict.fromkeys({*differing} & {*facts}))
    lines = [*shared.to_dict("records"), *others[facts].astype(object).to_dict("records")]
    return labels.label_settings([{str(name): value for name, value in line.items()} for line in lines])[0]
