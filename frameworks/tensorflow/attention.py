"""The encoder and decoder with attention in TensorFlow: Keras' native grus, and Luong's score.

The equations are those of ``reference/attention.py``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.layouts import list_names
from farreach.frameworks.tensorflow.recurrent import Tensors

NOTHING = -1e30
"""What stands for a step that is not seen, before the softmax: finite, and its exponential is 0."""

_SIDES = ("encoder{}.forward", "encoder{}.backward", "layer{}")
"""The names of the grus of a layer."""


class Network:
    """An encoder of two directions, a decoder, attention, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, dtype: str, path: str = "xla") -> None:
        self.model, hidden = model, model.hidden
        self.grus: dict[str, Any] = {}
        for layer in range(model.layers):
            first = hidden if model.tokens else model.features
            widths = (2 * hidden, 2 * hidden, hidden) if layer else (first,) * 3
            for side, width in zip(_SIDES, widths, strict=True):
                built = keras.layers.GRU(
                    hidden,
                    return_sequences=True,
                    go_backwards="backward" in side,
                    dtype=dtype,
                    use_cudnn=path == "cudnn",
                )
                built.build((None, None, width))
                self.grus[side.format(layer)] = built

    def __call__(self, weights: Tensors, inputs: Any) -> Any:
        """Map inputs [batch, time, ...] to scores [batch, S, outputs]."""
        return self.run_shifted(weights, None, inputs)

    def run_shifted(self, weights: Tensors, shifts: Tensors | None, inputs: Any, bound: Any = None) -> Any:
        """Add a shift, time-major, to the embedded inputs, where given; return the scores. There is nothing to cut."""
        del bound
        named = dict(zip(list_names(self.model), weights, strict=True))
        x = tf.gather(named["embedding"], inputs) if self.model.tokens else inputs
        x = x if shifts is None else x + tf.transpose(shifts[0], [1, 0, 2])
        encoded, states = x[:, : self.model.source], x[:, self.model.source :]
        for layer in range(self.model.layers):
            ahead, back, after = (side.format(layer) for side in _SIDES)
            forward = self._run_gru(named, ahead, encoded)
            backward = tf.reverse(self._run_gru(named, back, encoded), [1])
            states = self._run_gru(named, after, states, forward[:, -1])
            encoded = tf.concat([forward, backward], axis=-1)
        states = states[:, -self.model.scored :]
        found = attend(tf.matmul(states, named["score.kernel"]), encoded, make_mask(self.model, inputs))
        joined = tf.tanh(tf.matmul(tf.concat([found, states], axis=-1), named["combine.kernel"]))
        return tf.matmul(joined, named["output.kernel"]) + named["output.bias"]

    def _run_gru(self, named: dict[str, Any], name: str, inputs: Any, start: Any = None) -> Any:
        built, trained = self.grus[name], [named[f"{name}.{part}"] for part in ("input", "recurrent", "bias")]
        fixed = [variable.value for variable in built.non_trainable_variables]
        return built.stateless_call(trained, fixed, inputs, initial_state=start)[0]


def make_mask(model: Model, inputs: Any) -> Any:
    """Return whether a step of the source is seen, [batch, 1, source]; None where all are."""
    return None if model.padding is None else (inputs[:, : model.source] != model.padding)[:, tf.newaxis]


def attend(query: Any, encoded: Any, mask: Any) -> Any:
    """Return the sums of the encoder's states [batch, source, 2·H], one for each query [batch, S, 2·H].

    Where nothing is seen at all, it is their mean.
    """
    logits = tf.matmul(query, encoded, transpose_b=True)
    logits = logits if mask is None else tf.where(mask, logits, tf.cast(NOTHING, logits.dtype))
    return tf.matmul(tf.nn.softmax(logits), encoded)


def to_native(model: Model, weights: Weights) -> Weights:
    """Name and order shared weights as Keras does: the grus' gates are z r n."""
    return {name: _swap_gates(name, weights[name]) for name in list_names(model)}


def to_shared(model: Model, native: Weights) -> Weights:
    """Bring Keras' weights back to the shared layout."""
    del model
    return {name: _swap_gates(name, value) for name, value in native.items()}


def _swap_gates(name: str, value: Array) -> Array:
    """Exchange the first two of a gru's three gate blocks, which is its own inverse."""
    if not name.startswith(("encoder", "layer")):
        return value
    first, second, third = np.split(value, 3, axis=-1)
    return np.concatenate([second, first, third], axis=-1)
