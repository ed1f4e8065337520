"""One update in parts, clipped by a framework's own tools: what reaches the optimizer.

``own_updates.py`` of a framework's folder lists set-ups as its documentation and its users have them: several
replicas, accumulated microbatches, a scaled loss, parts that count unlike. Each trains one dense layer, two inputs to
one output, all zeros, by plain gradient descent at learning rate 1: minus the weights after one update are the
gradient that reached the optimizer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from farreach.frameworks.base import Array

REPLICAS, ACCUMULATION, SCALE, COUNTS = "replicas", "accumulation", "loss scale", "counts"
"""What an update is in parts by, a topic each."""

THRESHOLD = 1.0

LOSS_SCALE = 2.0**16
"""By what a loss is multiplied where it is scaled: the default of PyTorch's GradScaler and of Flax's DynamicScale."""

INPUTS = np.array([[3, 0], [0, 1]], np.float32)
"""The inputs [part, feature] of two parts of a batch, one sequence each. The loss is twice the mean of the outputs, so
that the gradients of kernel and bias are (6, 0), 2 and (0, 2), 2, and those of the whole batch (3, 1), 2."""

UNEVEN = (np.array([[3, 0], [3, 0], [3, 0]], np.float32), np.array([[0, 1], [5, 5], [5, 5]], np.float32))
"""The inputs of two parts of which the second counts its first row alone."""

MASKS = np.array([[1, 1, 1], [1, 0, 0]], np.float32)
"""Which rows of `UNEVEN` count [part, row]."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Which process of several this is.

    Attributes:
        rank: its number, from 0.
        addresses: ``127.0.0.1:PORT`` of each, all free when the processes were started.

    """

    rank: int
    addresses: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class OwnUpdate:
    """One set-up.

    Attributes:
        topic: what the update is in parts by.
        name: what its user writes.
        clip: the kind of clip that is asked for: ``norm``, ``variable``, ``value`` or ``none``.
        run: makes the update; returns the gradient that reached the optimizer, kernel and bias, [3].
        processes: how many run it.
        needs: packages beside the framework's own.
        environment: variables that its processes start with.

    """

    topic: str
    name: str
    clip: str
    run: Callable[[Place], Array]
    processes: int = 1
    needs: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def list_gradients(topic: str) -> Array:
    """Return the whole batch's gradient of kernel and bias, [3], which one process would clip."""
    if topic == COUNTS:
        rows, counted = np.concatenate(UNEVEN), MASKS.reshape(-1).astype(bool)
        return np.array([*2.0 * rows[counted].mean(0), 2.0])
    return np.array([*2.0 * INPUTS.mean(0), 2.0])
