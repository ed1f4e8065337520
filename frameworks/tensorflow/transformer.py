"""The transformer in TensorFlow: a decoder alone, written out.

The equations are those of ``reference/transformer.py``.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from farreach.frameworks.base import Model, Weights
from farreach.frameworks.layouts import list_names
from farreach.frameworks.tensorflow.recurrent import Tensors

EPSILON = 1e-5

NOTHING = -1e30
"""What stands for a step that is not seen, before the softmax: finite, and its exponential is 0."""


class Network:
    """Embedded inputs with their positions, layers, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, dtype: str, path: str = "xla") -> None:
        del dtype, path  # the operations are the same
        self.model = model

    def __call__(self, weights: Tensors, inputs: Any) -> Any:
        """Map inputs [batch, time, ...] to scores [batch, S, outputs]."""
        return self.run_shifted(weights, None, inputs)

    def run_shifted(self, weights: Tensors, shifts: Tensors | None, inputs: Any, bound: Any = None) -> Any:
        """Add a shift, time-major, to the embedded inputs, where given; return the scores. There is nothing to cut."""
        del bound
        named = dict(zip(list_names(self.model), weights, strict=True))
        x = tf.gather(named["embedding"], inputs) if self.model.tokens else inputs
        x = x if shifts is None else x + tf.transpose(shifts[0], [1, 0, 2])
        r = x if self.model.tokens else tf.matmul(x, named["input.kernel"]) + named["input.bias"]
        r += named["positions"]
        mask = make_mask(self.model, inputs)
        for layer in range(self.model.layers):
            part = {name.removeprefix(f"layer{layer}."): weight for name, weight in named.items()}
            total = tf.matmul(normalise(r, part["norm1.scale"], part["norm1.bias"]), part["attention.kernel"])
            parts = tf.split(total, 3, axis=-1)
            query, key, value = (split_heads(self.model, one) for one in parts)
            seen = tf.reshape(tf.transpose(attend(query, key, value, mask), [0, 2, 1, 3]), tf.shape(r))
            r += tf.matmul(seen, part["project.kernel"]) + part["project.bias"]
            inner = tf.matmul(normalise(r, part["norm2.scale"], part["norm2.bias"]), part["expand.kernel"])
            inner = tf.nn.relu(inner + part["expand.bias"])
            r += tf.matmul(inner, part["contract.kernel"]) + part["contract.bias"]
        last = normalise(r[:, -self.model.scored :], named["norm.scale"], named["norm.bias"])
        return tf.matmul(last, named["output.kernel"]) + named["output.bias"]


def make_mask(model: Model, inputs: Any) -> Any:
    """Return whether a query's step sees a key's: [batch or 1, 1, query, key]."""
    steps = inputs.shape[1]
    places = tf.range(steps)
    seen = (places[:, tf.newaxis] >= places)[tf.newaxis, tf.newaxis]
    if model.padding is None:
        return seen
    there = (inputs != model.padding)[:, tf.newaxis, tf.newaxis]
    return seen & (there | (places[:, tf.newaxis] == places))


def split_heads(model: Model, whole: Any) -> Any:
    """Cut [batch, time, H] into heads: [batch, heads, time, d]."""
    rows, steps, hidden = tf.unstack(tf.shape(whole))
    return tf.transpose(tf.reshape(whole, [rows, steps, model.heads, hidden // model.heads]), [0, 2, 1, 3])


def attend(query: Any, key: Any, value: Any, mask: Any) -> Any:
    """Return softmax(q k^T / sqrt(d)) v over the keys that are seen, each [batch, heads, time, d]."""
    logits = tf.matmul(query, key, transpose_b=True) / query.shape[-1] ** 0.5
    return tf.matmul(tf.nn.softmax(tf.where(mask, logits, tf.cast(NOTHING, logits.dtype))), value)


def normalise(r: Any, scale: Any, bias: Any) -> Any:
    """Return the layer norm over the last axis."""
    apart = r - tf.reduce_mean(r, axis=-1, keepdims=True)
    return apart / tf.sqrt(tf.reduce_mean(tf.square(apart), axis=-1, keepdims=True) + EPSILON) * scale + bias


def to_native(model: Model, weights: Weights) -> Weights:
    """Order shared weights as `list_names` does."""
    return {name: weights[name] for name in list_names(model)}


def to_shared(model: Model, native: Weights) -> Weights:
    """Return the weights as they are."""
    del model
    return native
