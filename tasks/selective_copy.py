"""Selective copying: repeat, in order, the symbols that stood scattered among blanks.

Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, section 4.1.1; before it Jing et
al., "Gated Orthogonal Recurrent Units: On Learning to Forget", 2017, as the denoise task.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from farreach.tasks import base

LARGEST = 64
"""The most tokens: the inputs are one-hot."""


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """T steps, `symbols` of them a symbol and the others blank, then as many cues; the symbols come out at the cues.

    With T = 8, `symbols` = 3, ``_`` for the blank and ``?`` for the cue::

        input   _ 3 _ _ 0 7 _ _ ? ? ?
        labels                  3 0 7

    The places are any, each choice of them equally likely; each symbol is any of `vocabulary` - 2. The model must keep
    what matters and pass over the rest, whose length differs from sequence to sequence.

    The floor is ln(`vocabulary` - 2) nats a symbol: without memory each of the symbols is as likely.

    Gu and Dao have T = 4,096, `symbols` = 16 and `vocabulary` = 16.

    Attributes:
        T: Steps among which the symbols are scattered, 2 to `base.LONGEST`.
        symbols: How many symbols must be remembered, 1 to T.
        vocabulary: Number of tokens: the symbols, the blank and the cue; 4 to 64.

    Raises:
        base.TaskError: A parameter is not a whole number in its range, or makes fewer sequences than
            `base.FEWEST_SEQUENCES`.

    """

    T: int = 50
    symbols: int = 5
    vocabulary: int = 10

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "cross_entropy"
    unit: ClassVar[str] = "nats a symbol"
    metric: ClassVar[str] = "recall_accuracy"

    def __post_init__(self) -> None:
        base.require_whole("T", self.T, 2, base.LONGEST)
        base.require_whole("symbols", self.symbols, 1, self.T)
        base.require_whole("vocabulary", self.vocabulary, 4, LARGEST)
        base.require_sequences("T", self.T, math.comb(self.T, self.symbols) * self.outputs**self.symbols)

    @property
    def features(self) -> int:
        """The symbols, then the blank and the cue, one-hot."""
        return self.vocabulary

    @property
    def outputs(self) -> int:
        """The symbols; the blank and the cue are never asked for."""
        return self.vocabulary - 2

    @property
    def length(self) -> int:
        """Return T + `symbols` steps."""
        return self.T + self.symbols

    @property
    def scored(self) -> int:
        """The steps of the cues, `symbols` of them."""
        return self.symbols

    @property
    def floor(self) -> float:
        """Return ln(`vocabulary` - 2), in nats a symbol."""
        return math.log(self.outputs)

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, T + symbols, vocabulary] and targets [size, symbols], without end.

        A sequence that the evaluation set holds is drawn again.
        """
        draw = functools.partial(_draw, task=self)
        for tokens in base.draw_apart(seed, size, draw, _evaluation_tokens(self)):
            yield _batch(tokens, self)

    def evaluation(self) -> base.Batch:
        """Return the 1,000 fixed examples of these parameters."""
        return _batch(_evaluation_tokens(self), self)

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` and ``recall_accuracy``, the share of the symbols that are right."""
        del thorough  # nothing here is slow
        return base.classify(predict, self.evaluation(), "recall_accuracy", self.scored)

    def solved(self, metrics: dict[str, float]) -> bool:
        """Solved is a recall accuracy of at least 0.99."""
        return metrics["recall_accuracy"] >= 0.99  # noqa: PLR2004 - the criterion itself


def _draw(random: np.random.Generator, rows: int, task: Task) -> base.Array:
    """Draw what stands before the cues, [rows, T] int16: symbols from 0, the blank above them."""
    blank = task.outputs
    tokens = np.full((rows, task.T), blank, np.int16)
    places = random.random((rows, task.T)).argpartition(task.symbols - 1, axis=1)[:, : task.symbols]
    symbols = random.integers(0, blank, (rows, task.symbols), dtype=np.int16)
    np.put_along_axis(tokens, places, symbols, axis=1)
    return tokens


def _batch(tokens: base.Array, task: Task) -> base.Batch:
    blank, cue = task.outputs, task.outputs + 1
    targets = tokens[tokens != blank].reshape(len(tokens), task.symbols).astype(np.int32)
    whole = np.pad(tokens, ((0, 0), (0, task.symbols)), constant_values=cue)
    return base.Batch(np.eye(task.features, dtype=np.float32)[whole], targets, np.ones(targets.shape, np.float32))


@functools.lru_cache(maxsize=4)
def _evaluation_tokens(task: Task) -> base.Array:
    return _draw(base.generator("evaluation"), base.EVALUATION_EXAMPLES, task)
