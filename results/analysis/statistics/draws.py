"""Quasi-random draws: points that fill a space more evenly than random ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray


def draw_halton(count: int, axes: int, seeds: Sequence[int]) -> NDArray[np.float64]:
    """Return the first points of a scrambled Halton sequence, [count, axes], each number from 0 up to 1.

    Source: Halton, Numerische Mathematik 2, 1960; scrambled as Owen, arXiv 1706.02808, 2017 (`scipy.stats.qmc`).
    """
    engine = scipy.stats.qmc.Halton(axes, rng=np.random.default_rng([*seeds]))
    points: NDArray[np.float64] = engine.random(count)
    return points
