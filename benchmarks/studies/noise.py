"""What the study of coverage draws: values whose middle is known, alone or each like the one before."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

Values = NDArray[Any]

SPIKE, SPIKED = 8.0, 0.1
"""How far a spike lies from the rest, in standard deviations, and the share of the values that are spiked."""


@dataclasses.dataclass(frozen=True)
class Noise:
    """A distribution.

    Attributes:
        name: in words.
        shape: turns standard normal values into its own, which are as alike as these; it is given the stream too.
        middle: between these two lies every median.
        share: of ones, where the values are 0 and 1.

    """

    name: str
    shape: Callable[[Values, np.random.Generator], Values]
    middle: tuple[float, float] = (0.0, 0.0)
    share: float = math.nan

    def draw(self, random: np.random.Generator, *shape: int, correlation: float = 0.0) -> Values:
        """Return values, each correlated with the one before it along the last axis."""
        fresh = random.normal(size=shape)
        if correlation:
            fresh[..., 1:] *= math.sqrt(1 - correlation**2)
            fresh = scipy.signal.lfilter([1.0], [1.0, -correlation], fresh, axis=-1)
        return self.shape(np.asarray(fresh), random)

    def draw_pairs(self, random: np.random.Generator, *shape: int, correlation: float = 0.0) -> Values:
        """Return differences of two sides that are drawn alike."""
        first, second = (self.draw(random, *shape, correlation=correlation) for _ in range(2))
        return np.asarray(first - second)


def _spike(values: Values, random: np.random.Generator) -> Values:
    return np.asarray(values + SPIKE * (random.random(values.shape) < SPIKED))


def _thicken(values: Values, random: np.random.Generator) -> Values:
    """Turn standard normal values into Student's t with two degrees, by its quantiles."""
    del random
    below, above = scipy.special.ndtr(values), scipy.special.ndtr(-values)
    return np.asarray((below - above) / np.sqrt(2 * below * above))


def _bound(values: Values, random: np.random.Generator) -> Values:
    del random
    return 1 - np.minimum(1, 0.05 * np.exp(1.5 * values))


NORMAL = Noise("normal", lambda values, _: values)
HEAVY = Noise("t with 2 degrees", _thicken)
_SPIKED_MIDDLE = float(scipy.special.ndtri(0.5 / (1 - SPIKED)))
SPIKES = Noise("10 % spikes", _spike, (_SPIKED_MIDDLE, _SPIKED_MIDDLE))
NEAR_ONE = Noise("bounded, near 1", _bound, (0.95, 0.95))
TIES = Noise("ties", lambda values, _: np.round(values))
PLAIN = (NORMAL, HEAVY, SPIKES)


def make_coin(share: float) -> Noise:
    """Return ones with this probability, else zeros."""
    middle = (float(share > 0.5), float(share >= 0.5))  # noqa: PLR2004 - at a half every value between is a median
    return Noise(
        f"0/1, p = {share:g}", lambda values, _: 1.0 * (values < scipy.special.ndtri(share)), middle, share=share
    )


COINS = tuple(map(make_coin, (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)))
EVERY = (*PLAIN, NEAR_ONE, TIES, *COINS)
