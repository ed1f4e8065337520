"""What lies beside the row of a case: the declared columns of each part, and how a table of other types becomes one.

curves        per training step: step, loss, norm_before, norm_after, clipped; and what `OPTIONAL` and `PART` name
evaluations   per evaluation: step, loss and the task's metrics
flow          per training step probed, layer and time step: norms of dL/dh_t and dL/dc_t, and of dL/dx_t
spectra       per training step probed, layer and gate: spectral radius, largest singular value
"""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pandas as pd
import pyarrow as pa

from farreach.results.record import FLOW, INPUT, SPECTRA
from farreach.results.storage.parquet import TEXT

PARTS = ("curves", "evaluations", "flow", "spectra")
"""What lies beside the row of a case, one Parquet file each."""

NEEDED = ("curves", "evaluations")
"""The parts without which a case of a suite is not whole; the others came later."""

CURVES = ("step", "loss", "norm_before", "norm_after", "clipped")

COLUMNS = {"curves": CURVES, "evaluations": ("step", "loss"), "flow": FLOW, "spectra": SPECTRA}
"""The columns that each part has; evaluations have the task's metrics besides."""

DIVIDED = ("norm_reduced", "cosine")
"""Further columns of curves whose updates were made in parts: the norm of the sum of the parts' gradients before any
clip, and the cosine of the angle between that sum and what the clip left."""

PART = re.compile(r"norm_part(\d|[1-5]\d|6[0-3])")
"""And of each part, by its number from 0, the norm of its weighted gradient before the clip; of the first 64 parts."""

SCALED = ("skipped", "scale")
"""Further columns of curves whose loss was scaled: 1 where the update was left out, and by what the loss was
multiplied."""

OPTIONAL = {"curves": ("steps", "events", *DIVIDED, *SCALED), "flow": (INPUT,)}
"""The columns that a part may have besides: of curves that were thinned (steps, events), of updates in parts and of a
scaled loss, and of flows since they are of the input."""

COUNTS = {"step", "layer", "time", "steps", "events"}
"""The columns that are whole numbers; ``gate`` is a text, all others are floats."""


def declare_column(name: str) -> pa.Field:
    """Return the declared type of a column of any part."""
    return pa.field(name, pa.int64() if name in COUNTS else TEXT if name == "gate" else pa.float64())


def is_optional(part: str, name: str) -> bool:
    """Return whether a part may have a column that is not among its `COLUMNS`; evaluations may have any."""
    return name in OPTIONAL.get(part, ()) or (part == "curves" and PART.fullmatch(name) is not None)


def arrange_part(part: str, table: pa.Table) -> pa.Table:
    """Return a part with its declared columns and types; raise Arrow's error where a column is missing or odd.

    Evaluations keep what other columns there are, the metrics; of the other parts those alone are kept that are
    declared. What a file says of a case without lines does not matter.
    """
    if part == "evaluations":
        names = [*dict.fromkeys([*COLUMNS[part], *table.column_names])]
    else:
        names = [*COLUMNS[part], *(name for name in table.column_names if is_optional(part, name))]
        names = [*dict.fromkeys(names)]
    schema = pa.schema([declare_column(name) for name in names])
    if not len(table):
        return schema.empty_table()
    return pa.table([_cast_column(table, field) for field in schema], schema=schema)


def make_part(part: str, frame: pd.DataFrame) -> pa.Table:
    """Return a frame of a part as `arrange_part` does."""
    return arrange_part(part, pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None))


def hash_curves(table: pa.Table) -> str:
    """Return the SHA-256 of curves: of the bits of their columns, one after the other."""
    digest = hashlib.sha256()
    for name in CURVES:
        digest.update(np.ascontiguousarray(table[name].to_numpy()).tobytes())
    return digest.hexdigest()


def _cast_column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    column = table.column(field.name)
    if pa.types.is_dictionary(field.type):
        return column.cast(pa.string()).dictionary_encode().cast(field.type)
    return column.cast(field.type)
