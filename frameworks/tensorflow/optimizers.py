"""The updates in TensorFlow, written out; the algebra is that of `farreach.frameworks.base.Training`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from farreach.frameworks import base
from farreach.frameworks.base import Optimizer
from farreach.frameworks.tensorflow.recurrent import Tensors

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2, "adagrad": 1, "adamw": 2}


def update_weights(
    optimizer: Optimizer,
    weights: Tensors,
    gradients: Tensors,
    slots: list[Tensors],
    *,
    steps: Any,
    learning_rate: Any,
    decay: float | None = None,
    weight_decay: Any = 0.0,
) -> tuple[Tensors, list[Tensors]]:
    """Return updated weights and slots, by PyTorch's algebra written out."""
    if optimizer == "sgd":
        changes = gradients
    elif optimizer == "momentum":
        changes = [base.MOMENTUM * v + g for v, g in zip(slots[0], gradients, strict=True)]
        slots = [changes]
    elif optimizer == "rmsprop":
        decay, epsilon = base.RMSPROP_DECAY if decay is None else decay, base.RMSPROP_EPSILON
        squares = [decay * s + (1 - decay) * g * g for s, g in zip(slots[0], gradients, strict=True)]
        changes = [g / (tf.sqrt(s) + epsilon) for g, s in zip(gradients, squares, strict=True)]
        slots = [squares]
    elif optimizer == "adagrad":
        squares = [s + g * g for s, g in zip(slots[0], gradients, strict=True)]
        changes = [g / (tf.sqrt(s) + base.ADAGRAD_EPSILON) for g, s in zip(gradients, squares, strict=True)]
        slots = [squares]
    else:
        (first, second), epsilon = base.ADAM_DECAYS, base.ADAM_EPSILON
        means = [first * m + (1 - first) * g for m, g in zip(slots[0], gradients, strict=True)]
        squares = [second * v + (1 - second) * g * g for v, g in zip(slots[1], gradients, strict=True)]
        # In float32, 1 - 0.999 would lose four digits: the corrections are float64 scalars.
        power = tf.cast(steps, tf.float64)
        shrink = tf.cast(1 - tf.constant(first, tf.float64) ** power, learning_rate.dtype)
        spread = tf.cast(tf.sqrt(1 - tf.constant(second, tf.float64) ** power), learning_rate.dtype)
        changes = [m / shrink / (tf.sqrt(v) / spread + epsilon) for m, v in zip(means, squares, strict=True)]
        slots = [means, squares]
    if optimizer == "adamw":
        changes = [c + weight_decay * w for c, w in zip(changes, weights, strict=True)]
    return [w - learning_rate * c for w, c in zip(weights, changes, strict=True)], slots
