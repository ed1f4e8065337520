"""What a penalty adds to the gradient in TensorFlow; definitions: `farreach.frameworks.base.Regulariser`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from farreach.frameworks import base
from farreach.frameworks.tensorflow.recurrent import Tensors


def penalise_gradients(
    kind: str, weights: Tensors, gradients: Tensors, *, names: Sequence[str], strength: Any
) -> Tensors:
    """Add the penalty's gradient to the gradients of the kernels; biases and embeddings are free."""
    if kind in {"none", *base.OMEGAS}:
        return gradients
    penalised = [name.endswith((".input", ".recurrent", ".kernel")) for name in names]
    pairs = zip(weights, gradients, penalised, strict=True)
    if kind == "l1":
        return [g + strength * tf.sign(w) if is_kernel else g for w, g, is_kernel in pairs]
    return [g + 2 * strength * w if is_kernel else g for w, g, is_kernel in pairs]


def differentiate_omega(activation: base.Activation, states: Any, d_totals: Any, recurrent: Any) -> Any:
    """Return the immediate gradient of Omega with respect to U [H, H], see `base.Regulariser`.

    The states h_k and the gradients d_k with respect to the pre-activations are [time, batch, H].
    """
    h, following = states[:-1], d_totals[1:]
    d_activation = {"tanh": 1 - h * h, "relu": tf.cast(h > 0, h.dtype), "sigmoid": h * (1 - h)}[activation]
    back = tf.matmul(following, recurrent, transpose_b=True) * d_activation
    norms, whole = (tf.sqrt(tf.reduce_sum(tf.square(part), axis=-1)) for part in (back, following))
    there = (norms > 0) & (whole > 0)
    norms, whole = (tf.where(there, part, tf.ones_like(part)) for part in (norms, whole))
    factor = tf.where(there, 2 * (norms / whole - 1) / (norms * whole), tf.zeros_like(norms)) / states.shape[1]
    return tf.einsum("tbi,tbj->ij", back * d_activation * factor[..., tf.newaxis], following)


def differentiate_omega2(activation: base.Activation, states: Any, d_totals: Any, recurrent: Any) -> Any:
    """Return the immediate gradient of Omega2, the same with squared norms, with respect to U [H, H].

    Every gradient is divided by its norm first, since the square of a tiny one would be lost.
    """
    h, following = states[:-1], d_totals[1:]
    d_activation = {"tanh": 1 - h * h, "relu": tf.cast(h > 0, h.dtype), "sigmoid": h * (1 - h)}[activation]
    whole = tf.sqrt(tf.reduce_sum(tf.square(following), axis=-1, keepdims=True))
    unit = following / tf.where(whole > 0, whole, tf.ones_like(whole))
    back = tf.matmul(unit, recurrent, transpose_b=True) * d_activation
    factor = 4 * (tf.reduce_sum(tf.square(back), axis=-1, keepdims=True) - 1) / states.shape[1]
    return tf.einsum("tbi,tbj->ij", back * d_activation * factor, unit)
