"""The clip in TensorFlow, by norm or by value; the definitions are those of `farreach.frameworks.base.Clip`."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from farreach.frameworks.tensorflow.recurrent import Tensors


def clip_gradients(kind: str, gradients: Tensors, threshold: Any) -> tuple[Tensors, Any, Any, Any]:
    """Clip the gradient; return it with the norm before, the norm after and the share of elements clipped.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not.
    """
    before = compute_norm(gradients)
    poison = tf.where(tf.math.is_finite(before), tf.ones_like(before), tf.cast(np.nan, before.dtype))
    if kind == "value":
        count = sum(gradient.shape.num_elements() for gradient in gradients)
        beyond = [tf.reduce_sum(tf.cast(tf.abs(gradient) > threshold, before.dtype)) for gradient in gradients]
        clipped = tf.add_n(beyond) / count
        gradients = [tf.clip_by_value(gradient, -threshold, threshold) * poison for gradient in gradients]
        return gradients, before, compute_norm(gradients), clipped
    scale = tf.minimum(tf.ones_like(before), threshold / before) * poison
    clipped = tf.cast(before > threshold, before.dtype)
    return [gradient * scale for gradient in gradients], before, before * scale, clipped


def compute_norm(gradients: Tensors) -> Any:
    """Return the global norm: the root of the plain sum of squares over all gradients."""
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]))
