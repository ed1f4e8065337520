"""Recurrences that are linear in their state, in JAX: mingru, minlstm and lru, by `lax.scan` or `lax.associative_scan`.

The equations and their sources are in ``reference/linear.py``. There is no logarithm and no product over all steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from farreach.frameworks.base import Model, Weights
from farreach.frameworks.jax.recurrent import Tensors, cut_derivative
from farreach.frameworks.layouts import count_kept


class Network:
    """An embedding for tokens, linear recurrences, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, path: str = "loop") -> None:
        self.model, self.path = model, path

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
            prefix = f"layer{layer}."
            part = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            shift = None if shifts is None else shifts[layer + 1]
            below = self.run_layer(part, below, shift, bound, last=count_kept(model, layer, len(below)))
        return below @ weights["output.kernel"] + weights["output.bias"], None

    def run_layer(self, weights: Tensors, inputs: jax.Array, shift: Any, bound: Any, *, last: int) -> jax.Array:
        """Run one layer on inputs [time, batch, width]; return the last of its outputs, [last, batch, H]."""
        if self.model.cell == "lru":
            return self._run_lru(weights, inputs, shift, last=last)
        return self._run_gated(weights, inputs, shift, bound, last=last)

    def _run_gated(self, weights: Tensors, inputs: jax.Array, shift: Any, bound: Any, *, last: int) -> jax.Array:
        total = inputs @ weights["input"] + weights["bias"]
        *gates, candidate = jnp.split(total, 2 if self.model.cell == "mingru" else 3, axis=-1)
        gates = gates if bound is None else [cut_derivative(gate, bound) for gate in gates]
        first, *others = (jax.nn.sigmoid(gate) for gate in gates)
        if others:
            whole = first + others[0]
            kept, added = first / whole, others[0] / whole * candidate
        else:
            kept, added = 1 - first, first * candidate
        added = added if shift is None else added + shift
        return (scan_states if self.path == "scan" else loop_states)(kept, added, last=last)

    def _run_lru(self, weights: Tensors, inputs: jax.Array, shift: Any, *, last: int) -> jax.Array:
        size, angle = jnp.exp(-jnp.exp(weights["nu"])), jnp.exp(weights["theta"])
        scale = jnp.exp(weights["gamma"])
        real, imaginary = (scale * (inputs @ weights[f"{side}.input"]) for side in ("real", "imaginary"))
        if shift is not None:
            real, imaginary = (
                part + by for part, by in zip((real, imaginary), jnp.split(shift, 2, axis=-1), strict=True)
            )
        run = scan_turning if self.path == "scan" else loop_turning
        real, imaginary = run(size * jnp.cos(angle), size * jnp.sin(angle), real, imaginary, last=last)
        y = real @ weights["real.kernel"] - imaginary @ weights["imaginary.kernel"]
        y += inputs[-last:] @ weights["skip.kernel"]
        return y * jax.nn.sigmoid(y @ weights["gate.kernel"] + weights["bias"])


def loop_states(kept: jax.Array, added: jax.Array, *, last: int) -> jax.Array:
    """Return the last of h_t = kept_t h_{t-1} + added_t from h_0 = 0, [last, batch, H], step by step."""
    states: jax.Array = run_steps(
        lambda h, now: now[0] * h + now[1], (kept, added), jnp.zeros_like(added[0]), last=last
    )
    return states


def run_steps(step: Callable[[Any, Any], Any], each: Any, start: Any, *, last: int) -> Any:
    """Return the last of the states, [last, ...], that steps make one of another and of the rows of `each`."""

    def keep(h: Any, now: Any) -> Any:
        h = step(h, now)
        return h, None if last == 1 else h

    final, states = lax.scan(keep, start, each)
    if last == 1:
        return jax.tree.map(lambda state: state[jnp.newaxis], final)
    return jax.tree.map(lambda state: state[-last:], states)


def scan_states(kept: jax.Array, added: jax.Array, *, last: int) -> jax.Array:
    """Return what `loop_states` does, in parallel."""

    def combine(before: Any, after: Any) -> Any:
        return after[0] * before[0], after[0] * before[1] + after[1]

    states: jax.Array = lax.associative_scan(combine, (kept, added))[1]
    return states[-last:]


def loop_turning(
    a_real: jax.Array, a_imaginary: jax.Array, real: jax.Array, imaginary: jax.Array, *, last: int
) -> tuple[jax.Array, jax.Array]:
    """Return the last of h_t = a h_{t-1} + added_t, complex, in two parts each, [last, batch, H], step by step."""

    def step(h: Any, new: Any) -> Any:
        return a_real * h[0] - a_imaginary * h[1] + new[0], a_real * h[1] + a_imaginary * h[0] + new[1]

    nothing = jnp.zeros_like(real[0])
    states: tuple[jax.Array, jax.Array] = run_steps(step, (real, imaginary), (nothing, nothing), last=last)
    return states


def scan_turning(
    a_real: jax.Array, a_imaginary: jax.Array, real: jax.Array, imaginary: jax.Array, *, last: int
) -> tuple[jax.Array, jax.Array]:
    """Return what `loop_turning` does, in parallel."""

    def combine(before: Any, after: Any) -> Any:
        (b_real, b_imaginary, *added), (c_real, c_imaginary, *later) = before, after
        return (
            c_real * b_real - c_imaginary * b_imaginary,
            c_real * b_imaginary + c_imaginary * b_real,
            c_real * added[0] - c_imaginary * added[1] + later[0],
            c_real * added[1] + c_imaginary * added[0] + later[1],
        )

    turns = (jnp.broadcast_to(part, (len(real), 1, *part.shape)) for part in (a_real, a_imaginary))
    _, _, real, imaginary = lax.associative_scan(combine, (*turns, real, imaginary))
    return real[-last:], imaginary[-last:]


def to_native(model: Model, weights: Weights) -> Weights:
    """Return the weights as they are: the shared layout is JAX's own here."""
    del model
    return weights


def to_shared(model: Model, native: Weights) -> Weights:
    """Return the weights as they are."""
    del model
    return native
