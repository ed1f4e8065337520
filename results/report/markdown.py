"""Tables and text as GitHub's Markdown, with everything escaped that would otherwise be markup."""

from __future__ import annotations

import re

import pandas as pd

from farreach.results.analysis.labels import DASH
from farreach.results.storage.sanitising import clean_text


def escape(value: object) -> str:
    """Return text that Markdown shows as it is, on one line, also inside a table's cell."""
    text = clean_text(str(value)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\|`*_\[\]~$#])", r"\\\1", text)
    return " ".join(text.split())


MOST = 1_000
"""Lines of a table that a text shows; the CSV file of the same table has all."""


def table(frame: pd.DataFrame, *, empty: str = "Nothing to show.") -> str:
    """Return a DataFrame as a Markdown table: numbers to three figures and to the right, gaps as a dash."""
    if frame.empty:
        return f"{empty}\n"
    if len(frame) > MOST:
        return f"{table(frame.head(MOST))}\nThe first {MOST:,} of {len(frame):,} lines; the CSV file has all.\n"
    right = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame]
    lines = [
        [escape(name) for name in frame],
        ["---:" if one else "---" for one in right],
        *([cell(value) for value in row] for row in frame.itertuples(index=False)),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: object) -> str:
    """Return one value of a table, escaped."""
    return escape(plain(value))


def plain(value: object) -> str:
    """Return one value of a table as text: a number to three figures, a gap as a dash."""
    if value is None or (isinstance(value, float) and pd.isna(value)) or value is pd.NA:
        return DASH
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(_format_large(value))  # noqa: PLR2004


def code(text: str) -> str:
    """Return text as inline code, whatever backticks it holds."""
    text = clean_text(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if len(fence) > 1 else ""
    return fence + pad + " ".join(text.split()) + pad + fence


def _format_large(value: object) -> object:
    """Return a large float without a fraction, or with an exponent where it is very large."""
    if not isinstance(value, float):
        return value
    return f"{value:.0f}" if abs(value) < 1e9 else f"{value:.2e}"  # noqa: PLR2004
