"""Multiplication: the product of two numbers that were marked far apart.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, experiment 5; Pascanu, Mikolov and
Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, section 4.1.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from farreach.tasks import adding, base


@dataclasses.dataclass(frozen=True)
class Task(adding.Task):
    """T steps of a uniform value and a marker, as in `farreach.tasks.adding`; the product of the two comes out.

    With T = 4, one step marked in each half::

        value   .3 .9 .5 .1
        marker   0  1  0  1
        label   .9 * .1 = .09, at the last step

    The floor is 7/144, a mean squared error: the variance 1/3 * 1/3 - (1/2 * 1/2)^2 of the product of two uniform
    values, which is what the constant prediction 1/4 is left with.

    With `marks` = ``hochreiter`` the values stay in [0, 1] and the label is not scaled; a marked first step counts as
    1, so that with the chance q, as in adding, the label is one uniform value alone. The mean is then (1 + q)/4, the
    mean square (1 + 2q)/9, and the floor the difference (1 + 2q)/9 - ((1 + q)/4)^2.

    Attributes:
        T: Number of steps, 2 to `base.LONGEST`; 22 at least where `marks` is ``hochreiter``.
        marks: ``halves``, one marked step in each half of the sequence; ``anywhere``; or ``hochreiter``.

    Raises:
        base.TaskError: `marks` is none of these, or T is not a whole number in its range.

    """

    version: ClassVar[int] = 1
    unit: ClassVar[str] = "squared units of the product"

    least: ClassVar[float] = 0
    neutral: ClassVar[float] = 1

    @property
    def floor(self) -> float:
        """Return the variance of the target."""
        alone = self.first_marked if self.marks == adding.HOCHREITER else 0.0
        return (1 + 2 * alone) / 9 - ((1 + alone) / 4) ** 2

    def combine(self, marked: base.Array) -> base.Array:
        """Return the targets [rows] of the marked values [rows, 2]."""
        return np.asarray(marked.prod(axis=1))
