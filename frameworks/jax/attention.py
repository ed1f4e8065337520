"""The encoder and decoder with attention in JAX: grus by `lax.scan`, and Luong's score.

The equations are those of ``reference/attention.py``.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from farreach.frameworks.base import Model, Weights
from farreach.frameworks.jax.recurrent import Tensors

NOTHING = -1e30
"""What stands for a step that is not seen, before the softmax: finite, and its exponential is 0."""


class Network:
    """An encoder of two directions, a decoder, attention, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, path: str = "scan") -> None:
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
        encoded, states = x[: self.model.source], x[self.model.source :]
        nothing = jnp.zeros((x.shape[1], self.model.hidden), x.dtype)
        for layer in range(self.model.layers):
            forward = run_gru(weights, f"encoder{layer}.forward", encoded, nothing)
            backward = run_gru(weights, f"encoder{layer}.backward", encoded, nothing, reverse=True)
            states = run_gru(weights, f"layer{layer}", states, forward[-1])
            encoded = jnp.concatenate([forward, backward], axis=-1)
        states = states[-self.model.scored :].swapaxes(0, 1)
        found = attend(states @ weights["score.kernel"], encoded.swapaxes(0, 1), make_mask(self.model, inputs))
        joined = jnp.tanh(jnp.concatenate([found, states], axis=-1) @ weights["combine.kernel"])
        return (joined @ weights["output.kernel"] + weights["output.bias"]).swapaxes(0, 1), None


def make_mask(model: Model, inputs: jax.Array) -> jax.Array | None:
    """Return whether a step of the source is seen, [batch, 1, source]; None where all are."""
    return None if model.padding is None else (inputs[: model.source] != model.padding).T[:, jnp.newaxis]


def attend(query: jax.Array, encoded: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Return the sums of the encoder's states [batch, source, 2·H], one for each query [batch, S, 2·H].

    Where nothing is seen at all, it is their mean.
    """
    logits = query @ encoded.swapaxes(1, 2)
    logits = logits if mask is None else jnp.where(mask, logits, NOTHING)
    return jax.nn.softmax(logits, axis=-1) @ encoded


def run_gru(weights: Tensors, name: str, inputs: jax.Array, start: jax.Array, *, reverse: bool = False) -> jax.Array:
    """Return the states [time, batch, H] of a gru on inputs [time, batch, width], from a state [batch, H]."""
    kernel, recurrent, bias = (weights[f"{name}.{part}"] for part in ("input", "recurrent", "bias"))
    gates = 2 * start.shape[-1]
    # All biases are added to the projected inputs that need not wait for the reset gate.
    projected = inputs @ kernel + bias[0].at[:gates].add(bias[1, :gates])

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        before = h @ recurrent
        r, z = jnp.split(jax.nn.sigmoid(x[:, :gates] + before[:, :gates]), 2, axis=-1)
        n = jnp.tanh(x[:, gates:] + r * (before[:, gates:] + bias[1, gates:]))
        h = (1 - z) * n + z * h
        return h, h

    return lax.scan(step, start, projected, reverse=reverse)[1]


def to_native(model: Model, weights: Weights) -> Weights:
    """Return the weights as they are: the shared layout is JAX's own here."""
    del model
    return weights


def to_shared(model: Model, native: Weights) -> Weights:
    """Return the weights as they are."""
    del model
    return native
