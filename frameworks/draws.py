"""How a first weight is drawn, in NumPy: one function for each way, which `farreach.frameworks.layouts` names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Draw = Callable[[np.random.Generator, Sequence[int], int], Array]
"""From a generator, the shape of one block and the number of blocks along its last axis: the weight in float64."""


RING = (0.9, 0.999)
"""The least and the largest size of an lru's eigenvalues at first, as the paper has it for long sequences."""


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


def draw_positions(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Draw from normal(0, 0.1): smaller than embedded tokens, so that what a step holds is seen before where it is."""
    return 0.1 * draw_normal(random, shape, blocks)


def draw_glorot(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Draw each block uniformly up to sqrt(6 / (fan in + fan out)) of its own (Glorot and Bengio, AISTATS 2010)."""
    limit = np.sqrt(6 / sum(shape))
    return np.hstack([random.uniform(-limit, limit, tuple(shape)) for _ in range(blocks)])


def draw_orthogonal(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Draw each block uniformly from the orthogonal matrices: QR with the signs of R's diagonal taken out."""
    return np.hstack([_draw_rotation(random, shape[0]) for _ in range(blocks)])


def draw_uniform(random: np.random.Generator, shape: Sequence[int], blocks: int, *, most: float) -> Array:
    """Draw uniformly from 0 to `most`."""
    return random.uniform(0, most, (*shape[:-1], shape[-1] * blocks))


def draw_half(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Draw one part of complex numbers, normal with variance 1 / (2 fan in) (Orvieto et al., ICML 2023)."""
    return np.asarray(random.standard_normal((*shape[:-1], shape[-1] * blocks)) / np.sqrt(2 * shape[0]))


def draw_ring(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Draw nu of an lru: exp(-exp(nu)), the size of an eigenvalue, is uniform in area on the ring `RING`.

    Source: Orvieto et al., ICML 2023, lemma 3.2.
    """
    least, most = RING
    share = random.uniform(size=(*shape[:-1], shape[-1] * blocks))
    return np.asarray(np.log(-0.5 * np.log(share * (most**2 - least**2) + least**2)))


def draw_phases(random: np.random.Generator, shape: Sequence[int], blocks: int) -> Array:
    """Draw theta of an lru: exp(theta), the angle of an eigenvalue, is uniform from 0 to 2 pi."""
    return np.asarray(np.log(2 * np.pi * (1 - random.uniform(size=(*shape[:-1], shape[-1] * blocks)))))


def _draw_rotation(random: np.random.Generator, size: int) -> Array:
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))
