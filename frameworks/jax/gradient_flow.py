"""The gradient through time in JAX: its scanned layers, widened (`farreach.frameworks.gradient_flow`)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from farreach.frameworks import gradient_flow
from farreach.frameworks.base import Flow, Model
from farreach.frameworks.jax import Framework, Network, loss_of, to_native
from farreach.tasks.base import Batch


def probe(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    model, shared = framework.model, framework.weights()
    wide = {
        name: framework.tensor(value) for name, value in to_native(model, gradient_flow.widened(model, shared)).items()
    }
    slopes = passed_through(model)(wide, [part[0] for part in framework.stacked([batch])])
    passed = [gradient_flow.Passed(*(np.asarray(part) for part in layer)) for layer in slopes]
    return gradient_flow.measured(model, shared, passed)


@functools.cache
def passed_through(model: Model) -> Callable[..., Any]:
    """Return the compiled run of the widened layers, which gives for each what `flow.Passed` holds."""
    network, layers = Network(model), range(model.layers)

    def run(moved: Any, wide: Any, batch: Any) -> Any:
        """Return the loss, where a layer's zeros and an addition to its states are `moved`, and what was passed."""
        inputs, targets, mask = batch
        below = jnp.take(wide["embedding"], inputs, axis=0) if model.tokens else inputs
        passed = []
        for layer, (zeros, addition) in zip(layers, moved, strict=True):
            parts = (wide[f"layer{layer}.{part}"] for part in ("input", "recurrent", "bias"))
            states = network.scan(jnp.concatenate([below, zeros], axis=-1), *parts, every_step=True) + addition
            passed.append((below, states))
            below = states
        scores = below[-model.scored :] @ wide["output.kernel"] + wide["output.bias"]
        return loss_of(model, scores, targets, mask), passed

    @jax.jit
    def slopes(wide: Any, batch: Any) -> Any:
        inputs, *_ = batch
        dtype = wide["output.kernel"].dtype
        widths = (gradient_flow.columns(model), model.hidden)
        moved = [tuple(jnp.zeros((*inputs.shape[:2], width), dtype) for width in widths) for _ in layers]
        found, passed = jax.grad(run, has_aux=True)(moved, wide, batch)
        return [(x, h, above, back) for (x, h), (back, above) in zip(passed, found, strict=True)]

    return slopes
