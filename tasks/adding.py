"""Adding problem: the sum of two numbers that were marked far apart.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; in this form
Arjovsky, Shah and Bengio, "Unitary Evolution Recurrent Neural Networks", ICML 2016.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from farreach.tasks import base

CLOSE = 0.04
"""A prediction this near the sum counts as right, as in Hochreiter and Schmidhuber (1997)."""


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """T steps of a uniform value and a marker; the sum of the two marked values comes out.

    With T = 4, one step marked in each half::

        value   .3 .9 .5 .1
        marker   0  1  0  1
        label   .9 + .1 = 1.0, at the last step

    The floor is 1/6, a mean squared error: the variance of the sum of two uniform values, which is
    what the constant prediction 1 is left with.

    Attributes:
        T: Number of steps, 2 to `base.LONGEST`.

    Raises:
        base.TaskError: T is not a whole number in that range.

    """

    T: int = 50

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "mse"
    unit: ClassVar[str] = "squared units of the sum"
    metric: ClassVar[str] = "within_0_04"

    def __post_init__(self) -> None:
        base.require_whole("T", self.T, 2, base.LONGEST)

    @property
    def features(self) -> int:
        """A value and a marker."""
        return 2

    @property
    def outputs(self) -> int:
        """One value, the sum."""
        return 1

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
        """Return 1/6, the variance of the sum of two uniform values."""
        return 1 / 6

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, T, 2] and targets [size, 1, 1], without end."""
        random = base.generator("training", seed)
        while True:
            yield _batch(random, size, self.T)

    def evaluation(self) -> base.Batch:
        """Return the 1,000 fixed examples of this T."""
        return _evaluation(self.T)

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` (MSE) and ``within_0_04``, the share of sums missed by less than 0.04."""
        del thorough  # nothing here is slow
        batch = self.evaluation()
        error = base.in_batches(predict, batch.inputs).astype(np.float64) - batch.targets
        return {
            "loss": base.masked_mean(np.square(error).mean(axis=-1), batch.mask),
            "within_0_04": float((np.abs(error) < CLOSE).mean()),
        }

    def solved(self, metrics: dict[str, float]) -> bool:
        """Solved is a mean squared error below 0.01."""
        return metrics["loss"] < 0.01  # noqa: PLR2004 - the criterion itself


def _batch(random: np.random.Generator, rows: int, steps: int) -> base.Batch:
    half = steps // 2
    inputs = np.zeros((rows, steps, 2), np.float32)
    inputs[:, :, 0] = random.random((rows, steps), dtype=np.float32)
    marked = np.stack([random.integers(0, half, rows), random.integers(half, steps, rows)], axis=1)
    each = np.arange(rows)[:, None]
    inputs[each, marked, 1] = 1
    targets = inputs[each, marked, 0].sum(axis=1).reshape(rows, 1, 1)
    return base.Batch(inputs, targets, np.ones((rows, 1), np.float32))


@functools.lru_cache(maxsize=4)
def _evaluation(steps: int) -> base.Batch:
    return _batch(base.generator("evaluation"), base.EVALUATION_EXAMPLES, steps)
