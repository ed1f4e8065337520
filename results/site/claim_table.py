"""The table of published claims: what each implies, what was found, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from farreach.results.analysis.ledger import ClaimVerdict
from farreach.results.report.ledger import tabulate_verdicts, write_summary
from farreach.results.site.tables import Column, Table


def make_claims(verdicts: Sequence[ClaimVerdict]) -> Table | None:
    """Return one line a claim, None of a set that was run for none."""
    if not verdicts:
        return None
    frame = tabulate_verdicts(verdicts)
    columns = (
        Column("verdict", "verdict"),
        Column("claim", "claim"),
        Column("source", "source", "long"),
        Column("implies", "implies", "long"),
        Column("found", "found", "long"),
        Column("minutes", "minutes", "number", hint="of one core, of all its rows"),
    )
    note = f"{write_summary(verdicts)}. ledger.md has a section for each."
    return Table("claims", "claims", "Published claims", note, frame, columns, {"verdict": ["verdict"]}, "facts")
