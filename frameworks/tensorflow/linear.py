"""Recurrences that are linear in their state, in TensorFlow: mingru, minlstm and lru, by a loop or a parallel scan.

The equations and their sources are in ``reference/linear.py``. The scan doubles: after its k-th round every state
counts the 2^k steps before it. There is no logarithm and no product over all steps in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from farreach.frameworks.base import Model, Weights
from farreach.frameworks.layouts import LAYOUTS, count_kept, list_names
from farreach.frameworks.tensorflow.loss import compute_loss
from farreach.frameworks.tensorflow.recurrent import Tensors, cut_derivative


class Network:
    """An embedding for tokens, linear recurrences, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, dtype: str, path: str = "loop") -> None:
        del dtype  # that of the weights
        self.model, self.path = model, path

    def __call__(self, weights: Tensors, inputs: Any) -> Any:
        """Map inputs [batch, time, ...] to scores [batch, S, outputs]."""
        return self.run_shifted(weights, None, inputs)

    def run_shifted(self, weights: Tensors, shifts: Tensors | None, inputs: Any, bound: Any = None) -> Any:
        """Add shifts to the first layer's inputs and to every layer's states, where given; return the scores.

        Shifts are time-major. Where a bound is given, the derivatives are cut to it, see `cut_derivative`.
        """
        model, named = self.model, dict(zip(list_names(self.model), weights, strict=True))
        below = tf.gather(named["embedding"], inputs) if model.tokens else inputs
        below = tf.transpose(below, [1, 0, 2])
        below = below if shifts is None else below + shifts[0]
        for layer in range(model.layers):
            prefix = f"layer{layer}."
            part = {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
            shift = None if shifts is None else shifts[layer + 1]
            below = self.run_layer(part, below, shift, bound, last=count_kept(model, layer, below.shape[0]))
        states = tf.transpose(below, [1, 0, 2])
        return tf.matmul(states, named["output.kernel"]) + named["output.bias"]

    def run_layer(self, weights: dict[str, Any], inputs: Any, shift: Any, bound: Any, *, last: int) -> Any:
        """Run one layer on inputs [time, batch, width]; return the last of its outputs, [last, batch, H]."""
        if self.model.cell == "lru":
            return self._run_lru(weights, inputs, shift, last=last)
        return self._run_gated(weights, inputs, shift, bound, last=last)

    def _run_gated(self, weights: dict[str, Any], inputs: Any, shift: Any, bound: Any, *, last: int) -> Any:
        total = tf.matmul(inputs, weights["input"]) + weights["bias"]
        *gates, candidate = tf.split(total, 2 if self.model.cell == "mingru" else 3, axis=-1)
        gates = gates if bound is None else [cut_derivative(gate, bound) for gate in gates]
        first, *others = (tf.sigmoid(gate) for gate in gates)
        if others:
            whole = first + others[0]
            kept, added = first / whole, others[0] / whole * candidate
        else:
            kept, added = 1 - first, first * candidate
        added = added if shift is None else added + shift
        return (scan_states if self.path == "scan" else loop_states)(kept, added, last=last)

    def _run_lru(self, weights: dict[str, Any], inputs: Any, shift: Any, *, last: int) -> Any:
        size, angle = tf.exp(-tf.exp(weights["nu"])), tf.exp(weights["theta"])
        scale = tf.exp(weights["gamma"])
        real, imaginary = (scale * tf.matmul(inputs, weights[f"{side}.input"]) for side in ("real", "imaginary"))
        if shift is not None:
            real, imaginary = (
                part + by for part, by in zip((real, imaginary), tf.split(shift, 2, axis=-1), strict=True)
            )
        # A scan of one step would do nothing with the eigenvalues, whose gradient would then be missing.
        run = scan_turning if self.path == "scan" and inputs.shape[0] > 1 else loop_turning
        real, imaginary = run(size * tf.cos(angle), size * tf.sin(angle), real, imaginary, last=last)
        y = tf.matmul(real, weights["real.kernel"]) - tf.matmul(imaginary, weights["imaginary.kernel"])
        y += tf.matmul(inputs[-last:], weights["skip.kernel"])
        return y * tf.sigmoid(tf.matmul(y, weights["gate.kernel"]) + weights["bias"])


def loop_states(kept: Any, added: Any, *, last: int) -> Any:
    """Return the last of h_t = kept_t h_{t-1} + added_t from h_0 = 0, [last, batch, H], step by step."""
    return run_steps(lambda h, now: now[0] * h + now[1], (kept, added), tf.zeros_like(added[0]), last=last)


def run_steps(step: Callable[[Any, Any], Any], each: Any, start: Any, *, last: int) -> Any:
    """Return the last of the states, [last, ...], that steps make one of another and of the rows of `each`."""
    if last == 1:
        final = tf.foldl(step, each, start, parallel_iterations=1)
        return tf.nest.map_structure(lambda state: state[tf.newaxis], final)
    states = tf.scan(step, each, start, parallel_iterations=1)
    return tf.nest.map_structure(lambda state: state[-last:], states)


def scan_states(kept: Any, added: Any, *, last: int) -> Any:
    """Return what `loop_states` does, by doubling."""
    reach = 1
    while reach < added.shape[0]:
        later = kept[reach:]
        added = tf.concat([added[:reach], added[reach:] + later * added[:-reach]], axis=0)
        kept = tf.concat([kept[:reach], later * kept[:-reach]], axis=0)
        reach *= 2
    return added[-last:]


def loop_turning(a_real: Any, a_imaginary: Any, real: Any, imaginary: Any, *, last: int) -> tuple[Any, Any]:
    """Return the last of h_t = a h_{t-1} + added_t, complex, in two parts each, [last, batch, H], step by step."""

    def step(h: Any, new: Any) -> Any:
        return a_real * h[0] - a_imaginary * h[1] + new[0], a_real * h[1] + a_imaginary * h[0] + new[1]

    nothing = tf.zeros_like(real[0])
    states: tuple[Any, Any] = run_steps(step, (real, imaginary), (nothing, nothing), last=last)
    return states


def scan_turning(a_real: Any, a_imaginary: Any, real: Any, imaginary: Any, *, last: int) -> tuple[Any, Any]:
    """Return what `loop_turning` does, by doubling."""
    reach = 1
    while reach < real.shape[0]:
        before, beside = real[:-reach], imaginary[:-reach]
        real, imaginary = (
            tf.concat([real[:reach], real[reach:] + a_real * before - a_imaginary * beside], axis=0),
            tf.concat([imaginary[:reach], imaginary[reach:] + a_real * beside + a_imaginary * before], axis=0),
        )
        a_real, a_imaginary = a_real * a_real - a_imaginary * a_imaginary, 2 * a_real * a_imaginary
        reach *= 2
    return real[-last:], imaginary[-last:]


def differentiate_cut(model: Model, weights: Tensors, batch: Any, bound: Any) -> tuple[Any, Tensors, Any]:
    """Return the loss, the gradient of every weight with derivatives cut to a bound, and the share that was cut."""
    return differentiate_cut_network(Network(model, bound.dtype.name), weights, batch, bound)


def differentiate_cut_network(network: Any, weights: Tensors, batch: Any, bound: Any) -> tuple[Any, Tensors, Any]:
    """Return what `differentiate_cut` does, of a network whose ``run_shifted`` takes a bound."""
    model: Model = network.model
    inputs, targets, mask = batch
    with tf.GradientTape() as tape:
        tape.watch([weights, bound])
        loss = compute_loss(model, network.run_shifted(weights, None, inputs, bound), targets, mask)
    gradients, cut = tape.gradient(loss, [weights, bound])
    rows, steps = inputs.shape[:2]
    return loss, gradients, cut / (model.layers * steps * rows * LAYOUTS[model.cell].cuts * model.hidden)


def to_native(model: Model, weights: Weights) -> Weights:
    """Order shared weights as the network takes them."""
    return {name: weights[name] for name in list_names(model)}


def to_shared(model: Model, native: Weights) -> Weights:
    """Return the weights as they are."""
    del model
    return native
