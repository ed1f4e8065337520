"""Where gradients vanished or exploded, from the diagnosis of every case."""

from __future__ import annotations

import pandas as pd

from farreach.results.analysis import observatory
from farreach.results.analysis.diagnosis import among
from farreach.results.analysis.labels import CELL, CLIP, NONE, SETTING, drawn, joined, percent
from farreach.results.report.answers.base import GRADIENTS, MOST, Answer

FOUND = ("vanishing", "exploding", "diverged")

NEEDED = [SETTING, CELL, CLIP, "diverged_at", "steps_before", "reach_end", "cell_reach_end"]
NEEDED += ["growth_end", "growth_end_low", "growth_end_high"]


def answer(frame: pd.DataFrame) -> Answer:
    """Say in how many cases a gradient vanished, exploded or was not finite, and where, with the figures."""
    rows = drawn(frame)
    if rows.empty:
        return Answer(GRADIENTS, "", ("not known: no case has finished",), missing=True)
    labels = among(frame, rows)["label"]
    needed = rows[[name for name in NEEDED if name in rows]]
    parts = [_found(label, needed[labels == label]) for label in FOUND]
    blind = int((rows["reach_end"].isna() if "reach_end" in rows else pd.Series(data=True, index=rows.index)).sum())
    blind -= int((labels == "diverged").sum()) if blind else 0
    if blind > 0:
        unseen = "none of them" if blind == len(rows) else f"{blind} of them not"
        parts.append(f"{unseen} looked at for the gradient through time, so not for vanishing or exploding either")
    count = f"{len(rows)} case" + ("s" if len(rows) > 1 else "")
    return Answer(GRADIENTS, f"Of {count}:", tuple(parts), missing=blind == len(rows))


def _found(label: str, rows: pd.DataFrame) -> str:
    if rows.empty:
        return f"none {label}"
    groups = sorted(rows.groupby([SETTING, CELL], observed=True), key=lambda pair: -len(pair[1]))
    places = [f"{cell} on {setting} {_with(part)} ({_figures(label, part)})" for (setting, cell), part in groups[:MOST]]
    further = [f"{len(groups) - MOST} further settings and cells"] if len(groups) > MOST else []
    return f"{len(rows)} {label}, {joined([*places, *further])}"


def _with(part: pd.DataFrame) -> str:
    clips = [str(clip) for clip in part[CLIP].cat.categories if (part[CLIP] == clip).any()]
    return joined("without clipping" if clip == NONE else f"with {clip}" for clip in clips[:MOST]) + (
        f" and {len(clips) - MOST} more" if len(clips) > MOST else ""
    )


def _figures(label: str, part: pd.DataFrame) -> str:
    """Return how many cases, and the figure behind the label as a mean over them with its interval."""
    many = f"{len(part)} case" + ("s" if len(part) > 1 else "")
    if label == "diverged":
        return f"{many}, the first at step {pd.to_numeric(part['diverged_at']).min():.0f}"
    if label == "exploding":
        rate = pd.to_numeric(part["growth_end"])
        outer = pd.to_numeric(part["growth_end_low"]).min(), pd.to_numeric(part["growth_end_high"]).max()
        ends = f"every 95 % interval within {outer[0]:.2g} to {outer[1]:.2g}"
        return f"{many}: a step back in time the logarithm of the norm grows by {rate.mean():.2g}, {ends}"
    far = part[["reach_end", "cell_reach_end"]].astype(float).max(axis="columns").dropna()
    if far.empty:
        return f"{many}: the gradient was exactly zero"
    low, high = observatory.interval(far)
    ends = "" if pd.isna(low) or low == high else f", 95 % interval {percent(low)} to {percent(high)}"
    before = pd.to_numeric(part["steps_before"]).iloc[0]
    return f"{many}: 1 % of the norm is left over {percent(far.mean())} of {before:.0f} steps{ends}"
