"""Two runs of one case compared: the bits, the number and the conclusion of a recorded run, and those it gives now."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis.labels import join_words
from farreach.results.analysis.outcomes import BEYOND, HELD, UNKNOWN, Outcome, Spread, compare_outcomes
from farreach.results.report import markdown
from farreach.results.report.phrases import write_count
from farreach.results.storage.interface import ResultSet
from farreach.results.storage.parts import CURVES, hash_curves

ENVIRONMENT = (
    *("framework_version", "kernel", "precision", "digest", "task_version", "metric_version", "device_name"),
    *("variables", "processor", "cores", "cores_granted", "python", "numpy", "platform", "commit"),
)
"""The facts of a row that may explain why a run gave something else."""

IDENTICAL, DIFFERS, FAILED = "identical", "differs", "failed"


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What became of one recorded case when it was run again.

    Attributes:
        key: of the recorded row.
        case: the case in words.
        verdict: ``identical`` where losses, norms, evaluations and final weights agree in every bit, ``differs``, or
            ``failed`` where it could not be run.
        found: the first difference in words, or why it failed; "" where there is none.
        step: the first training step at which something differs, None where that is not a step's.
        by: the relative difference there; None where one of the two is no finite number.
        environment: the facts that differ: name, then, now.
        outcome: whether the number and the conclusion held; None where the case could not be run.
        processors: on which it ran, then and now.

    """

    key: str
    case: str
    verdict: str
    found: str = ""
    step: int | None = None
    by: float | None = None
    environment: tuple[tuple[str, str, str], ...] = ()
    outcome: Outcome | None = None
    processors: tuple[str, str] = ("", "")

    def sentence(self) -> str:
        """Say what was found."""
        if self.verdict == IDENTICAL:
            return f"{self.case}: identical in every bit."
        facts = join_words(f"{name} was {then}, is {now}" for name, then, now in self.environment)
        why = "" if self.verdict == FAILED else f" {facts[0].upper()}{facts[1:]}." if facts else " No fact differs."
        held = "" if self.outcome is None else f" {write_number(self.outcome)} {write_conclusion(self.outcome)}"
        return f"{self.case}: {self.verdict}, {self.found}.{why}{held}"


def compare_runs(
    then: ResultSet,
    now: ResultSet,
    rows: tuple[dict[str, Any], dict[str, Any]],
    case: str,
    *,
    spread: Spread | None = None,
) -> Reproduction:
    """Hold a row of one store against the same case's row of another, with what lies beside each.

    `spread` is what permuted replicates of such a case differ by. Raises `StoreError` where something cannot be read.
    """
    old, new = rows
    ends = compare_outcomes(old, new, spread)
    processors = str(old["processor"]), str(new["processor"])
    apart = tuple(
        (name, str(old[name]) or "not recorded", str(new[name]))
        for name in ENVIRONMENT
        if name in old and not pd.isna(old[name]) and old[name] != new[name]
    )

    def differs(found: str, step: int | None = None, by: float | None = None) -> Reproduction:
        amount = "" if by is None else f", by {by:.2g} relative"
        return Reproduction(old["key"], case, DIFFERS, found + amount, step, by, apart, ends, processors)

    whole = then.hash_whole_curves(old["key"])
    if whole is not None:
        curves = now.read_part("curves", new["key"])
        if curves is None or hash_curves(curves) != whole:
            return differs("in its curves, of which the recorded set has the digest and no steps")
    else:
        step, column, by = _find_first(then.curves(old["key"]), now.curves(new["key"]), [*CURVES[1:]])
        if step is not None:
            return differs(f"first at step {step}, in {column.replace('_', ' ')}", step, by)
    before, after = then.evaluations(old["key"]), now.evaluations(new["key"])
    step, column, by = _find_first(before, after, [str(name) for name in before if name in after and name != "step"])
    if step is not None:
        return differs(f"training is identical, the evaluation at step {step} is not, in {column}", step, by)
    if old["weights_sha256"] != new["weights_sha256"]:
        return differs("in the final weights alone")
    return Reproduction(old["key"], case, IDENTICAL, outcome=ends, processors=processors)


