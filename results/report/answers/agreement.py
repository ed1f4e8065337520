"""Whether the frameworks agree: the certificates, and the gap between two of them beside that of renumbered copies."""

from __future__ import annotations

import pandas as pd

from farreach.results.analysis import agreement, certificates
from farreach.results.analysis.labels import joined, ours
from farreach.results.report import findings
from farreach.results.report.answers.base import AGREE, Answer


def answer(frame: pd.DataFrame) -> Answer:
    """Say which rows were proved to compute what the reference computes, and how far the frameworks lie apart."""
    rows = ours(frame)
    if rows.empty:
        return Answer(AGREE, "", ("not known: no case of a suite has finished",), missing=True)
    stands = certificates.standing(rows)
    matched = stands[stands["mode"] == certificates.MATCHED]
    held = matched[matched[certificates.NAME] != certificates.NONE]
    parts = []
    if len(held):
        names = joined(dict.fromkeys(held[certificates.NAME]))
        parts.append(
            f"{held['cases'].sum()} of {matched['cases'].sum()} cases in mode matched stand under a certificate that "
            f"every step equals the NumPy reference's within 1e-10 in float64 ({names})"
        )
    bare = matched[matched[certificates.NAME] == certificates.NONE]
    if len(bare):
        versions = dict.fromkeys(f"{row['framework']} {row['framework_version']}" for _, row in bare.iterrows())
        parts.append(f"{bare['cases'].sum()} cases stand under NO certificate ({joined(versions)}) and may not compare")
    native = int(stands.loc[stands["mode"] != certificates.MATCHED, "cases"].sum())
    if native:
        parts.append(f"{native} ran with the frameworks' own defaults, which are not meant to agree")
    verdicts = agreement.verdicts(agreement.agreement(rows))
    said = [one[0].lower() + one[1:].rstrip(".") for one in findings.agreed(rows, verdicts)]
    return Answer(AGREE, "", (*parts, *said), missing=not len(held) and not verdicts)
