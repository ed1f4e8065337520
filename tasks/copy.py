"""Copying memory: repeat some symbols after T steps in which nothing happens.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; in this form
Arjovsky, Shah and Bengio, "Unitary Evolution Recurrent Neural Networks", ICML 2016.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from farreach.tasks import base

ALPHABET = 8
"""The symbols are 0 to 7."""

BLANK = 8
DELIMITER = 9

FEWEST, MOST = 5, 100
"""How many symbols can be asked for: four make 4,096 sequences, of which the evaluation set would hold a quarter."""


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """Symbols, T - 1 blanks, a delimiter and as many blanks as symbols in; blanks, then the symbols out.

    With `symbols` = 3 (5 is the least that is allowed), T = 4, ``_`` for the blank and ``:`` for the delimiter::

        input   3 0 7 _ _ _ : _ _ _
        labels  _ _ _ _ _ _ _ 3 0 7

    With `delimiters` = 4 the input goes on with ``:`` while the symbols are asked for, ``3 0 7 _ _ _ : : : :``. Ten
    symbols and eleven delimiters are the task of Bai, Kolter and Koltun, "An Empirical Evaluation of Generic
    Convolutional and Recurrent Networks for Sequence Modeling", 2018.

    With `pair` the input is the same, and what comes before the delimiter is a source that an encoder may read whole;
    the symbols alone are labels, so that the floor is ln 8 nats a step::

        labels                _ 3 0 7, of which 3 0 7 are scored

    The floor, with n symbols, is n ln 8 / (T + 2n) nats a step: a model without memory knows where the blanks are,
    which costs it nothing, and guesses each of the n symbols among eight. The loss is a mean over all T + 2n steps.

    Attributes:
        T: Steps from the last symbol of the input to the delimiter, 1 to `base.LONGEST`.
        symbols: How many symbols must be remembered, 5 to 100.
        delimiters: How many delimiters in a row, 1 to `symbols` + 1.
        pair: Whether the symbols alone are scored, and what comes before the delimiter is a source.

    Raises:
        base.TaskError: A parameter is not a whole number in its range.

    """

    T: int = 50
    symbols: int = 10
    delimiters: int = 1
    pair: bool = False

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "cross_entropy"
    unit: ClassVar[str] = "nats a step"
    metric: ClassVar[str] = "recall_accuracy"

    def __post_init__(self) -> None:
        base.require_whole("T", self.T, 1, base.LONGEST)
        base.require_whole("symbols", self.symbols, FEWEST, MOST)
        base.require_whole("delimiters", self.delimiters, 1, self.symbols + 1)
        base.require_flag("pair", self.pair)

    @property
    def features(self) -> int:
        """Eight symbols, the blank and the delimiter, one-hot."""
        return ALPHABET + 2

    @property
    def outputs(self) -> int:
        """Eight symbols and the blank."""
        return ALPHABET + 1

    @property
    def length(self) -> int:
        """Return T + 2 `symbols` steps."""
        return self.T + 2 * self.symbols

    @property
    def scored(self) -> int:
        """Every step counts, T + 2 `symbols`; of a pair the last `symbols`."""
        return self.symbols if self.pair else self.length

    @property
    def source_steps(self) -> int:
        """Of a pair the T + `symbols` - 1 steps before the delimiter."""
        return self.length - self.symbols - 1 if self.pair else 0

    @property
    def recalled(self) -> int:
        """The symbols; the blanks before them need no memory."""
        return self.symbols

    @property
    def floor(self) -> float:
        """Return n ln 8 / (T + 2n), in nats a step, for n symbols; of a pair ln 8."""
        return self.symbols * math.log(ALPHABET) / self.scored

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, T + 2 symbols, 10] and targets [size, S], without end.

        n symbols out of eight make only 8^n sequences, so chance meets the evaluation set now and then: such a draw is
        made again.
        """
        draw = functools.partial(_draw, symbols=self.symbols)
        for symbols in base.draw_apart(seed, size, draw, _evaluation_symbols(self.symbols)):
            yield _batch(symbols, self)

    def evaluation(self) -> base.Batch:
        """Return the 1,000 fixed examples; their symbols are the same for every T."""
        return _evaluation(self)

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` and ``recall_accuracy``, the share of the symbols that are right."""
        del thorough  # nothing here is slow
        return base.classify(predict, self.evaluation(), "recall_accuracy", self.symbols)

    def solved(self, metrics: dict[str, float]) -> bool:
        """Solved is a recall accuracy of at least 0.99."""
        return metrics["recall_accuracy"] >= 0.99  # noqa: PLR2004 - the criterion itself


def _draw(random: np.random.Generator, rows: int, symbols: int) -> base.Array:
    return random.integers(0, ALPHABET, (rows, symbols), dtype=np.int32)


def _batch(symbols: base.Array, task: Task) -> base.Batch:
    rows, remembered = symbols.shape
    tokens = np.full((rows, task.length), BLANK, np.int32)
    tokens[:, :remembered] = symbols
    delimiter = remembered + task.T - 1
    tokens[:, delimiter : delimiter + task.delimiters] = DELIMITER
    targets = np.full((rows, task.length), BLANK, np.int32)
    targets[:, -remembered:] = symbols
    targets = targets[:, -task.scored :]
    return base.Batch(np.eye(ALPHABET + 2, dtype=np.float32)[tokens], targets, np.ones(targets.shape, np.float32))


@functools.lru_cache(maxsize=4)
def _evaluation_symbols(symbols: int) -> base.Array:
    return _draw(base.generator("evaluation"), base.EVALUATION_EXAMPLES, symbols)


@functools.lru_cache(maxsize=4)
def _evaluation(task: Task) -> base.Batch:
    return _batch(_evaluation_symbols(task.symbols), task)
