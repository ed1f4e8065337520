"""Whether parts of a set conclude the same, in words: kinds of processor, and permuted replicates."""

from __future__ import annotations

from farreach.results.analysis.conclusions import PartsVerdict, Question, compare_processors, compare_replicates
from farreach.results.analysis.labels import join_words
from farreach.results.analysis.rows import Rows
from farreach.results.report.phrases import write_count

NAMES = {"contrast": "{} {}", "length": "{}, {}", "clip": "{}, clip {}"}


def write_findings(rows: Rows) -> list[str]:
    """Return a sentence about kinds of processor, where there are several, and about each replicate that concludes."""
    kinds = compare_processors(rows)
    found = [f"The rows come from {len(kinds.parts)} kinds of processor. {write_parts(kinds)}"] if kinds else []
    return found + [write_parts(one) for one in compare_replicates(rows) if one.same or one.turned]


def write_parts(one: PartsVerdict) -> str:
    """Say how many conclusions parts share, which of them differ, and how many rest on one part alone."""
    names = join_words(one.parts)
    if not one.same and not one.turned:
        return f"No conclusion has enough seeds on {names} each."
    several = write_count(len(one.same) + len(one.turned), "conclusion")
    turned = f"; it differs for {join_words(map(name_question, one.turned))}" if one.turned else ""
    alone = f"; {one.alone} more rest on one of them alone" if one.alone else ""
    return f"Of {several} for which {names} have enough seeds, {len(one.same)} are the same{turned}{alone}."


def name_question(one: Question) -> str:
    """Return what a conclusion is about: ``order T=30``, ``adding, gru at T=50``, ``order, clip norm 1``."""
    return NAMES[one.kind].format(one.task, one.about)
