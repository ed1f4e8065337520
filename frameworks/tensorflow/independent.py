"""The recurrent network whose units do not see each other's states, in TensorFlow, its step written out.

The equations and their source are in ``reference/independent.py``.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from farreach.frameworks.base import Model
from farreach.frameworks.layouts import count_kept, list_names
from farreach.frameworks.tensorflow.linear import differentiate_cut_network, run_steps, to_native, to_shared
from farreach.frameworks.tensorflow.recurrent import ACTIVATIONS, Tensors, cut_derivative

__all__ = ["Network", "differentiate_cut", "project_weights", "to_native", "to_shared"]


class Network:
    """An embedding for tokens, independent recurrences, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, dtype: str, path: str = "loop") -> None:
        del dtype, path  # that of the weights, and there is one path
        self.model = model

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
            kernel, u, bias = (named[f"layer{layer}.{part}"] for part in ("input", "recurrent", "bias"))
            shift = None if shifts is None else shifts[layer + 1]
            last = count_kept(model, layer, below.shape[0])
            below = self.run_layer(tf.matmul(below, kernel) + bias, u, shift, bound, last=last)
        states = tf.transpose(below, [1, 0, 2])
        return tf.matmul(states, named["output.kernel"]) + named["output.bias"]

    def run_layer(self, projected: Any, u: Any, shift: Any, bound: Any, *, last: int) -> Any:
        """Run one layer on its projected inputs [time, batch, H]; return the last of its states, [last, batch, H]."""
        activation = ACTIVATIONS[self.model.activation]

        def step(h: Any, now: Any) -> Any:
            total = now[0] + u * h
            h = activation(total if bound is None else cut_derivative(total, bound))
            return h if shift is None else h + now[1]

        each = (projected,) if shift is None else (projected, shift)
        return run_steps(step, each, tf.zeros_like(projected[0]), last=last)


def differentiate_cut(model: Model, weights: Tensors, batch: Any, bound: Any) -> tuple[Any, Tensors, Any]:
    """Return the loss, the gradient of every weight with derivatives cut to a bound, and the share that was cut."""
    return differentiate_cut_network(Network(model, bound.dtype.name), weights, batch, bound)


def project_weights(model: Model, weights: Tensors) -> Tensors:
    """Return the weights with every u of every layer within its bound, 2^(1/T)."""
    bound, pairs = 2 ** (1 / model.length), zip(list_names(model), weights, strict=True)
    return [tf.clip_by_value(w, -bound, bound) if name.endswith(".recurrent") else w for name, w in pairs]
