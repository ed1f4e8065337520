"""What counts as one: the seed. Everything that shares a seed is one witness, whatever else differs.

A seed draws the first weights and the training data, so that frameworks, cells, clips, lengths, modes and permuted
replicates that share it are not independent. Whatever counts seeds, bounds something over seeds or tests it asks here.
"""

from __future__ import annotations

from typing import Any

import pandas as pd


def count_seeds(rows: pd.DataFrame) -> int:
    """Return how many distinct seeds some rows have."""
    return int(rows["seed"].nunique())


def average_by_seed(rows: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return one value per seed, by seed: the mean of what is known of a column over all rows that share the seed."""
    known = rows.loc[rows[column].notna(), ["seed", column]]
    means: pd.Series[Any] = known.assign(**{column: known[column].astype(float)}).groupby("seed")[column].mean()
    return means


def hold_by_seed(rows: pd.DataFrame, column: str) -> pd.Series[bool]:
    """Return one answer per seed, by seed: whether a column is true in every row that shares the seed and knows it."""
    known = rows.loc[rows[column].notna(), ["seed", column]]
    held: pd.Series[bool] = known.assign(**{column: known[column].astype(bool)}).groupby("seed")[column].all()
    return held
