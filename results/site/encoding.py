"""How tables travel: into the page as JSON, and beside it as Parquet."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis.labels import DASH
from farreach.results.site.tables import Table
from farreach.results.storage.files import write_file
from farreach.results.storage.sanitising import clean_text

DIGITS = 6
"""Significant figures that travel into the page."""


def write_tables(folder: Path, made: list[Table]) -> None:
    """Write the data of tables as Parquet, one file a source."""
    for source, frame in {one.source: one.frame for one in made}.items():
        shown = _flatten(frame)
        write_file(
            folder / f"{source}.parquet",
            functools.partial(shown.to_parquet, compression="zstd", index=False),
            flush=False,
        )


def encode_tables(made: list[Table]) -> dict[str, Any]:
    """Return the tables as the page reads them, and each source's data once: text as codes, numbers rounded."""
    used: dict[str, dict[str, pd.Series[Any]]] = {}
    for one in made:
        shown = one.head
        names = [
            getattr(column, name) for column in one.columns for name in ("key", "low", "high", "of", "best", "word")
        ]
        names += [name for filtered in one.filters.values() for name in filtered]
        names += [str(name) for name in shown] if one.opens == "facts" else []
        used.setdefault(one.source, {}).update({name: shown[name] for name in names if name})
    columns = [
        [{name: value for name, value in dataclasses.asdict(column).items() if value} for column in one.columns]
        for one in made
    ]
    plain = ("name", "title", "source", "opens", "filters", "series")
    return {
        "tables": [
            {name: getattr(one, name) for name in plain} | {"columns": shown, "count": len(one.head)}
            for one, shown in zip(made, columns, strict=True)
        ],
        "sources": {
            source: {name: encode_column(values) for name, values in found.items()} for source, found in used.items()
        },
    }


def encode_column(values: pd.Series[Any]) -> dict[str, Any]:
    """Return a column as the page reads it."""
    if len(values) and isinstance(values.iloc[0], list):
        return {"values": [[round_number(float(one)) for one in several] for several in values]}
    if pd.api.types.is_bool_dtype(values):
        return {"values": [int(one) for one in values.fillna(value=False)]}
    if pd.api.types.is_numeric_dtype(values):
        return {"values": [round_number(one) for one in values.astype(float)]}
    if isinstance(values.dtype, pd.CategoricalDtype) and values.notna().all():
        values = values.cat.remove_unused_categories()
        return {"codes": values.cat.codes.tolist(), "words": [clean_text(str(word)) for word in values.cat.categories]}
    codes, words = pd.factorize(values.astype(object).where(values.notna(), DASH).astype(str), use_na_sentinel=False)
    return {"codes": codes.tolist(), "words": [clean_text(str(word)) for word in words]}


def round_number(value: float, digits: int = DIGITS) -> float | int | None:
    """Return a number to so many significant figures, None where it is not finite."""
    if not np.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short  # noqa: PLR2004


def make_plain(value: Any) -> Any:
    """Return a value as JSON has it: NumPy's numbers as Python's and rounded, what is missing or not finite as None."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round_number(value, 6)
    return value if isinstance(value, int | bool) else clean_text(str(value))


def _flatten(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table as Parquet takes it: categories as text, without what only the page needs."""
    lists = {name for name in frame if len(frame) and isinstance(frame[name].iloc[0], list)}
    shown = frame[[name for name in frame if name != "keys"]].copy()
    for name in [one for one in shown if one not in lists and not pd.api.types.is_numeric_dtype(shown[one])]:
        values = shown[name]
        if isinstance(values.dtype, pd.CategoricalDtype):
            shown[name] = values.cat.rename_categories(str).astype(object)
        elif not isinstance(values.dtype, pd.StringDtype):
            shown[name] = values.astype(str).astype(object).where(values.notna(), None)
    return shown
