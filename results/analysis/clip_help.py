"""Does clipping help? One verdict a task and cell, over seeds, against training without a clip.

What is compared is one setting of the task and cell: of those that ran without a clip and with one, the setting with
the most clips, then the one that most seeds solved. Seeds that solved it are compared as `task_verdicts.judge_counts`
does, with what was fixed before the run: the first side of a declared contrast, else no clip. Where no seed solved it
under any clip, the seeds that did not diverge are compared instead: the first comparison can then find nothing, so that
no further correction is due (Tarone, Biometrics 46, 1990).
"""

from __future__ import annotations

import dataclasses
import enum

import pandas as pd

from farreach.results.analysis import seeds, statistics
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, SETTING
from farreach.results.analysis.task_verdicts import HALF, LEVEL, Count, Verdict, judge_counts
from farreach.results.vocabulary import FEWEST_SEEDS, NONE


class Help(enum.Enum):
    """Whether clipping helps."""

    YES = "yes"
    NO = "no"
    HARMFUL = "harmful"
    INCONCLUSIVE = "inconclusive"
    UNTRIED = "not tried"


@dataclasses.dataclass(frozen=True)
class ClipTrial:
    """One clip: its label, how many seeds did it, and the mean share of the steps that it clipped, 0 to 1."""

    label: str
    count: Count
    fraction: float


@dataclasses.dataclass(frozen=True)
class ClipHelp:
    """Whether clipping helps a cell on a task.

    Attributes:
        task, cell: where.
        verdict: YES where a clip is shown to do better than none; HARMFUL where every clip that was tried is shown
            to do worse; NO where more than half of the seeds are shown to solve it without a clip, and no clip does
            better; UNTRIED where no setting ran without a clip and with one.
        setting: the setting that was compared, empty where there is none.
        survival: whether seeds that did not diverge are counted, since no seed solved it; else those that solved it.
        none: the seeds without a clip; None where there is no setting.
        best: the clip with the most seeds, then the smallest share of steps clipped; None where there is no setting.
        others: how many other settings ran without a clip and with one.

    """

    task: str
    cell: str
    verdict: Help
    setting: str = ""
    survival: bool = False
    none: Count | None = None
    best: ClipTrial | None = None
    others: int = 0


def judge_help(rows: Rows) -> list[ClipHelp]:
    """Return a verdict for each task with a criterion and each cell that ran it, in their order."""
    frame = (rows.counted if len(rows.counted) else rows.ours.as_drawn).listed.frame
    frame = frame[frame["solved"].notna()]
    return [
        _judge_cell(str(task), str(cell), part)
        for task, whole in frame.groupby("task", sort=False, observed=True)
        for cell, part in whole.groupby(CELL, observed=True)
    ]


def _judge_cell(task: str, cell: str, part: pd.DataFrame) -> ClipHelp:
    clips = part.groupby(SETTING, observed=True)["clip"].agg(set)
    both = [setting for setting, kinds in clips.items() if NONE in kinds and len(kinds) > 1]
    if not both:
        return ClipHelp(task, cell, Help.UNTRIED)
    tried = part[part[SETTING].isin(both)].groupby(SETTING, observed=True)
    ranks = pd.DataFrame({"clips": tried[CLIP].nunique(), "solved": tried["solved"].sum()})
    setting = ranks.sort_values(["clips", "solved"], ascending=False, kind="stable").index[0]
    chosen = part[part[SETTING] == setting]
    survival = not bool(chosen["solved"].any())
    return _judge_setting(task, cell, str(setting), chosen, survival=survival, others=len(both) - 1)


def _judge_setting(
    task: str, cell: str, setting: str, chosen: pd.DataFrame, *, survival: bool, others: int
) -> ClipHelp:
    did = chosen["status"] != "diverged" if survival else chosen["solved"]
    chosen = chosen.assign(did=did.astype(bool))
    groups = [(str(label), part) for label, part in chosen.groupby(CLIP, observed=True)]
    held = [seeds.hold_by_seed(part, "did") for _, part in groups]
    counts = [Count(int(one.sum()), len(one)) for one in held]
    kinds = [str(part["clip"].iloc[0]) for _, part in groups]
    trials = [
        ClipTrial(label, count, float(part["clip_fraction"].mean()))
        for (label, part), count in zip(groups, counts, strict=True)
    ]
    plain = kinds.index(NONE)
    clipped = [at for at in range(len(trials)) if at != plain]
    best = min(clipped, key=lambda at: (-counts[at].solved / counts[at].seeds, trials[at].fraction))
    pivot = next((at for at in clipped if _is_declared(groups[at][1], survival=survival)), plain)
    verdicts = judge_counts(counts, pivot)
    return ClipHelp(
        task=task,
        cell=cell,
        verdict=_find_verdict(verdicts, counts, plain=plain, pivot=pivot, best=best, survival=survival),
        setting=setting,
        survival=survival,
        none=counts[plain],
        best=trials[pivot] if pivot != plain and counts[pivot] == counts[best] else trials[best],
        others=others,
    )


def _is_declared(part: pd.DataFrame, *, survival: bool) -> bool:
    """Return whether a suite had declared a clip before the run, as a side of a contrast of what is counted."""
    if "side" not in part:
        return False
    if survival:
        return bool((part["side"].notna() & (part["contrast"] == "diverged")).any())
    return bool(((part["side"] == 1) & (part["contrast"] == "solved")).any())


def _find_verdict(
    verdicts: list[Verdict], counts: list[Count], *, plain: int, pivot: int, best: int, survival: bool
) -> Help:
    clipped = [at for at in range(len(counts)) if at != plain]
    if min(counts[plain].seeds, counts[best].seeds) < FEWEST_SEEDS:
        return Help.INCONCLUSIVE
    if pivot != plain:  # what is tested is no clip against the one that was declared
        helps, harms = verdicts[plain] is Verdict.WORSE, verdicts[plain] is Verdict.BETTER
    else:
        helps = any(verdicts[at] is Verdict.BETTER for at in clipped)
        harms = all(verdicts[at] is Verdict.WORSE for at in clipped)
    if helps or harms:
        return Help.YES if helps else Help.HARMFUL
    enough = statistics.exceed_share(counts[plain].solved, counts[plain].seeds, HALF) < LEVEL
    no_better = all(
        counts[at].solved * counts[plain].seeds <= counts[plain].solved * counts[at].seeds for at in clipped
    )
    return Help.NO if enough and no_better and not survival else Help.INCONCLUSIVE
