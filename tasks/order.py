"""Temporal order: in which order did two symbols come, long ago among distractors?

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, task 6a; with these places
Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, section 4.1.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from farreach.tasks import base

SYMBOLS = 6
"""A and B, whose order is asked, are 0 and 1; the distractors c to f are 2 to 5."""

WINDOWS = ((1, 2), (4, 5))
"""Tenths of the sequence between which the first and the second symbol stand, both ends included."""

SHORTEST = 10
"""Below this many steps there are so few sequences that the evaluation set would hold most of them."""


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """T symbols, two of them A or B; which of AA, AB, BA and BB it was comes out at the last step.

    The first stands at a place from T/10 to 2T/10, the second from 4T/10 to 5T/10, places counted from
    0, each place and each symbol equally likely. With T = 10::

        input   d A c f e B f d c c
        label   AB, at the last step

    The floor is ln 4 nats: without memory each of the four is as likely.

    Attributes:
        T: Number of steps, 10 to `base.LONGEST`. From 5 on both windows hold a place and lie apart; 10 steps make 2^20
            sequences, of which the evaluation set holds a thousandth back.

    Raises:
        base.TaskError: T is not a whole number in that range.

    """

    T: int = 50

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "cross_entropy"
    unit: ClassVar[str] = "nats"
    metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        base.require_whole("T", self.T, SHORTEST, base.LONGEST)

    @property
    def features(self) -> int:
        """Six symbols, one-hot."""
        return SYMBOLS

    @property
    def outputs(self) -> int:
        """AA, AB, BA and BB."""
        return 4

    @property
    def length(self) -> int:
        """Return T steps."""
        return self.T

    @property
    def scored(self) -> int:
        """The last step alone."""
        return 1

    @property
    def floor(self) -> float:
        """Return ln 4, in nats."""
        return math.log(4)

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, T, 6] and targets [size, 1], without end.

        A sequence that the evaluation set holds is drawn again.
        """
        random = base.generator("training", seed)
        held_out = _held_out(self.T)
        while True:
            symbols = _draw(random, size, self.T)
            while seen := [row for row in range(size) if symbols[row].tobytes() in held_out]:
                symbols[seen] = _draw(random, len(seen), self.T)
            yield _batch(symbols)

    def evaluation(self) -> base.Batch:
        """Return the 1,000 fixed examples of this T."""
        return _batch(_evaluation_symbols(self.T))

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` and ``accuracy``, the share of the sequences that are classified right."""
        del thorough  # nothing here is slow
        batch = self.evaluation()
        scores = base.in_batches(predict, batch.inputs)
        return {
            "loss": base.masked_mean(base.cross_entropy(scores, batch.targets), batch.mask),
            "accuracy": float((scores.argmax(axis=-1) == batch.targets).mean()),
        }

    def solved(self, metrics: dict[str, float]) -> bool:
        """Solved is an accuracy of at least 0.99: Pascanu et al. (2013) ask for an error of 1 % or less."""
        return metrics["accuracy"] >= 0.99  # noqa: PLR2004 - the criterion itself


def places(steps: int) -> tuple[range, range]:
    """Return where the first and where the second symbol may stand in a sequence of `steps`, from 0."""
    first, second = (range(-(-low * steps // 10), high * steps // 10 + 1) for low, high in WINDOWS)
    return first, second


def _draw(random: np.random.Generator, rows: int, steps: int) -> base.Array:
    """Draw sequences of symbols, [rows, steps] int8: distractors, then A or B at the two places."""
    symbols = random.integers(2, SYMBOLS, (rows, steps), dtype=np.int8)
    for window in places(steps):
        at = random.integers(window.start, window.stop, rows)
        symbols[np.arange(rows), at] = random.integers(0, 2, rows, dtype=np.int8)
    return symbols


def _batch(symbols: base.Array) -> base.Batch:
    rows = len(symbols)
    asked = symbols[symbols < 2].reshape(rows, 2)  # noqa: PLR2004 - A and B, in the order in which they came
    targets = (2 * asked[:, :1] + asked[:, 1:]).astype(np.int32)
    return base.Batch(np.eye(SYMBOLS, dtype=np.float32)[symbols], targets, np.ones((rows, 1), np.float32))


@functools.lru_cache(maxsize=4)
def _evaluation_symbols(steps: int) -> base.Array:
    return _draw(base.generator("evaluation"), base.EVALUATION_EXAMPLES, steps)


@functools.lru_cache(maxsize=4)
def _held_out(steps: int) -> frozenset[bytes]:
    return frozenset(row.tobytes() for row in _evaluation_symbols(steps))
