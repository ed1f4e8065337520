"""The recurrent network in JAX: layers by `lax.scan`, and the LSTM of cuDNN (`jax.experimental.rnn`).

cuDNN has two bias vectors where one is enough: the second is a constant zero here, so that one is trained, as
everywhere. Its gates are i f g o, as ours. The kernel is float32 alone, which is why no certificate, whose arithmetic
is float64, can cover it; the products are full float32, by a precision that is passed and not inherited.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax import numpy as jnp
from jax.experimental import rnn

from farreach.frameworks.base import Model, Weights

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}

Tensors = dict[str, jax.Array]
"""Arrays of JAX under the names of the shared layout."""


class Network:
    """An embedding for tokens, scanned recurrent layers, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, path: str = "scan") -> None:
        self.model, self.path = model, path

    def __call__(self, weights: Tensors, inputs: jax.Array) -> jax.Array:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        return self.run_shifted(weights, None, inputs)[0]

    def run_shifted(
        self, weights: Tensors, by: list[jax.Array] | None, inputs: jax.Array, bound: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        """Add `by` to each layer's pre-activations [time, batch, G·H], where given; return scores and states.

        Where a bound is given, the derivatives are cut to it on their way back, see `cut_derivative`.
        """
        layers = []
        states = jnp.take(weights["embedding"], inputs, axis=0) if self.model.tokens else inputs
        for layer in range(self.model.layers):
            every_step = layer < self.model.layers - 1 or self.model.scored > 1 or by is not None
            parts = (weights[f"layer{layer}.{part}"] for part in ("input", "recurrent", "bias"))
            if self.path == "cudnn":
                states = run_cudnn_lstm(states, *parts, every_step=every_step)
            else:
                shift = None if by is None else by[layer]
                states = self.scan_layer(states, *parts, every_step=every_step, by=shift, bound=bound)
            layers.append(states)
        return states[-self.model.scored :] @ weights["output.kernel"] + weights["output.bias"], layers

    def scan_layer(
        self,
        inputs: jax.Array,
        kernel: jax.Array,
        recurrent: jax.Array,
        bias: jax.Array,
        *,
        every_step: bool,
        by: jax.Array | None = None,
        bound: jax.Array | None = None,
    ) -> jax.Array:
        """Run one layer; return its states [time, batch, H], or the last alone [1, batch, H]."""
        cell, activation = self.model.cell, ACTIVATIONS[self.model.activation]
        # The inputs of all steps are projected in one product, outside the loop, where all biases are added that need
        # not wait: of the gru's second row the candidate's part alone does, for the reset gate.
        below, beside = bias if cell == "gru" else (bias, bias)
        if cell == "gru":
            gates = 2 * self.model.hidden
            below, beside = below.at[:gates].add(beside[:gates]), beside[gates:]
        projected = inputs @ kernel + below
        projected = projected if by is None else projected + by

        def cut(total: jax.Array) -> jax.Array:
            return total if bound is None else cut_derivative(total, bound)

        def step(carry: Any, x: jax.Array) -> Any:
            h, *memory = carry
            if cell == "rnn":
                carry = (activation(cut(x + h @ recurrent)),)
            elif cell == "lstm":
                i, f, g, o = jnp.split(cut(x + h @ recurrent), 4, axis=-1)
                c = jax.nn.sigmoid(f) * memory[0] + jax.nn.sigmoid(i) * jnp.tanh(g)
                carry = jax.nn.sigmoid(o) * jnp.tanh(c), c
            else:
                (r, z, n), (hr, hz, hn) = (jnp.split(part, 3, axis=-1) for part in (x, h @ recurrent))
                z = jax.nn.sigmoid(cut(z + hz))
                carry = ((1 - z) * jnp.tanh(cut(n + jax.nn.sigmoid(cut(r + hr)) * (hn + beside))) + z * h,)
            return carry, carry[0] if every_step else None

        nothing = jnp.zeros((inputs.shape[1], self.model.hidden), inputs.dtype)
        carry, states = lax.scan(step, (nothing,) * (1 + (cell == "lstm")), projected)
        return states if every_step else carry[0][jnp.newaxis]


@jax.custom_vjp
def cut_derivative(total: jax.Array, bound: jax.Array) -> jax.Array:
    """Return what goes into a sigmoid or tanh as it is; on the way back its derivative is cut to [-bound, bound].

    What comes back for the bound is no derivative: it is the number of elements that were cut.
    """
    del bound
    return total


def _remember_bound(total: jax.Array, bound: jax.Array) -> tuple[jax.Array, jax.Array]:
    return total, bound


def _cut_back(bound: jax.Array, derivative: jax.Array) -> tuple[jax.Array, jax.Array]:
    return derivative.clip(-bound, bound), (jnp.abs(derivative) > bound).sum(dtype=bound.dtype)


cut_derivative.defvjp(_remember_bound, _cut_back)


def run_cudnn_lstm(
    inputs: jax.Array, kernel: jax.Array, recurrent: jax.Array, bias: jax.Array, *, every_step: bool
) -> jax.Array:
    """Run one layer on inputs [time, batch, D]; return its states [time, batch, H], or the last alone [1, batch, H]."""
    steps, rows, width = inputs.shape
    nothing = jnp.zeros((1, rows, recurrent.shape[0]), inputs.dtype)
    states, last, _ = rnn.lstm(
        inputs.swapaxes(0, 1),
        nothing,
        nothing,
        pack_weights(kernel, recurrent, bias),
        jnp.full((rows,), steps, jnp.int32),
        width,
        recurrent.shape[0],
        1,  # layer
        0.0,  # dropout
        False,  # noqa: FBT003 - bidirectional; a custom derivative takes its arguments by position
        lax.Precision.HIGHEST,
    )
    return states.swapaxes(0, 1) if every_step else last


def pack_weights(kernel: jax.Array, recurrent: jax.Array, bias: jax.Array) -> jax.Array:
    """Return the weights as cuDNN keeps them, flat: both kernels transposed, then the bias, then the second bias."""
    return jnp.concatenate([kernel.T.ravel(), recurrent.T.ravel(), bias, jnp.zeros_like(bias)])


def to_native(model: Model, weights: Weights) -> Weights:
    """Return the weights as they are: the shared layout is JAX's own here."""
    del model
    return weights


def to_shared(model: Model, native: Weights) -> Weights:
    """Return the weights as they are."""
    del model
    return native
