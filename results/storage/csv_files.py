"""CSV files, which people open in a spreadsheet: no text in them is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api import types

from farreach.results.storage.files import write_text
from farreach.results.storage.sanitising import clean_text

FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""How a cell begins that a spreadsheet takes for a formula; some take the wide forms of the signs for one too."""


def write_csv(path: Path, frame: pd.DataFrame, **ways: Any) -> None:
    """Write a table as `format_csv` has it."""
    write_text(path, format_csv(frame, **ways))


def format_csv(frame: pd.DataFrame, **ways: Any) -> str:
    """Return a table as CSV: clean, since it is looked at on a terminal, and without formulas; numbers stay numbers."""
    shown = frame.set_axis([quote_formula(name) for name in frame], axis="columns")
    for at, kind in enumerate(frame.dtypes):
        if not (types.is_numeric_dtype(kind) or types.is_bool_dtype(kind)):
            shown.isetitem(at, frame.iloc[:, at].astype(object).map(quote_formula).to_numpy(object))
    return clean_text(shown.to_csv(index=False, **ways))


def quote_formula(value: Any) -> Any:
    """Return a text with an apostrophe before it where a spreadsheet would run it; what is a number is no text."""
    if not isinstance(value, str) or not FORMULA.match(value):
        return value
    try:
        [float(part) for part in value.split()]  # of a history a list of them
    except ValueError:
        return f"'{value}"
    return value
