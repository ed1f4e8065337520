"""The recurrent network whose units do not see each other's states, in JAX, by `lax.scan`.

The equations and their source are in ``reference/independent.py``.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

from farreach.frameworks.base import Model
from farreach.frameworks.jax.linear import run_steps, to_native, to_shared
from farreach.frameworks.jax.recurrent import ACTIVATIONS, Tensors, cut_derivative
from farreach.frameworks.layouts import count_kept

__all__ = ["Network", "project_weights", "to_native", "to_shared"]


class Network:
    """An embedding for tokens, independent recurrences, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, path: str = "loop") -> None:
        del path  # there is one
        self.model = model

    def __call__(self, weights: Tensors, inputs: jax.Array) -> jax.Array:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        return self.run_shifted(weights, None, inputs)[0]

    def run_shifted(
        self, weights: Tensors, shifts: list[jax.Array] | None, inputs: jax.Array, bound: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        """Add shifts to the first layer's inputs and to every layer's states, where given; return scores and nothing.

        Where a bound is given, the derivatives are cut to it on their way back, see `cut_derivative`.
        """
        model = self.model
        below = jnp.take(weights["embedding"], inputs, axis=0) if model.tokens else inputs
        below = below if shifts is None else below + shifts[0]
        for layer in range(model.layers):
            kernel, u, bias = (weights[f"layer{layer}.{part}"] for part in ("input", "recurrent", "bias"))
            shift, last = None if shifts is None else shifts[layer + 1], count_kept(model, layer, len(below))
            below = self.run_layer(below @ kernel + bias, u, shift, bound, last=last)
        return below @ weights["output.kernel"] + weights["output.bias"], None

    def run_layer(self, projected: jax.Array, u: jax.Array, shift: Any, bound: Any, *, last: int) -> jax.Array:
        """Run one layer on its projected inputs [time, batch, H]; return the last of its states, [last, batch, H]."""
        activation = ACTIVATIONS[self.model.activation]

        def step(h: Any, now: Any) -> Any:
            total = now[0] + u * h
            h = activation(total if bound is None else cut_derivative(total, bound))
            return h if shift is None else h + now[1]

        each = (projected,) if shift is None else (projected, shift)
        states: jax.Array = run_steps(step, each, jnp.zeros_like(projected[0]), last=last)
        return states


def project_weights(model: Model, weights: Tensors) -> Tensors:
    """Return the weights with every u of every layer within its bound, 2^(1/T)."""
    bound = 2 ** (1 / model.length)
    return {
        name: value.clip(-bound, bound) if name.endswith(".recurrent") else value for name, value in weights.items()
    }
