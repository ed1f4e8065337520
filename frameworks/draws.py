"""How a first weight is drawn, in NumPy: one function for each way, which `farreach.frameworks.layouts` names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Draw = Callable[[np.random.Generator, Sequence[int], int], Array]
"""From a generator, the shape of one block and the number of blocks along its last axis: the weight in float64."""


def draw_zeros(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Return zeros; nothing is drawn."""
    del random
    return np.zeros((*shape[:-1], shape[-1] * blocks))


def draw_ones(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Return ones; nothing is drawn."""
    del random
    return np.ones((*shape[:-1], shape[-1] * blocks))


def draw_normal(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Draw from normal(0, 1)."""
    return random.standard_normal((*shape[:-1], shape[-1] * blocks))


def draw_glorot(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Draw each block uniformly up to sqrt(6 / (fan in + fan out)) of its own (Glorot and Bengio, AISTATS 2010)."""
    limit = np.sqrt(6 / sum(shape))
    return np.hstack([random.uniform(-limit, limit, tuple(shape)) for _ in range(blocks)])


def draw_orthogonal(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Draw each block uniformly from the orthogonal matrices: QR with the signs of R's diagonal taken out."""
    return np.hstack([_draw_rotation(random, shape[0]) for _ in range(blocks)])


def _draw_rotation(random: np.random.Generator, size: int) -> Array:
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))
