"""What a result set shows of the user's own runs: what their recorder warned of, then what the clip met and did."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from farreach.results.analysis import tables
from farreach.results.analysis.own_runs import list_warnings
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING
from farreach.results.report.phrases import write_clip, write_clipping, write_count

MOST = 20
"""Warnings that a report begins with; how many more there are it says."""


def write_warnings(rows: Rows) -> list[str]:
    """Return what the recorders of the user's own runs warned of, each once: the report begins with it."""
    found = list_warnings(rows)
    said = []
    for one in found[:MOST]:
        several = "" if one.runs == 1 else f" ({write_count(one.runs, 'run')})"
        where = f"{one.setting}, {one.cell}, {one.learner} {write_clip(one.kind, one.clip)}"
        said.append(f"Warning in {where}{several}: {one.text}.")
    return said + ([f"There are {len(found) - MOST} further warnings."] if len(found) > MOST else [])


def write_tails(rows: Rows, curves: Callable[[str], pd.DataFrame], steps: int) -> list[str]:
    """Return the last steps of each of the user's own runs: a line with its state, then one for each step.

    Args:
        rows: rows of a set.
        curves: maps a run's key to its curves.
        steps: how many to show of each run.

    """
    said = write_warnings(rows)
    for row in rows.own.frame.to_dict("records"):
        torn = "" if pd.isna(row["diverged_at"]) else f", diverged at step {row['diverged_at']:.0f}"
        left_out = 0 if pd.isna(row["steps_skipped"]) else int(row["steps_skipped"])
        skipped = f", {write_count(left_out, 'step')} skipped" if left_out else ""
        norms = "" if pd.isna(row["norm_before_median"]) else f", median norm {row['norm_before_median']:.3g}"
        where = f"{row[SETTING]}, {row[CELL]}, {row[LEARNER]} {write_clip(row['clip'], row[CLIP])}"
        said.append(f"{where}: {write_count(int(row['steps_done']), 'step')}{norms}{skipped}{torn}")
        said += [
            f"step {line['step']:.0f}: loss {line['loss']:.4g}, norm {line['norm_before']:.3g} before the clip and "
            f"{line['norm_after']:.3g} after it"
            for line in curves(str(row["key"])).tail(steps).to_dict("records")
        ]
    return said


def write_own_runs(rows: Rows) -> list[str]:
    """Say of each of the user's own runs what the clip met and did, and what such runs cannot say."""
    found = []
    reached, norms = tables.tabulate_accuracy(rows), tables.tabulate_gradients(rows)
    lines = pd.concat([reached, norms[[name for name in norms if name not in reached]]], axis="columns")
    for (setting, cell), part in lines.groupby([SETTING, CELL], observed=True):
        clauses = []
        for _, row in part.iterrows():
            name = write_clip(row["clip"], row[CLIP])
            if pd.isna(row["norm median"]):
                clauses.append(f"{row[LEARNER]} {name} diverged at step {row['diverged at']:.0f}")
                continue
            done = write_clipping(row)
            end = "" if pd.isna(row["score"]) else f", training loss at the end {row['score']:.3g}"
            torn = f", {row['diverged']} of {write_count(row['seeds'], 'run')} diverged" if row["diverged"] else ""
            measured = f"gradient norm before the clip {row['norm median']:.3g}, at most {row['norm max']:.3g}"
            clauses.append(f"{row[LEARNER]} {name}{done}: {measured}{end}{torn}")
        found.append(f"{setting}, {cell}: {'; '.join(clauses)}.")
    if found:
        found.append(
            "Runs marked 'own' were recorded in a loop of the user's: they have no floor and no skill, stand under no "
            "certificate by their nature, and enter no comparison of frameworks."
        )
    return found
