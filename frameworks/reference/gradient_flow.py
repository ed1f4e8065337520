"""The gradient through time in NumPy: what the reference's backpropagation leaves at every state."""

from __future__ import annotations

import numpy as np

from farreach.frameworks.base import Flow
from farreach.frameworks.gradient_flow import compute_norms
from farreach.frameworks.reference import Framework
from farreach.tasks.base import Batch


def measure_flow(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    with np.errstate(over="ignore", invalid="ignore"):
        _, _, d_carries = framework.family.compute_gradients(framework.model, framework.trained, batch)
        h, *c = (compute_norms(layers) for layers in zip(*d_carries, strict=True))
    return Flow(h, c[0] if c else None)
