"""Curves of many steps, thinned: of each hundredth of the run the quantiles, and the count of clipped steps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa

from farreach.results.storage.packed_set import THINNED
from farreach.results.storage.parts import COUNTS, CURVES

LONGEST = 5_000
"""Steps of the longest curves that are kept whole where long ones are thinned."""

STRETCHES = 100
"""Parts of a run of each of which a thinned curve keeps `QUANTILES`."""

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def thin_curves(table: pa.Table) -> pa.Table:
    """Return curves thinned: of each of `STRETCHES` parts of the run the quantiles of every column, as lines.

    The quantiles are values that occurred, and what is no number counts as the largest. The steps of a part and those
    on which the clip acted are counted in its first line; ``clipped`` is their mean share, in each of its lines.
    """
    columns = {name: table[name].to_numpy() for name in CURVES}
    ends = np.linspace(0, len(table), STRETCHES + 1).astype(int)
    lines: dict[str, list[Any]] = {name: [] for name in (*CURVES, *THINNED)}
    for start, stop in itertools.pairwise(ends):
        places = np.round(np.array(QUANTILES) * (stop - start - 1)).astype(int)
        clipped = columns["clipped"][start:stop]
        for name in CURVES[:-1]:
            lines[name].extend(np.sort(columns[name][start:stop])[places].tolist())
        rest = [0] * (len(QUANTILES) - 1)
        lines["clipped"].extend([float(clipped.mean())] * len(QUANTILES))
        lines["steps"].extend([int(stop - start), *rest])
        lines["events"].extend([int((clipped > 0).sum()), *rest])
    return pa.table(
        {name: pa.array(values, pa.int64()) if name in COUNTS else values for name, values in lines.items()}
    )
