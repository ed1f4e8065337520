"""The gradient through time in NumPy: what the reference's backpropagation leaves at every state."""

from __future__ import annotations

import numpy as np

from farreach.frameworks.base import Flow
from farreach.frameworks.gradient_flow import compute_norms, make_flow
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.reference import Framework
from farreach.frameworks.reference.differentiation import differentiate_network
from farreach.frameworks.reference.recurrent import run_batch
from farreach.tasks.base import Batch


def measure_flow(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    with np.errstate(over="ignore", invalid="ignore"):
        if LAYOUTS[framework.model.cell].family != "recurrent":
            network = framework.family.Network(framework.model)
            return make_flow(differentiate_network(network, framework.trained, batch, None)[-1])
        *_, d_carries, d_inputs = run_batch(framework.model, framework.trained, batch)
        h, *c = (compute_norms(layers) for layers in zip(*d_carries, strict=True))
    return Flow(h, c[0] if c else None, compute_norms([d_inputs])[0])
