"""Temporal order: in which order did two symbols, or three, come long ago among distractors?

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, tasks 6a and 6b; with these places
Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, section 4.1.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from farreach.tasks import base

SYMBOLS = 6
"""A and B, whose order is asked, are 0 and 1; the distractors c to f are 2 to 5."""

PRINTED = "10-20,40-50"
"""The windows as Pascanu et al. (2013) print them."""

WINDOWS = re.compile(r"\d{1,2}-\d{1,2}(,\d{1,2}-\d{1,2}){1,2}", re.ASCII)

SHORTEST = 10
"""Below this many steps there are so few sequences that the evaluation set would hold most of them."""


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """T symbols, two or three of them A or B; which they were, in order, comes out at the last step.

    Each stands in a window of its own; places are counted from 0, and each place and each symbol is equally likely.
    With T = 10 and the first at a place from 10 % to 20 % of T, the second from 40 % to 50 %, both ends included::

        input   d A c f e B f d c c
        label   AB, of AA, AB, BA and BB, at the last step

    Other windows that people cite: ``10-20,50-60`` is what the code of Pascanu et al. has (without the upper end of a
    window), and task 6a of Hochreiter and Schmidhuber (1997); ``10-20,33-43,66-76`` is their task 6b, with three
    symbols and eight classes. They draw lengths from 100 to 110 and put a symbol of its own at both ends; here every
    sequence has T steps and no such ends.

    The floor is n ln 2 nats for n windows: without memory each of the 2^n answers is as likely.

    Attributes:
        T: Number of steps, 10 to `base.LONGEST`; 10 steps make 2^17 sequences at least, of which the evaluation set
            holds a thousand back.
        windows: Two or three windows, ``LOW-HIGH`` in percent of T and separated by commas, in order and apart.

    Raises:
        base.TaskError: T is not a whole number in that range, or the windows are none, overlap, or hold no place.

    """

    T: int = 50
    windows: str = PRINTED

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "cross_entropy"
    unit: ClassVar[str] = "nats"
    metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        base.require_whole("T", self.T, SHORTEST, base.LONGEST)
        if type(self.windows) is not str or WINDOWS.fullmatch(self.windows) is None:
            message = f"windows is {self.windows!r}; it must be two or three windows in percent, such as {PRINTED!r}"
            raise base.TaskError(message)
        there = places(self.T, self.windows)
        if not all(there):
            message = f"windows is {self.windows!r}; each must be wide enough to hold a place among {self.T} steps"
            raise base.TaskError(message)
        if any(before[-1] >= after[0] for before, after in itertools.pairwise(there)):
            message = (
                f"windows is {self.windows!r}, which overlap at T = {self.T}; each must be behind the one before it"
            )
            raise base.TaskError(message)

    @property
    def features(self) -> int:
        """Six symbols, one-hot."""
        return SYMBOLS

    @property
    def outputs(self) -> int:
        """AA, AB, BA and BB, or with three windows AAA to BBB."""
        return int(2 ** len(places(self.T, self.windows)))

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
        """Return n ln 2 for n windows, in nats."""
        return math.log(self.outputs)

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, T, 6] and targets [size, 1], without end.

        A sequence that the evaluation set holds is drawn again.
        """
        draw = functools.partial(_draw, windows=places(self.T, self.windows), steps=self.T)
        for symbols in base.draw_apart(seed, size, draw, _evaluation_symbols(self)):
            yield _batch(symbols)

    def evaluation(self) -> base.Batch:
        """Return the 1,000 fixed examples of this T and these windows."""
        return _batch(_evaluation_symbols(self))

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` and ``accuracy``, the share of the sequences that are classified right."""
        del thorough  # nothing here is slow
        return base.classify(predict, self.evaluation(), "accuracy", self.scored)

    def solved(self, metrics: dict[str, float]) -> bool:
        """Solved is an accuracy of at least 0.99: Pascanu et al. (2013) ask for an error of 1 % or less."""
        return metrics["accuracy"] >= 0.99  # noqa: PLR2004 - the criterion itself


def places(steps: int, windows: str = PRINTED) -> list[range]:
    """Return where each symbol may stand in a sequence of `steps`, from 0."""
    ends = [map(int, window.split("-")) for window in windows.split(",")]
    return [range(-(-low * steps // 100), high * steps // 100 + 1) for low, high in ends]


def _draw(random: np.random.Generator, rows: int, windows: list[range], steps: int) -> base.Array:
    """Draw sequences of symbols, [rows, steps] int8: distractors, then A or B in each window."""
    symbols = random.integers(2, SYMBOLS, (rows, steps), dtype=np.int8)
    for window in windows:
        at = random.integers(window.start, window.stop, rows)
        symbols[np.arange(rows), at] = random.integers(0, 2, rows, dtype=np.int8)
    return symbols


def _batch(symbols: base.Array) -> base.Batch:
    rows = len(symbols)
    asked = symbols[symbols < 2].reshape(rows, -1)  # noqa: PLR2004 - A and B, in the order in which they came
    values = 2 ** np.arange(asked.shape[1])[::-1]
    targets = (asked @ values).astype(np.int32)[:, None]
    return base.Batch(np.eye(SYMBOLS, dtype=np.float32)[symbols], targets, np.ones((rows, 1), np.float32))


@functools.lru_cache(maxsize=4)
def _evaluation_symbols(task: Task) -> base.Array:
    return _draw(base.generator("evaluation"), base.EVALUATION_EXAMPLES, places(task.T, task.windows), task.T)
