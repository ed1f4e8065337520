"""Copying memory: repeat ten symbols after T steps in which nothing happens.

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

SYMBOLS = 8
REMEMBERED = 10
BLANK = 8
DELIMITER = 9


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """Ten symbols, T - 1 blanks, a delimiter, ten blanks in; T + 10 blanks and the ten symbols out.

    With three symbols instead of ten, T = 4, ``_`` for the blank and ``:`` for the delimiter::

        input   3 0 7 _ _ _ : _ _ _
        labels  _ _ _ _ _ _ _ 3 0 7

    The floor is 10 ln 8 / (T + 20) nats a step: a model without memory knows where the blanks are
    and guesses each of the ten symbols among eight.

    Attributes:
        T: Steps from the last symbol of the input to the delimiter, 1 to `base.LONGEST`.

    Raises:
        base.TaskError: T is not a whole number in that range.

    """

    T: int = 50

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "cross_entropy"
    unit: ClassVar[str] = "nats a step"
    metric: ClassVar[str] = "recall_accuracy"

    def __post_init__(self) -> None:
        base.require_whole("T", self.T, 1, base.LONGEST)

    @property
    def features(self) -> int:
        """Eight symbols, the blank and the delimiter, one-hot."""
        return SYMBOLS + 2

    @property
    def outputs(self) -> int:
        """Eight symbols and the blank."""
        return SYMBOLS + 1

    @property
    def length(self) -> int:
        """Return T + 20 steps."""
        return self.T + 2 * REMEMBERED

    @property
    def scored(self) -> int:
        """Every step counts, T + 20."""
        return self.length

    @property
    def recalled(self) -> int:
        """The ten symbols; the blanks before them need no memory."""
        return REMEMBERED

    @property
    def floor(self) -> float:
        """Return 10 ln 8 / (T + 20), in nats a step."""
        return REMEMBERED * math.log(SYMBOLS) / self.length

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, T + 20, 10] and targets [size, T + 20], without end.

        Ten symbols out of eight make only 2^30 sequences, so chance meets the evaluation set now
        and then: such a draw is made again.
        """
        random = base.generator("training", seed)
        held_out = _codes(_evaluation_symbols())
        while True:
            symbols = _draw(random, size)
            while (seen := np.isin(_codes(symbols), held_out)).any():
                symbols[seen] = _draw(random, int(seen.sum()))
            yield _batch(symbols, self.T)

    def evaluation(self) -> base.Batch:
        """Return the 1,000 fixed examples; their symbols are the same for every T."""
        return _evaluation(self.T)

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` and ``recall_accuracy``, the share of the ten symbols that are right."""
        del thorough  # nothing here is slow
        batch = self.evaluation()
        scores = base.in_batches(predict, batch.inputs)
        right = scores[:, -REMEMBERED:].argmax(axis=-1) == batch.targets[:, -REMEMBERED:]
        return {
            "loss": base.masked_mean(base.cross_entropy(scores, batch.targets), batch.mask),
            "recall_accuracy": float(right.mean()),
        }

    def solved(self, metrics: dict[str, float]) -> bool:
        """Solved is a recall accuracy of at least 0.99."""
        return metrics["recall_accuracy"] >= 0.99  # noqa: PLR2004 - the criterion itself


def _draw(random: np.random.Generator, rows: int) -> base.Array:
    return random.integers(0, SYMBOLS, (rows, REMEMBERED), dtype=np.int32)


def _codes(symbols: base.Array) -> base.Array:
    """Write each row of ten symbols as one integer in base eight."""
    return symbols.astype(np.int64) @ SYMBOLS ** np.arange(REMEMBERED)


def _batch(symbols: base.Array, delay: int) -> base.Batch:
    rows, length = len(symbols), delay + 2 * REMEMBERED
    tokens = np.full((rows, length), BLANK, np.int32)
    tokens[:, :REMEMBERED] = symbols
    tokens[:, REMEMBERED + delay - 1] = DELIMITER
    targets = np.full((rows, length), BLANK, np.int32)
    targets[:, -REMEMBERED:] = symbols
    return base.Batch(np.eye(SYMBOLS + 2, dtype=np.float32)[tokens], targets, np.ones((rows, length), np.float32))


@functools.cache
def _evaluation_symbols() -> base.Array:
    return _draw(base.generator("evaluation"), base.EVALUATION_EXAMPLES)


@functools.lru_cache(maxsize=4)
def _evaluation(delay: int) -> base.Batch:
    return _batch(_evaluation_symbols(), delay)
