"""Whether the frameworks agree: certificates, and the gap between two frameworks beside that of permuted replicates."""

from __future__ import annotations

import math

from farreach.results.analysis import agreement, certificates
from farreach.results.analysis.agreement import PairAgreement
from farreach.results.analysis.labels import join_words
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.statistics import FEWEST_PAIRS
from farreach.results.report.answers.base import AGREE, Answer
from farreach.results.report.certificates import write_coverage
from farreach.results.report.phrases import list_labels, write_count

APART = {
    True: "are further apart than",
    False: "are not shown to be further apart than",
    None: f"are listed, since too few seeds differ for a test ({FEWEST_PAIRS} are needed), beside",
}


def answer_agreement(rows: Rows) -> Answer:
    """Say which rows were proved to compute what the reference computes, and how far the frameworks lie apart."""
    rows = rows.ours
    if not len(rows):
        return Answer(AGREE, "", ("not known: no case of a suite has finished",), missing=True)
    coverage = certificates.count_certified(rows.frame)
    verdicts = agreement.compare_pairs(agreement.measure_gaps(rows))
    parts = (*write_coverage(coverage), *write_agreement(rows, verdicts))
    missing = not coverage.certified and not verdicts
    return Answer(AGREE, "", parts, missing=missing, verdicts=(coverage, *verdicts))


def write_agreement(rows: Rows, verdicts: list[PairAgreement]) -> list[str]:
    """Return a clause for each pair of frameworks, or one that says why there is none."""
    if rows.frame["framework"].nunique() < 2:  # noqa: PLR2004
        return [f"only {join_words(list_labels(rows.frame['framework']))} ran, so nothing is said about agreement"]
    missing = "no case has two frameworks and a permuted replicate"
    return [*map(write_pair, verdicts)] or [f"whether the frameworks agree cannot be said: {missing}"]


def write_pair(one: PairAgreement) -> str:
    """Say whether two frameworks are further apart than permuted replicates of one."""
    median = f"median gap {_write_gap(one.median_frameworks)} against {_write_gap(one.median_replicates)}"
    most = f"largest {_write_gap(one.max_frameworks)} against {_write_gap(one.max_replicates)}"
    return (
        f"{one.first} and {one.second} {APART[one.apart]} permuted replicates of one framework, in skill over "
        f"{write_count(one.seeds, 'seed')} ({write_count(one.cases, 'case')}, each seed's mean): {median}, {most}"
        f"{_write_test(one)}"
    )


def _write_test(one: PairAgreement) -> str:
    """Return p, and how far apart frameworks would have to be for the test to find it."""
    if one.p is None:
        return ""
    least = f"{agreement.POWER:.0%} of the time".replace("%", " %")
    if one.power is None:
        found = f"no gap up to {agreement.FARTHEST:,.0f} times that of replicates would be found {least}"
    else:
        gap = _write_gap(one.power * one.median_replicates)
        found = (
            f"frameworks {one.power:g} times as far apart as replicates (a median gap of {gap}) would be found {least}"
        )
    return f"; one-sided Wilcoxon signed-rank test p = {one.p:.2g}; {found}"


def _write_gap(value: float) -> str:
    return "one diverged and the other not" if math.isinf(value) else f"{value:.3g}"
