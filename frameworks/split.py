"""A batch in parts: which rows each replica and microbatch has, and how much of the whole batch's loss its own is.

The loss of a batch is the mean over the positions that its mask counts. So a part weighs as much as the positions that
it counts, over those of the whole batch: the sum of the parts' losses and gradients, so weighted, is that of the batch.
The plain mean of the parts' means is another number wherever the parts count unlike.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from farreach.frameworks.base import Array
from farreach.tasks.base import Batch

ClipAt = Literal["after", "before"]

REDUCED, TURNED, PART = "norm_reduced", "cosine", "norm_part"
"""Names of further figures: the norm of the sum of the parts' gradients as they were before any clip; the cosine of the
angle between that sum and what the clip left; and, with the number of the part from 0 behind it, the norm of a part's
weighted gradient before the clip."""


@dataclasses.dataclass(frozen=True)
class Split:
    """How a batch is divided: its rows in order, into as many equal parts for each replica, one for each microbatch.

    Attributes:
        replicas: processes that each train on a part.
        microbatches: parts of a replica's part, one after another.
        clip_at: ``after``: the sum of all parts' weighted gradients is clipped. ``before``: each part's weighted
            gradient, its share of the penalty's in it, is clipped at the whole threshold, and then they are summed.

    """

    replicas: int = 1
    microbatches: int = 1
    clip_at: ClipAt = "after"

    @property
    def parts(self) -> int:
        """Of all replicas together."""
        return self.replicas * self.microbatches

    @property
    def extra(self) -> tuple[str, ...]:
        """Names of the further figures of a step."""
        return (REDUCED, TURNED, *(f"{PART}{part}" for part in range(self.parts)))


def split_batch(batch: Batch, split: Split) -> list[Batch]:
    """Return the parts of a batch, those of the first replica first."""
    names = [field.name for field in dataclasses.fields(Batch)]
    pieces = [np.split(getattr(batch, name), split.parts) for name in names]
    return [Batch(*piece) for piece in zip(*pieces, strict=True)]


def weigh_parts(batch: Batch, split: Split) -> Array:
    """Return the share of the counted positions that each part has, [parts] in float64; 1 in sum."""
    counted = batch.mask.reshape(split.parts, -1).sum(axis=1, dtype=np.float64)
    return np.asarray(counted / counted.sum())
