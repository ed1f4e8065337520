"""Does clipping help, at a glance: a field for each task and cell, with the best threshold and the seeds."""

from __future__ import annotations

from farreach.results.analysis.clip_help import ClipHelp, Help, judge_help
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL
from farreach.results.report.answers.base import THRESHOLD
from farreach.results.report.glances.base import EMPTY, Field, Glance, State, make_grid, name_places
from farreach.results.report.phrases import write_count
from farreach.results.vocabulary import FEWEST_SEEDS

NOTE = (
    "Yes: the seeds that solved it without a clip → with the best threshold, shown by Fisher's exact test (corrected, "
    "Holm). No: solved without a clip, and none does better. Harmful: every clip is shown to be worse. Best: of those "
    "tried."
)
STATES: dict[Help, State] = {
    Help.YES: "yes",
    Help.NO: "no",
    Help.HARMFUL: "harmful",
    Help.INCONCLUSIVE: "inconclusive",
    Help.UNTRIED: "untried",
}


def glance_at_clips(rows: Rows) -> Glance:
    """Say where clipping helps and where it is not needed, over a grid of tasks and cells."""
    verdicts = judge_help(rows)
    if not verdicts:
        return Glance("clips", THRESHOLD, "Not known: no case of a task with a criterion has finished.")
    fields = {(one.task, one.cell): write_field(one) for one in verdicts}
    cells = [cell for cell in map(str, rows.frame[CELL].cat.categories) if any(one.cell == cell for one in verdicts)]
    tried = any(one.verdict is not Help.UNTRIED for one in verdicts)
    return Glance("clips", THRESHOLD, write_help(verdicts), make_grid("task", fields, cells) if tried else None, NOTE)


def write_help(verdicts: list[ClipHelp]) -> str:
    """Say where clipping helps, where it is not needed or harms, and how much is not known."""
    places = {
        kind: [f"{one.task} ({one.cell})" for one in verdicts if one.verdict is kind]
        for kind in (Help.YES, Help.NO, Help.HARMFUL)
    }
    counts = {kind: sum(one.verdict is kind for one in verdicts) for kind in Help}
    if counts[Help.UNTRIED] == len(verdicts):
        return "Not tried: no cell ran both without a clip and with one."
    words = {Help.YES: "helps on", Help.NO: "is not needed on", Help.HARMFUL: "harms on"}
    parts = [f"{word} {name_places(places[kind])}" for kind, word in words.items() if places[kind]]
    left = [f"{counts[kind]} {kind.value}" for kind in (Help.INCONCLUSIVE, Help.UNTRIED) if counts[kind]]
    rest = [f"of {write_count(len(verdicts), 'cell')} on a task {', '.join(left)}"] if left else []
    said = ", ".join(parts) or "is shown to help nowhere"
    return "; ".join([f"Clipping {said}", *rest]) + "."


def write_field(one: ClipHelp) -> Field:
    """Return what the field of a task and cell says."""
    if one.none is None or one.best is None:
        return EMPTY
    did = " did not diverge" if one.survival else ""
    best, none = one.best.count, one.none
    seeds = f"{none.solved}/{none.seeds} → {best.solved}/{best.seeds} seeds{did}"
    if one.survival and none.solved == none.seeds and best.solved == best.seeds:
        seeds = f"no seed of {none.seeds} solved it with or without"
    if one.verdict is Help.INCONCLUSIVE and min(none.seeds, best.seeds) < FEWEST_SEEDS:
        seeds += f" (fewer than {FEWEST_SEEDS}: listed, not tested)"
    text = f"yes: {one.best.label}" if one.verdict is Help.YES else one.verdict.value
    named = "" if one.verdict is Help.YES else f"none → {one.best.label}: "
    return Field(text, named + seeds, STATES[one.verdict])
