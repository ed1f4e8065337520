"""Do the frameworks agree, at a glance: their gaps beside those of permuted replicates, and what would be found."""

from __future__ import annotations

import math

from farreach.results.analysis import agreement, certificates
from farreach.results.analysis.agreement import PairAgreement
from farreach.results.analysis.labels import DASH, format_percent
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.statistics import FEWEST_PAIRS
from farreach.results.report.answers.base import AGREE
from farreach.results.report.glances.base import Field, Glance, Grid, State, name_places
from farreach.results.report.phrases import list_labels, write_count

NOTE = (
    "Gap: absolute difference of skill, the median over seeds. A permuted replicate is the same mathematics with its "
    "hidden units in another order. Would be found: the least gap that the test finds "
    f"{format_percent(agreement.POWER)} of the time."
)
COLUMNS = ("gap of frameworks", "gap of replicates", "verdict", "would be found")


def glance_at_agreement(rows: Rows) -> Glance:
    """Say whether frameworks are further apart than permuted replicates of one, over a line a pair."""
    rows = rows.ours
    if not len(rows):
        return Glance("agreement", AGREE, "Not known: no case of a suite has finished.")
    verdicts = agreement.compare_pairs(agreement.measure_gaps(rows))
    if not verdicts:
        return Glance("agreement", AGREE, _write_alone(rows))
    lines = tuple((f"{one.first} and {one.second}", _make_fields(one)) for one in verdicts)
    return Glance("agreement", AGREE, write_pairs(verdicts), Grid("frameworks", COLUMNS, lines), NOTE)


def write_pairs(verdicts: list[PairAgreement]) -> str:
    """Say how many pairs are shown to be apart, and what the test could have found."""
    apart = [f"{one.first} and {one.second}" for one in verdicts if one.apart]
    tested = [one for one in verdicts if one.p is not None]
    if apart:
        return f"No: {name_places(apart)} are further apart than permuted replicates of one framework are."
    if not tested:
        seeds = write_count(max(one.seeds for one in verdicts), "seed")
        return f"Inconclusive: a test needs {FEWEST_PAIRS} seeds, and {seeds} ran; the gaps are listed."
    powers = [one.power for one in tested if one.power is not None]
    power = (
        f"one {max(powers):g} times theirs would be found" if powers else "how large one would be found is not known"
    )
    return (
        f"Not shown to differ: no gap of {write_count(len(tested), 'pair')} is larger than that of replicates; {power}."
    )


def _make_fields(one: PairAgreement) -> tuple[Field, ...]:
    said: tuple[str, State] = ("listed, too few seeds for a test", "inconclusive")
    if one.p is not None:
        said = ("further apart", "harmful") if one.apart else ("not shown to differ", "no")
    test = f"p = {one.p:.2g}" if one.p is not None else ""
    found = DASH
    if one.p is not None:
        found = f"{one.power:g} times" if one.power is not None else "nothing tried"
    gap = f"a gap of {_write(one.power * one.median_replicates)}" if one.p is not None and one.power else ""
    seeds = write_count(one.seeds, "seed")
    return (
        Field(_write(one.median_frameworks), f"at most {_write(one.max_frameworks)}; {seeds}", "untried"),
        Field(_write(one.median_replicates), f"at most {_write(one.max_replicates)}", "untried"),
        Field(said[0], test, said[1]),
        Field(found, gap, "untried"),
    )


def _write_alone(rows: Rows) -> str:
    coverage = certificates.count_certified(rows.frame)
    names = name_places(list_labels(rows.frame["framework"]))
    proved = (
        f"{coverage.certified} of {write_count(coverage.matched, 'case')} of mode matched stand under a certificate"
    )
    why = f"only {names} ran" if rows.frame["framework"].nunique() == 1 else "no permuted replicate ran"
    return f"Not compared: {why}; {proved}."


def _write(value: float) -> str:
    return "one diverged" if math.isinf(value) else f"{value:.3g}"
