"""How the learning rate changes over a training: the one place where every framework has it from, in float64."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What the learning rate is multiplied by at an update that comes after k others, k = 0, 1, ..., steps - 1.

    ``cosine`` (Loshchilov & Hutter 2017, one cycle after a linear warm-up)::

        k / warmup                                                               while k < warmup
        end + (1 - end) (1 + cos(pi (k - warmup) / (steps - warmup))) / 2        from then on

    ``step``: factor ** floor(k / every). A constant rate is the absence of a Schedule. k counts from 0, as the
    frameworks' own schedules have it: the first update of a warm-up has the rate 0, the whole rate is that of
    k = warmup, and the last update's lies a little above the end. `steps` are those that the case plans, whether or not
    it ends before.

    Attributes:
        kind: ``cosine`` or ``step``.
        steps: of the whole training.
        warmup: of ``cosine``, the updates before the whole rate; 0 for none.
        end: of ``cosine``, the share of the rate that it falls to, 0 to 1; 1 keeps the whole rate after the warm-up.
        every: of ``step``, the updates between two changes.
        factor: of ``step``, what the rate is multiplied by at each, above 0 and below 1.

    """

    kind: Literal["cosine", "step"]
    steps: int
    warmup: int = 0
    end: float = 0.0
    every: int = 1
    factor: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no schedule."""
        message = ""
        if not 0 <= self.warmup < self.steps:
            message = f"warmup must be a whole number from 0 to below steps ({self.steps}), not {self.warmup}"
        elif not 0 <= self.end <= 1:
            message = f"rate_end must be a number from 0 to 1, not {self.end}"
        elif self.every < 1:
            message = f"rate_every must be a whole number of at least 1, not {self.every}"
        elif not 0 < self.factor < 1:
            message = f"rate_factor must be a number above 0 and below 1, not {self.factor}"
        if message:
            raise ValueError(message)

    def list_factors(self, done: int, count: int) -> NDArray[Any]:
        """Return the factors of `count` updates that come after `done` others, [count] in float64."""
        at = np.arange(done, done + count, dtype=np.float64)
        if self.kind == "step":
            return np.power(self.factor, at // self.every)
        share = np.clip((at - self.warmup) / (self.steps - self.warmup), 0, 1)
        fall = self.end + (1 - self.end) * (1 + np.cos(np.pi * share)) / 2
        return np.where(at < self.warmup, at / max(self.warmup, 1), fall)