def write_number(outcome: Outcome) -> str:
    """Say whether the skill held within what replicates differ by."""
    then, now = outcome.skills
    if then == now:
        return f"Its skill held: {now:.3f}."
    moved, spread = f"Its skill was {then:.3f}, is {now:.3f}", outcome.spread
    if spread is None:
        return f"{moved}; the set has no permuted replicate of such a case to say whether that is much."
    word = "within" if outcome.number == HELD else "beyond"
    count = write_count(spread.replicates, "permuted replicate")
    return f"{moved}: {word} {spread.most:.3f}, the most by which {count} of such cases differ."


def write_conclusion(outcome: Outcome) -> str:
    """Say whether the conclusion held."""
    if outcome.changed:
        return f"Its conclusion changed: {join_words(f'{name} was {a}, is {b}' for name, a, b in outcome.changed)}."
    return f"Its conclusion held: {join_words(f'{name} {now}' for name, _, now in outcome.conclusions)}."


def _list_held(outcome: Outcome | None) -> tuple[str | None, str | None]:
    return (None, None) if outcome is None else (outcome.number, "changed" if outcome.changed else HELD)


def _find_first(then: pd.DataFrame, now: pd.DataFrame, columns: list[str]) -> tuple[int | None, str, float | None]:
    """Return the first step at which a column differs in a bit, which column, and by how much relative to `then`."""
    shared = min(len(then), len(now))
    old, new = (frame[columns].to_numpy(float)[:shared] for frame in (then, now))
    apart = ~((old == new) | (np.isnan(old) & np.isnan(new)))
    if apart.any():
        at, which = np.argwhere(apart)[0]
        a, b = old[at, which], new[at, which]
        by = float(abs(b - a) / abs(a)) if np.isfinite([a, b]).all() and a else None
        return int(then["step"].iloc[at]), columns[which], by
    if len(then) != len(now):
        longer = then if len(then) > len(now) else now
        return int(longer["step"].iloc[shared]), "length", None
    return None, "", None


def write_findings(found: list[Reproduction]) -> list[str]:
    """Say how many cases were reproduced, and the first that were not."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    what = "the same losses, gradient norms, evaluations and final weights in every bit"
    said = [f"{counts.get(IDENTICAL, 0)} of {len(found)} cases gave {what}."]
    ends = [one.outcome for one in found if one.outcome]
    if len(ends) > counts.get(IDENTICAL, 0):
        numbers = {word: sum(one.number == word for one in ends) for word in (HELD, BEYOND, UNKNOWN)}
        said.append(
            f"The skill held in {numbers[HELD]} of {len(ends)} cases that ran: it is the same, or within what permuted "
            f"replicates in the set differ by; in {numbers[BEYOND]} it is beyond that, and for {numbers[UNKNOWN]} the "
            "set has no replicates to say."
        )
        kept = sum(not one.changed for one in ends)
        said.append(f"The conclusion (diverged or not, solved or not, diagnosis) held in {kept} of {len(ends)}.")
    for then, now in dict.fromkeys(one.processors for one in found if one.outcome):
        said.append(f"Recorded on {then}, run again on {'the same model' if then == now else now}.")
    return said + [one.sentence() for one in found if one.verdict != IDENTICAL]


def write_page(found: list[Reproduction], command: str) -> str:
    """Return what was found as Markdown: the sentences, then a line a case."""
    lines = [[one.key, one.case, one.verdict, one.found, one.by, *_list_held(one.outcome)] for one in found]
    frame = pd.DataFrame(lines, columns=["key", "case", "bits", "found", "relative", "number", "conclusion"])
    said = "".join(f"- {markdown.escape(one)}\n" for one in write_findings(found))
    return f"# Run again, and compared bit for bit\n\nMade by `{command}`.\n\n{said}\n{markdown.table(frame)}"
