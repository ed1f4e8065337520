"""Multi-query associative recall: keys and values, then some of the keys again; say the value of each.

Arora et al., "Zoology: Measuring and Improving Recall in Efficient Language Models", ICLR 2024.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from farreach.tasks import base

BLANK = 0
FEWEST_ENTRIES, MOST_ENTRIES = 6, 32_000


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """`pairs` of a key and its value, `delay` blanks, then `queries` of the keys; at each its value comes out.

    With `vocabulary` = 12, `pairs` = 3, `delay` = 2, `queries` = 2 and ``_`` for the blank, token 0::

        input   4 8 2 11 5 7 _ _ 2  4
        labels                   11 8

    The lower half of the tokens but the blank are keys, here 1 to 5, the upper half values, here 6 to 11. The keys of a
    sequence differ, and so do its values; no key is asked for twice. This is the task of Arora et al. but for one
    thing: there the queries stand scattered behind the pairs, most of them near, by a power law. Here they are the last
    steps, so that `delay` says how far back the pairs lie.

    The floor is ln V nats a query for V values: without memory each value is as likely, since a key says nothing of its
    value. A model that remembers which values there were, but not whose, has a loss of ln `pairs`: a skill above 0, and
    a recall accuracy of 1 / `pairs`.

    Attributes:
        pairs: Keys and values of a sequence, 1 to the number of keys, `vocabulary` / 2 - 1.
        queries: How many of the keys are asked for, 1 to `pairs`; 0 is all of them.
        delay: Blanks between the last pair and the first query, 0 to `base.LONGEST`.
        vocabulary: Number of tokens: the blank, keys and values; 6 to 32,000.

    Raises:
        base.TaskError: A parameter is not a whole number in its range, or makes fewer sequences than
            `base.FEWEST_SEQUENCES`.

    """

    pairs: int = 4
    queries: int = 0
    delay: int = 0
    vocabulary: int = 16

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "cross_entropy"
    unit: ClassVar[str] = "nats a query"
    metric: ClassVar[str] = "recall_accuracy"
    tokens: ClassVar[bool] = True

    def __post_init__(self) -> None:
        base.require_whole("vocabulary", self.vocabulary, FEWEST_ENTRIES, MOST_ENTRIES)
        base.require_whole("pairs", self.pairs, 1, self.keys)
        base.require_whole("queries", self.queries, 0, self.pairs)
        base.require_whole("delay", self.delay, 0, base.LONGEST)
        sides = math.perm(self.keys, self.pairs) * math.perm(self.outputs, self.pairs)
        base.require_sequences("vocabulary", self.vocabulary, sides * math.perm(self.pairs, self.scored))

    @property
    def keys(self) -> int:
        """Number of tokens that are keys, numbered from 1."""
        return self.vocabulary // 2 - 1

    @property
    def features(self) -> int:
        """Return the size of the vocabulary."""
        return self.vocabulary

    @property
    def outputs(self) -> int:
        """The values, V of them; neither a key nor the blank is ever asked for."""
        return self.vocabulary - self.vocabulary // 2

    @property
    def length(self) -> int:
        """Return 2 `pairs` + `delay` + `queries` steps."""
        return 2 * self.pairs + self.delay + self.scored

    @property
    def scored(self) -> int:
        """The steps of the queries."""
        return self.queries or self.pairs

    @property
    def floor(self) -> float:
        """Return ln V, in nats a query, for V values."""
        return math.log(self.outputs)

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, length] and targets [size, queries], without end.

        A sequence that the evaluation set holds is drawn again.
        """
        draw = functools.partial(_draw, task=self)
        for drawn in base.draw_apart(seed, size, draw, _evaluation(self)):
            yield _batch(drawn, self)

    def evaluation(self) -> base.Batch:
        """Return the 1,000 fixed examples of these parameters."""
        return _batch(_evaluation(self), self)

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` and ``recall_accuracy``, the share of the queries that are answered right."""
        del thorough  # nothing here is slow
        return base.classify(predict, self.evaluation(), "recall_accuracy", self.scored)

    def solved(self, metrics: dict[str, float]) -> bool:
        """Solved is a recall accuracy of at least 0.99."""
        return metrics["recall_accuracy"] >= 0.99  # noqa: PLR2004 - the criterion itself


def _draw(random: np.random.Generator, rows: int, task: Task) -> base.Array:
    """Draw the inputs [rows, length] and behind them the answers [rows, queries], int32."""
    keys = 1 + _choose(random, rows, task.keys, task.pairs)
    values = _choose(random, rows, task.outputs, task.pairs)
    asked = _choose(random, rows, task.pairs, task.scored)
    drawn = np.full((rows, task.length + task.scored), BLANK, np.int32)
    drawn[:, 0 : 2 * task.pairs : 2] = keys
    drawn[:, 1 : 2 * task.pairs : 2] = 1 + task.keys + values
    drawn[:, task.length - task.scored : task.length] = np.take_along_axis(keys, asked, axis=1)
    drawn[:, task.length :] = np.take_along_axis(values, asked, axis=1)
    return drawn


def _choose(random: np.random.Generator, rows: int, total: int, chosen: int) -> base.Array:
    """Return in each row `chosen` different numbers below `total`, in any order, [rows, chosen]."""
    return random.random((rows, total)).argsort(axis=1)[:, :chosen]


def _batch(drawn: base.Array, task: Task) -> base.Batch:
    inputs, targets = np.split(drawn, [task.length], axis=1)
    return base.Batch(inputs.copy(), targets.copy(), np.ones(targets.shape, np.float32))


@functools.lru_cache(maxsize=4)
def _evaluation(task: Task) -> base.Array:
    return _draw(base.generator("evaluation"), base.EVALUATION_EXAMPLES, task)
