"""The ledger of published claims in words: each claim, its inequality, what was found, the verdict, and the page."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from farreach.results.analysis.labels import DASH, join_words
from farreach.results.analysis.ledger import (
    WORDS,
    Arm,
    ArmResult,
    Claim,
    ClaimFault,
    ClaimVerdict,
    Inequality,
    Measure,
    Reading,
    judge_ledger,
)
from farreach.results.analysis.statistics import Interval
from farreach.results.report.markdown import code, escape, plain, table
from farreach.results.report.phrases import write_count
from farreach.results.storage.files import write_text
from farreach.results.storage.interface import ResultSet
from farreach.results.vocabulary import PROGRAM

PAGE = "ledger.md"

NAMES: dict[Measure, str] = {
    "solved": "share of seeds that solve the task",
    "diverged": "share of seeds that diverge",
    "steps_to_solve": "steps to solve",
    "skill": "skill",
    "score": "headline metric",
    "reach_start": "reach before training",
    "reach_end": "reach after training",
    "clip_fraction": "share of steps that are clipped",
    "norm_before_max": "largest gradient norm",
}
"""What a measure is called."""

READINGS: dict[Reading, str] = {
    "text": "in the source's text",
    "code": "in its authors' code",
    "repository": "in another repository that repeats it",
    "unverified": "from memory, and not checked: unverified",
}

FAULTS = {
    "late": "{rows} ran with a commit that did not have the claim as it stands",
    "uncommitted": "the claim is not committed as it stands",
    "changed": "the set has another inequality, other seeds or other arms than the ledger",
    "unknown": "the ledger has no such claim",
    "missing": "the set has no such claim",
}


def write_inequality(rule: Inequality) -> str:
    """Say what a claim implies: ``steps to solve, a over b, above 5``."""
    joined = {"value": " of ", "difference": ", ", "ratio": ", "}[rule.compare]
    between = {"value": "", "difference": " minus ", "ratio": " over "}[rule.compare]
    bound = f"above {rule.above:g}" if rule.above is not None else f"below {rule.below:g}"
    return f"{NAMES[rule.of]}{joined}{between.join(rule.arms)}, {bound}"


def write_found(verdict: ClaimVerdict) -> str:
    """Say what the rows of a claim gave, in numbers; nothing where there are none."""
    if not verdict.arms:
        return ""
    claim = verdict.claim
    counted = [_write_counted(arm) for arm in verdict.arms if arm.counted]
    parts = [join_words(counted)] if counted else []
    if verdict.p is not None:
        parts.append(f"Fisher's exact p = {verdict.p:.2g}")
    if not counted:
        parts.append(f"by seed {', '.join(map(_write_value, verdict.compared.values())) or DASH}")
        if not math.isnan(verdict.interval.low):
            parts.append(f"95 % bounds of the median {_write_interval(verdict.interval)}")
    if any(len(one.by_seed) < claim.seeds for one in verdict.arms):
        parts.append(f"{verdict.seeds} of the {claim.seeds} declared seeds have run, too few to judge")
    return "; ".join(parts)


def write_verdict(verdict: ClaimVerdict) -> str:
    """Say the verdict on a claim in a line: its inequality, what was found, and the cost."""
    claim = verdict.claim
    why = claim.cost or (f"needs {claim.needs}" if claim.needs else "")
    found = why or write_found(verdict)
    cost = f", {_write_minutes(verdict.minutes)} of one core" if verdict.minutes else ""
    return f"{claim.id}: {verdict.word}. {write_inequality(claim.inequality)}{f': {found}' if found else ''}{cost}"


def write_summary(verdicts: Sequence[ClaimVerdict]) -> str:
    """Say how many claims have each verdict, and what all of them cost."""
    counts = Counter(one.word for one in verdicts)
    listed = join_words(f"{counts[word]} {word}" for word in WORDS if counts[word])
    hours = sum(one.minutes for one in verdicts) / 60
    return f"{write_count(len(verdicts), 'claim')}: {listed}; {hours:.1f} hours of one core"


def write_plan(claim: Claim) -> str:
    """Say in a line what a claim is and what it is planned to cost."""
    planned = "not affordable" if claim.cost else f"needs {claim.needs}"
    if claim.minutes is not None:
        planned = f"{claim.minutes:g} minutes"
    return f"{claim.id} ({claim.source.authors} {claim.source.year}; {planned}): {claim.claim}"


def write_fault(fault: ClaimFault) -> str:
    """Say why a set does not bear out a claim of the ledger."""
    return f"{fault.claim}: {FAULTS[fault.kind].format(rows=write_count(fault.rows, 'row'))}"


def tabulate_verdicts(verdicts: Sequence[ClaimVerdict]) -> pd.DataFrame:
    """Return one line a claim: id, source, what it implies, what was found, seeds, minutes of one core, verdict."""
    return pd.DataFrame(
        {
            "claim": one.claim.id,
            "source": f"{one.claim.source.authors} {one.claim.source.year}",
            "implies": write_inequality(one.claim.inequality),
            "found": write_found(one) or None,
            "seeds": str(one.seeds) if one.arms else None,
            "minutes": one.minutes or math.nan,
            "verdict": one.word,
        }
        for one in verdicts
    )


def render_page(verdicts: Sequence[ClaimVerdict]) -> str:
    """Return the page: the summary, one table, and a section for each claim."""
    head = (
        "# The ledger of published claims\n\n"
        "Each claim was committed with its inequality before the first of its rows ran. The seed is the unit. A claim "
        "is supported or contradicted where the whole interval lies on one side of the bound, or where Fisher's exact "
        "test tells two shares apart; else it is inconclusive. Each end of an interval of a median is wrong at most "
        "5 % of the time. Where a task was not solved, its steps to solve are at least those of the case (≥).\n\n"
        f"{escape(write_summary(verdicts))}.\n"
    )
    return "\n".join([head, table(tabulate_verdicts(verdicts)), *map(write_section, verdicts)])


def write_page(store: ResultSet) -> Path:
    """Write ledger.md beside the rows; return its path."""
    path = store.folder / PAGE
    write_text(path, render_page(judge_ledger(store)))
    return path


def list_stale(store: ResultSet) -> list[str]:
    """Return a line where the page beside a set does not say what follows from its rows, or is not there."""
    path = store.folder / PAGE
    if not path.exists():
        return [f"{PAGE} is not there"]
    same = path.read_text("utf-8") == render_page(judge_ledger(store))
    return [] if same else [f"{PAGE} does not say what follows from its rows"]


def write_section(verdict: ClaimVerdict) -> str:
    """Return a claim as Markdown: what it says, where, how it was tried, what was found, and the command."""
    claim, source = verdict.claim, verdict.claim.source
    lines = [
        f"**{verdict.word.capitalize()}.** {escape(claim.claim)}",
        f"- Source: {escape(f'{source.authors}, {source.title}, {source.year}, {source.at}; {source.place}')}",
        f"- Read {READINGS[source.read]}. Settings there: {escape(source.settings)}",
    ]
    lines += [f"- Arm {escape(arm.name)}: {code(_write_settings(arm))}" for arm in claim.arms]
    lines += [f"- Deviation: {escape(one)}" for one in claim.deviations]
    lines.append(f"- Implies: {escape(write_inequality(claim.inequality))}")
    found = write_found(verdict)
    lines += [f"- Found: {escape(found)}"] if found else []
    if claim.minutes is not None:
        spent = f", spent {_write_minutes(verdict.minutes)}" if verdict.minutes else ""
        lines.append(f"- Cost on one core: planned {_write_minutes(claim.minutes)}{spent}")
        lines.append(f"- Command: {code(f'{PROGRAM} ledger --only id={claim.id}')}")
    lines += [f"- Not affordable: {escape(claim.cost)}"] if claim.cost else []
    lines += [f"- Needs {escape(claim.needs)}"] if claim.needs else []
    first, *rest = lines
    return "\n".join([f"## {claim.id}\n\n{first}\n", *rest, ""])


def _write_settings(arm: Arm) -> str:
    return ", ".join(f"{name} = {_write_setting(value)}" for name, value in arm.settings.items())


def _write_setting(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_write_setting(one)}' for name, one in value.items())} }}"
    return json.dumps(value)


def _write_counted(arm: ArmResult) -> str:
    low, high = arm.share
    return f"{arm.name} {arm.count} of {len(arm.by_seed)} seeds ({100 * low:.0f} % to {100 * high:.0f} %)"


def _write_interval(interval: Interval) -> str:
    return f"{_write_number(interval.low)} to {_write_number(interval.high)}"


def _write_value(value: Interval) -> str:
    """Return what is known of one seed's value: a number, or on which side of one it lies."""
    low, high = value
    if low == high:
        return _write_number(low)
    if math.isinf(high):
        return "not known" if math.isinf(low) or low == 0 else f"≥ {_write_number(low)}"
    return f"≤ {_write_number(high)}"


def _write_number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return plain(value)


def _write_minutes(minutes: float) -> str:
    return f"{minutes:.2g} minutes"
