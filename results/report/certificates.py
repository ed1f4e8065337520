"""What is said of certificates: how many rows stand under one, why others do not, and what a command found."""

from __future__ import annotations

from rich.table import Table

from farreach.results.analysis.certificates import BOUNDS, ROUNDED, WORST, Bare, Coverage, list_checks
from farreach.results.analysis.labels import join_words
from farreach.results.report.phrases import write_count
from farreach.results.storage.certificates import CheckResult
from farreach.results.vocabulary import NONE

SHOWN = 20
"""Checks that the terminal shows, the worst first; the certificates have them all."""

NAMED = 3
"""Missing checks that a sentence names."""

WHY = {
    "undigested": "made before rows said by which code and settings",
    "unknown": "made by code and settings that have no certificate",
    "failed": "whose certificate has a check beyond its bound",
    "unchecked": "of a kind that was not checked",
}


def write_coverage(coverage: Coverage) -> list[str]:
    """Return a clause for the cases under a certificate, for those under none, and for those of mode native."""
    parts = []
    if coverage.certified:
        exact, single = BOUNDS["float64"]["loss"], BOUNDS["float32"]
        elsewhere = ""
        if coverage.elsewhere:
            elsewhere = f"; {coverage.elsewhere} of them ran on another processor than the checks, with other rounding"
        parts.append(
            f"{coverage.certified} of {coverage.matched} cases in mode matched stand under a certificate: the code and "
            f"the settings that made them give at every step what the NumPy reference gives, within {exact:g} "
            f"relative in float64, and on the kernel that ran in float32 within {single['loss']:g} "
            f"(gradient norms {single['norm_before']:g}, weights {single['weights']:g}; or, up to {ROUNDED:g}, as a "
            f"permuted replicate of its own) "
            f"({join_words(coverage.digests)}){elsewhere}"
        )
    if coverage.bare:
        count = write_count(coverage.matched - coverage.certified, "case stands", "cases stand")
        parts.append(f"{count} under NO certificate and may not compare: {'; '.join(map(_write_bare, coverage.bare))}")
    if coverage.native:
        parts.append(f"{coverage.native} ran with the frameworks' own defaults, which are not meant to agree")
    return parts


def _write_bare(bare: Bare) -> str:
    """Return how many rows stand under none, of what, and why."""
    named = [" ".join(f"{name} {value}" for name, value in demand) for demand in bare.lacking[:NAMED]]
    more = f" and {len(bare.lacking) - NAMED} more" if len(bare.lacking) > NAMED else ""
    lacking = f" (no check of {join_words(named)}{more})" if named else ""
    return f"{bare.cases} of {bare.framework}, kernel {bare.kernel}, {WHY[bare.why]}{lacking}"


def render_checks(framework: str, results: list[CheckResult], steps: int) -> Table:
    """Return the checks of a framework as a table of rich, the worst first."""
    frame = list_checks(results)
    good = int(frame["passed"].sum())
    title = f"{framework}: {good} of {len(frame)} checks within their bounds, relative, at each of {steps} steps"
    caption = "drift: of the free run's loss, beside that of a permuted replicate of the reference"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for name in ("check", "worst / bound", "drift", "replicate", "passed"):
        table.add_column(name, no_wrap=name != "check")
    for row in frame.head(SHOWN).to_dict("records"):
        model = f"{row['dtype']} {row['layers']} {row['cell']} {row['activation']} {row['inputs']} {row['scored']}"
        kinds = {row["regulariser"], row["initial"], row["schedule"]} - {NONE, "default", "constant"}
        numbers = ["with other numbers"] * (row["numbers"] == "other")
        split = [f"{row[name]} {name}" for name in ("replicas", "microbatches") if row.get(name, 1) > 1]
        split += [f"clipped {row['clip_at']}"] if split else []
        update = " ".join([row["optimizer"], row["clip"], *sorted(kinds), *numbers, *split])
        drifts = [_write_number(row.get(name)) for name in ("drift", "copy_drift")]
        passed = "yes" if row["passed"] else f"[red]NO[/red] {row['fault'] or ''}"
        table.add_row(f"{model} {update}, {row['kernel']}", f"{row[WORST]:.2g}", *drifts, passed)
    return table


def _write_number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.1e}"  # noqa: PLR0124
