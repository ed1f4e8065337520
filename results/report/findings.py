"""What a result set shows beside the five answers, in plain sentences; each only where the data carry it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from farreach.results.analysis import observatory, run_times, tables
from farreach.results.analysis.labels import format_percent, join_words
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING
from farreach.results.report import conclusions, gradient_reach, matched_native, own_runs, precision
from farreach.results.report.phrases import list_labels, write_clip, write_clipping, write_count
from farreach.results.vocabulary import NONE


def write_findings(rows: Rows, runs: list[dict[str, Any]]) -> list[str]:
    """Return what a result set shows beside the five answers, in the order in which a reader asks for it.

    Args:
        rows: the rows of the store.
        runs: what the runs logged.

    """
    found = write_scope(rows.frame, runs)
    if len(rows.counted):
        lines = tables.tabulate_accuracy(rows.matched)
        found += [*write_inactive_clips(lines), *write_divergence(lines)]
        found += gradient_reach.write_findings(observatory.measure_reach(rows.matched))
    elif len(rows.ours):
        found.append("No case ran in mode matched that is no permuted replicate, so nothing is said about divergence.")
    found += conclusions.write_findings(rows.ours)
    found += precision.write_findings(rows.ours)
    found += own_runs.write_own_runs(rows.own)
    found += matched_native.write_findings(rows.ours) if len(rows.ours) else []
    return [*found, write_wall_time(runs)]


def write_scope(frame: pd.DataFrame, runs: list[dict[str, Any]]) -> list[str]:
    """Say how many cases there are, of what, and how many diverged or failed."""
    failed = len(run_times.list_failures(runs))
    said = [
        f"{write_count(failed, 'case')} failed and are named below." if failed != 1 else "1 case failed, named below."
    ]
    if frame.empty:
        return ["No case has finished: there is nothing to compare.", *(said if failed else [])]
    copies = int((frame["replicate"] > 0).sum())
    torn = int((frame["status"] == "diverged").sum())
    learners, tasks, cells, clips = (join_words(list_labels(frame[name])) for name in (LEARNER, "task", CELL, CLIP))
    head = f"{write_count(len(frame), 'case')} finished: {learners} on {tasks} with {cells}, clip {clips}"
    parts = [f"{copies} of them permuted replicates"] if copies else []
    return ["; ".join([head, *parts, f"{torn} diverged"]) + ".", *(said if failed else [])]


def write_inactive_clips(lines: pd.DataFrame) -> list[str]:
    """Name the thresholds that never clipped."""
    idle = lines[(lines["clip"] != NONE) & (lines["clip fraction"] == 0)]
    named = [
        f"{clip} in {setting}, {cell} ({join_words(list_labels(group[LEARNER]))})"
        for (setting, cell, clip), group in idle.groupby([SETTING, CELL, CLIP], observed=True)
    ]
    return [f"Clip never active: these runs carry no evidence about clipping: {'; '.join(named)}."] if named else []


def write_divergence(lines: pd.DataFrame) -> list[str]:
    """Say which cases diverged, and which of those trained with a clip."""
    found = []
    for (setting, cell), part in lines.groupby([SETTING, CELL], observed=True):
        if not part["diverged"].any():
            continue
        clauses = []
        for clip, group in part.groupby(CLIP, observed=True):
            name = write_clip(group["clip"].iloc[0], clip)
            torn = group[group["diverged"] > 0]
            if len(torn):
                counts = _write_each(torn, lambda row: f"{row['diverged']}/{row['seeds']} seeds")
                clauses.append(f"{name} diverged: {counts}")
            fine = group[group["diverged"] == 0]
            for trained, verb in ((True, "trained"), (False, "did not diverge, but stayed on the floor")):
                those = fine[(fine["skill"] > 0) == trained]
                if len(those):
                    skills = _write_each(
                        those, lambda row: f"skill {tables.format_skill(row['skill'])}{write_clipping(row)}"
                    )
                    clauses.append(f"{name} {verb}: {skills}")
        alone = "" if len(part[CLIP].unique()) > 1 else "; no other clip ran beside it"
        found.append(f"Divergence in {setting}, {cell}: {'; '.join(clauses)}{alone}.")
    return found


def write_wall_time(runs: list[dict[str, Any]]) -> str:
    """Say which share of the wall time went into training and evaluation."""
    last = run_times.find_newest(runs)
    if last is None:
        return "Where the wall time went is not known: no run that finished cases was logged."
    table = run_times.tabulate_shares(runs)
    parts = ", ".join(
        f"{kind} {format_percent(share)}" for kind, share in zip(table["kind"], table["newest share"], strict=True)
    )
    lanes = write_count(int(last.get("jobs", 1)), "worker")
    text = (
        f"Training and evaluation took {format_percent(run_times.sum_useful(table, 'newest'))} of the workers' time "
        f"in the newest run ({parts}), which took {last.get('wall_seconds', 0):.0f} s with {lanes}"
    )
    if "all share" in table:
        text += f", and {format_percent(run_times.sum_useful(table, 'all'))} over all runs together"
    return f"{text}."


def _write_each(group: pd.DataFrame, text: Callable[[pd.Series[Any]], str]) -> str:
    """Return every framework's text, or one text where all say the same."""
    said = {str(row[LEARNER]): text(row) for _, row in group.iterrows()}
    if len(said) > 1 and len(set(said.values())) == 1:
        return f"{join_words(said)} {next(iter(said.values()))} each"
    return ", ".join(f"{learner} {what}" for learner, what in said.items())
