"""The clips in TensorFlow; the definitions are those of `farreach.frameworks.base.Clip`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from farreach.frameworks import base
from farreach.frameworks.tensorflow.recurrent import Tensors


def clip_gradients(
    kind: str, gradients: Tensors, threshold: Any, *, weights: Tensors, names: Sequence[str], history: Any
) -> tuple[Tensors, Any, Any, Any, Any]:
    """Clip the gradient; return it with the norm before, the norm after, the share of elements clipped and the history.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not. The threshold of ``autoclip`` is
    a percentile.
    """
    before = compute_norm(gradients)
    poison = tf.where(tf.math.is_finite(before), tf.ones_like(before), tf.cast(np.nan, before.dtype))
    count = sum(gradient.shape.num_elements() for gradient in gradients)
    if kind in {"variable", "agc"}:
        if kind == "variable":
            parts = _measure_variables(gradients, threshold)
        else:
            parts = _measure_units(gradients, threshold, weights, names)
        changed = [tf.reduce_sum(tf.cast(norm > limit, before.dtype)) * size for norm, limit, size in parts]
        scales = [tf.minimum(tf.ones_like(norm), limit / norm) * poison for norm, limit, _ in parts]
        gradients = [gradient * scale for gradient, scale in zip(gradients, scales, strict=True)]
        return gradients, before, compute_norm(gradients), tf.add_n(changed) / count, history
    if kind == "value":
        beyond = [tf.reduce_sum(tf.cast(tf.abs(gradient) > threshold, before.dtype)) for gradient in gradients]
        clipped = tf.add_n(beyond) / count
        gradients = [tf.clip_by_value(gradient, -threshold, threshold) * poison for gradient in gradients]
        return gradients, before, compute_norm(gradients), clipped, history
    if kind == "autoclip":
        history, threshold = _remember_norm(history, before, threshold)
    if kind == "backprop":  # its cuts are past
        threshold = tf.cast(np.inf, before.dtype)
    scale = tf.minimum(tf.ones_like(before), threshold / before) * poison
    clipped = tf.cast(before > threshold, before.dtype)
    return [gradient * scale for gradient in gradients], before, before * scale, clipped, history


def compute_norm(gradients: Tensors) -> Any:
    """Return the global norm: the root of the plain sum of squares over all gradients."""
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]))


_Parts = list[tuple[Any, Any, int]]
"""For each gradient the norms of its parts that are clipped by themselves, their limits, and a part's elements."""


def _measure_variables(gradients: Tensors, threshold: Any) -> _Parts:
    """Return norm and limit of every variable; Keras' are those of the shared layout."""
    return [(compute_norm([gradient]), threshold, gradient.shape.num_elements()) for gradient in gradients]


def _measure_units(gradients: Tensors, threshold: Any, weights: Tensors, names: Sequence[str]) -> _Parts:
    """Return norm and limit of every unit: a column of a kernel, or a whole bias."""
    parts: _Parts = []
    for name, gradient, weight in zip(names, gradients, weights, strict=True):
        axis = -1 if name.endswith("bias") else 0
        norm, size = (
            tf.sqrt(tf.reduce_sum(tf.square(tensor), axis=axis, keepdims=True)) for tensor in (gradient, weight)
        )
        limit = threshold * tf.maximum(size, tf.cast(base.LEAST_NORM, size.dtype))
        limit = tf.fill(tf.shape(size), tf.cast(np.inf, size.dtype)) if name.startswith("output") else limit
        parts.append((norm, limit, gradient.shape[axis]))
    return parts


def _remember_norm(history: Any, norm: Any, percentile: Any) -> tuple[Any, Any]:
    """Return the history with a norm added, and the percentile of its norms, which are finite and ascending.

    What there is room for still is infinite. Each place keeps its norm, or takes the new one, or that of the place
    before: so the order stays without sorting.
    """
    fresh = tf.where(tf.math.is_finite(norm), norm, tf.cast(np.inf, norm.dtype))
    before = tf.concat([tf.fill([1], tf.cast(-np.inf, norm.dtype)), history[:-1]], axis=0)
    history = tf.maximum(before, tf.minimum(history, fresh))
    last = tf.reduce_sum(tf.cast(tf.math.is_finite(history), tf.int32)) - 1
    at = tf.cast(last, tf.float64) * (tf.cast(percentile, tf.float64) / base.WHOLE)
    low = tf.maximum(tf.floor(at), 0)
    place = tf.cast(low, tf.int32)
    # not history[place]: XLA takes a slice's place as a constant, and compiles all that it follows from anew each time
    first, second = tf.gather(history, place), tf.gather(history, tf.maximum(tf.minimum(place + 1, last), 0))
    share = tf.cast(at - low, norm.dtype)
    return history, tf.where(share < 0.5, first + (second - first) * share, second - (second - first) * (1 - share))  # noqa: PLR2004
