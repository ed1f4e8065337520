"""Clauses that several sentences share, and how a clause becomes a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from farreach.results.analysis.labels import DASH, NEVER, format_percent
from farreach.results.analysis.selection import SETTING
from farreach.results.timing.time_to_solve import TIMES
from farreach.results.vocabulary import NONE

MOST = 20
"""Rows that a sentence names; the tables have them all."""


def finish_sentence(clause: str) -> str:
    """Return a clause as a sentence: with a capital and a full stop."""
    return f"{clause[0].upper()}{clause[1:]}."


def write_count(number: object, thing: str, things: str = "") -> str:
    """Return ``1 case`` or ``3 cases``."""
    return f"{number} {thing}" if number == 1 else f"{number} {things or thing + 's'}"


def write_cores(cores: Any, granted: Any) -> str:
    """Return ``128 cores``, and how many of them a run might use where that is known and fewer."""
    known = not pd.isna(granted) and granted != cores
    return f"{cores} cores" + (f", of which {granted:.0f} were granted" if known else "")


def write_clip(kind: object, label: object) -> str:
    """Return ``without clipping`` or ``with norm 1``."""
    return "without clipping" if kind == NONE else f"with {label}"


def write_clipping(row: pd.Series[Any]) -> str:
    """Return which share of the steps of a line were clipped, in brackets; nothing without a clip."""
    if row["clip"] == NONE:
        return ""
    return f" ({NEVER})" if row["clip fraction"] == 0 else f" ({row['clipped']} of steps clipped)"


def write_share(share: float) -> str:
    """Return a share in percent, which may be negative."""
    return format_percent(share) if share >= 0 else f"-{format_percent(-share)}"


def write_list(rows: list[str]) -> str:
    """Return the first `MOST` rows, and how many more there are."""
    return "; ".join(rows[:MOST]) + (f", and {len(rows) - MOST} more" if len(rows) > MOST else "")


def write_limit(whole: pd.DataFrame, shown: pd.DataFrame, column: str = SETTING) -> str:
    """Return how many settings a picture shows of how many, for the end of its caption; nothing where it shows all."""
    count, of = (len(table[column].unique()) for table in (shown, whole))
    return "" if count == of else f" The first {count} of {of} settings; the table has all."


def write_time(row: Mapping[Any, Any]) -> str:
    """Return a time to solve with its ends: ``0.6 s (0.4 to 0.9)``, ``0.6 s (0.4 or more)``, ``not within 2 s``."""
    value, low, high, trained = (row[name] for name in TIMES)
    if pd.isna(value):
        return DASH
    said = f"not within {trained:.3g} s" if math.isinf(value) else f"{value:.3g} s"
    if pd.isna(low) or math.isinf(low):
        return said
    return f"{said} ({low:.3g} {'or more' if math.isinf(high) else f'to {high:.3g}'})"


def list_labels(values: pd.Series[Any]) -> list[str]:
    """Return the distinct values, in order where they have one."""
    present = [str(value) for value in values.unique()]
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return sorted(present)
    return [str(value) for value in values.cat.categories if str(value) in present]
