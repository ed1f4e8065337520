"""Norm and direction of updates in parts, as a section of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from farreach.results.analysis.labels import DASH, format_percent, label_learner, label_step
from farreach.results.analysis.splits import LENGTH, LONGER, SPLIT, TURNED
from farreach.results.analysis.tables import format_skill, show_labels
from farreach.results.report.markdown import table

HEADING = "Updates in parts: norm and direction of what the clip left"

EXPLANATION = (
    "A batch is divided among replicas and microbatches. Where each part's gradient is clipped before the parts are "
    "summed, the sum may be longer than the threshold and has another direction. Median over the steps of the norm "
    "after the clip over the threshold, and of the cosine of the angle to the gradient; the share of the steps on "
    "which the norm was beyond the threshold; then the skill, and by how much it is changed against the clip of the "
    "sum: the median over seeds with its 95 % interval, which takes six."
)


def show_splits(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `analysis.splits.tabulate_splits` as it is read: the division beside the labels, then the figures."""
    shown = show_labels(frame)
    split = pd.DataFrame({name.replace("_", " "): frame[name] for name in SPLIT})
    rest = shown[[name for name in shown if name not in SPLIT]]
    at = [*rest].index("seeds") if "seeds" in rest else 0
    return pd.concat([rest.iloc[:, :at], split, rest.iloc[:, at:]], axis="columns")


def write_splits(frame: pd.DataFrame) -> str:
    """Return the table as Markdown, below what it is."""
    shown = show_splits(frame)
    shown[LENGTH] = [DASH if pd.isna(value) else f"{value:.3g}" for value in frame[LENGTH]]
    shown[TURNED] = [DASH if pd.isna(value) else f"{value:.4f}" for value in frame[TURNED]]
    shown[LONGER] = [format_percent(value) for value in frame[LONGER]]
    shown["skill"] = [format_skill(value) for value in frame["skill"]]
    shown["change"] = [_write_change(*line) for line in frame[["change", "low", "high"]].itertuples(index=False)]
    return f"{EXPLANATION}\n\n{table(shown.drop(columns=['low', 'high']))}"


def write_efficiency(line: Mapping[str, Any]) -> str:
    """Say how a step's time scales with replicas, given the facts of its case and what timing it gave."""
    what = label_step({**line, "parameters": dict(line["parameters"])})
    spread = "" if pd.isna(line["low"]) else f" ({line['low']:.0%} to {line['high']:.0%})".replace("%", " %")
    one, every = (f"{1e3 * line[name]:.3g} ms" for name in ("seconds_one", "seconds_all"))
    efficiency = f"{line['efficiency']:.0%}".replace("%", " %")
    return (
        f"{what}, {label_learner(line)}, clipped {line['clip_at']}: {one} a step in one process, {every} in "
        f"{line['replicas']} replicas: efficiency {efficiency}{spread}"
    )


def _write_change(change: float, low: float, high: float) -> str:
    if pd.isna(change):
        return DASH
    return f"{change:+.3f}" + ("" if pd.isna(low) else f" ({low:+.3f} to {high:+.3f})")
