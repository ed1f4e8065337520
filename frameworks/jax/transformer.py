"""The transformer in JAX: a decoder alone, written out.

The equations are those of ``reference/transformer.py``.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

from farreach.frameworks.base import Model, Weights
from farreach.frameworks.jax.recurrent import Tensors

EPSILON = 1e-5

NOTHING = -1e30
"""What stands for a step that is not seen, before the softmax: finite, and its exponential is 0."""


class Network:
    """Embedded inputs with their positions, layers, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, path: str = "xla") -> None:
        del path  # there is one
        self.model = model

    def __call__(self, weights: Tensors, inputs: jax.Array) -> jax.Array:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        return self.run_shifted(weights, None, inputs)[0]

    def run_shifted(
        self, weights: Tensors, shifts: list[jax.Array] | None, inputs: jax.Array, bound: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        """Add a shift to the embedded inputs, where given; return scores and nothing. There is nothing to cut."""
        del bound
        x = jnp.take(weights["embedding"], inputs, axis=0) if self.model.tokens else inputs
        x = x if shifts is None else x + shifts[0]
        r = x.swapaxes(0, 1)
        if not self.model.tokens:
            r = r @ weights["input.kernel"] + weights["input.bias"]
        r = r + weights["positions"]
        mask = make_mask(self.model, inputs)
        for layer in range(self.model.layers):
            part = {name.removeprefix(f"layer{layer}."): weight for name, weight in weights.items()}
            total = normalise(r, part["norm1.scale"], part["norm1.bias"]) @ part["attention.kernel"]
            parts = jnp.split(total, 3, axis=-1)
            query, key, value = (split_heads(self.model, one) for one in parts)
            seen = attend(query, key, value, mask).swapaxes(1, 2).reshape(r.shape)
            r = r + seen @ part["project.kernel"] + part["project.bias"]
            inner = normalise(r, part["norm2.scale"], part["norm2.bias"]) @ part["expand.kernel"]
            r = r + jax.nn.relu(inner + part["expand.bias"]) @ part["contract.kernel"] + part["contract.bias"]
        last = normalise(r[:, -self.model.scored :], weights["norm.scale"], weights["norm.bias"])
        return (last @ weights["output.kernel"] + weights["output.bias"]).swapaxes(0, 1), None


def make_mask(model: Model, inputs: jax.Array) -> jax.Array:
    """Return whether a query's step sees a key's: [batch or 1, 1, query, key]."""
    steps = len(inputs)
    seen = jnp.tri(steps, dtype=bool)[jnp.newaxis, jnp.newaxis]
    if model.padding is None:
        return seen
    there = (inputs != model.padding).T[:, jnp.newaxis, jnp.newaxis]
    return seen & (there | jnp.eye(steps, dtype=bool))


def split_heads(model: Model, whole: jax.Array) -> jax.Array:
    """Cut [batch, time, H] into heads: [batch, heads, time, d]."""
    return whole.reshape(*whole.shape[:2], model.heads, -1).swapaxes(1, 2)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
    """Return softmax(q k^T / sqrt(d)) v over the keys that are seen, each [batch, heads, time, d]."""
    logits = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
    return jax.nn.softmax(jnp.where(mask, logits, NOTHING), axis=-1) @ value


def normalise(r: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Return the layer norm over the last axis."""
    apart = r - r.mean(axis=-1, keepdims=True)
    return apart / jnp.sqrt(jnp.square(apart).mean(axis=-1, keepdims=True) + EPSILON) * scale + bias


def to_native(model: Model, weights: Weights) -> Weights:
    """Return the weights as they are: the shared layout is JAX's own here."""
    del model
    return weights


def to_shared(model: Model, native: Weights) -> Weights:
    """Return the weights as they are."""
    del model
    return native
