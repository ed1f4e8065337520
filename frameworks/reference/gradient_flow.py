"""The gradient through time by the judge: what its backpropagation leaves at every state."""

from __future__ import annotations

import numpy as np

from farreach.frameworks import gradient_flow
from farreach.frameworks.base import Flow
from farreach.frameworks.reference import Framework, gradients_of
from farreach.tasks.base import Batch


def probe(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    with np.errstate(over="ignore", invalid="ignore"):
        _, _, flows = gradients_of(framework.model, framework.trained, batch)
        h, *c = (gradient_flow.norms(slopes) for slopes in zip(*flows, strict=True))
    return Flow(h, c[0] if c else None)
