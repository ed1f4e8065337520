"""How far the gradient reached, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import observatory
from farreach.results.analysis.labels import DASH, format_percent, join_words
from farreach.results.analysis.observatory import HELD, REACH, Holding, Surprise
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING
from farreach.results.record import POINTS
from farreach.results.report.phrases import write_clip

WHEN = {"start": "before training", "end": "at the end of training"}


def write_findings(table: pd.DataFrame) -> list[str]:
    """Say how far each cell's gradient reached, who solved without it, and what the textbook would not expect.

    Args:
        table: `observatory.measure_reach`.

    """
    if table.empty:
        return []
    holding = observatory.find_short(table)
    found = [_write_setting(str(setting), part) for setting, part in table.groupby(SETTING, sort=False, observed=True)]
    found += [_write_holding(holding)] if holding else []
    surprises = observatory.find_surprises(table)
    return found + [
        _write_surprises(point, part) for point in WHEN if (part := [one for one in surprises if one.point == point])
    ]


def write_reach(table: pd.DataFrame) -> pd.DataFrame:
    """Return `observatory.measure_reach` as people read it: shares in percent, the range over seeds in brackets."""
    if table.empty:
        return pd.DataFrame(columns=REACH)
    shown = table[[name for name in REACH if name in table]].copy()
    for point in POINTS:
        for name in observatory.KINDS:
            what = f"dL/d{name}"
            columns = [f"{point} {name}{end}" for end in ("", " low", " high")]
            shown[f"{point} {what}"] = [_write_spread(*values) for values in table[columns].itertuples(index=False)]
            if name == "x" and table[columns].isna().all(axis=None):
                shown = shown.drop(columns=f"{point} {what}")  # which older rows do not know
    shown["half life"] = [_write_half_life(value) for value in table["half life"]]
    shown["solved, held 0.9"] = [f"{row['solved']}, {row['held']}" for _, row in table.iterrows()]
    return shown


def _write_setting(setting: str, part: pd.DataFrame) -> str:
    """Say how far the gradient reached at the end in one setting, without clipping where that was run."""
    clip, learner = part[CLIP].iloc[0], part[LEARNER].iloc[0]
    lines = part[(part[CLIP] == clip) & (part[LEARNER] == learner)]
    cells = "; ".join(f"{row[CELL]} {_write_end(row)}" for _, row in lines.iterrows())
    with_clip, before = write_clip(lines["clip"].iloc[0], clip), lines["steps before"].iloc[0]
    return (
        f"At the end of training on {setting}, {with_clip} ({learner}), the gradient keeps 1 % of its norm over this "
        f"share of the {before:.0f} steps before the scored ones (mean, and range over seeds): {cells}."
    )


def _write_end(row: pd.Series[Any]) -> str:
    text = _write_spread(row["end h"], row["end h low"], row["end h high"])
    if pd.notna(row["end c"]):
        text += f", its dL/dc {_write_spread(row['end c'], row['end c low'], row['end c high'])}"
    return text


def _write_holding(one: Holding) -> str:
    """Say whether the runs that solved their task hold `HELD` of the reach, and which do not."""
    runs = f"Of the {one.solved} runs that solved their task"
    head = f"{runs}, {one.holding} reach at least {HELD:g} of the steps at the end."
    if one.short.empty:
        return head
    missing = "; ".join(
        f"{row[CELL]} in {row[SETTING]}, clip {row[CLIP]} ({row[LEARNER]}; end {_write_end(row)}, "
        f"middle {_write_spread(row['middle h'], row['middle h low'], row['middle h high'])})"
        for _, row in one.short.iterrows()
    )
    return (
        f"{head} These do not: {missing}. Reach is a ratio of the probe's own gradients: once a task is solved its "
        "errors, and with them the gradient, are small, and a small gradient need not point far back."
    )


def _write_surprises(point: str, surprises: list[Surprise]) -> str:
    """Report where an rnn reaches farther than a gated cell, which the textbook would not expect."""
    places = [
        f"{one.setting}: rnn {format_percent(one.rnn)}, "
        + join_words(f"{cell} {format_percent(share)}" for cell, share in one.gated)
        for one in surprises
    ]
    head = f"Against the textbook's expectation the rnn's gradient reaches farther than a gated cell's {WHEN[point]}"
    return f"{head}: {'; '.join(places)}."


def _write_spread(mean: float, low: float, high: float) -> str:
    if pd.isna(mean):
        return DASH
    if pd.isna(low):
        return format_percent(mean)
    spread = "every seed" if low == high else f"{format_percent(low)} to {format_percent(high)}"
    return f"{format_percent(mean)} ({spread})"


def _write_half_life(value: float) -> str:
    if pd.isna(value):
        return DASH
    return "does not fall" if np.isinf(value) else f"{value:.1f} steps"
