"""TensorFlow's own clips: the functions, and the arguments of Keras' optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from farreach.frameworks.base import Array, Weights


def _make_tensors(gradients: list[Array | None]) -> list[Any]:
    return [None if gradient is None else tf.constant(gradient) for gradient in gradients]


def _clip_by_global_norm(gradients: list[Array | None], threshold: float) -> list[Array | None]:
    """``tf.clip_by_global_norm(gradients, clip_norm)``."""
    clipped, _ = tf.clip_by_global_norm(_make_tensors(gradients), threshold)
    return [None if gradient is None else gradient.numpy() for gradient in clipped]


def _clip_by_norm(gradients: list[Array | None], threshold: float) -> list[Array | None]:
    """``tf.clip_by_norm(gradient, clip_norm)``, variable by variable."""
    return [tf.clip_by_norm(gradient, threshold).numpy() for gradient in _make_tensors(gradients)]


def _clip_by_value(gradients: list[Array | None], threshold: float) -> list[Array | None]:
    """``tf.clip_by_value(gradient, -c, c)``."""
    return [tf.clip_by_value(gradient, -threshold, threshold).numpy() for gradient in _make_tensors(gradients)]


def _clip_by_optimizer(argument: str) -> Callable[[list[Array | None], float], list[Array | None]]:
    def clip(gradients: list[Array | None], threshold: float) -> list[Array | None]:
        """Let plain gradient descent at rate 1 clip: the change of a weight is its clipped gradient."""
        variables = [keras.Variable(tf.zeros(() if gradient is None else gradient.shape)) for gradient in gradients]
        optimizer = keras.optimizers.SGD(learning_rate=1.0, **{argument: threshold})
        optimizer.apply(_make_tensors(gradients), variables)
        changes = [-variable.numpy() for variable in variables]
        pairs = zip(gradients, changes, strict=True)
        return [None if gradient is None and not change.any() else change for gradient, change in pairs]

    return clip


CLIPS: dict[str, Callable[[list[Array | None], float], list[Array | None]]] = {
    "tf.clip_by_global_norm": _clip_by_global_norm,
    "tf.clip_by_norm": _clip_by_norm,
    "tf.clip_by_value": _clip_by_value,
    "keras optimizer, global_clipnorm": _clip_by_optimizer("global_clipnorm"),
    "keras optimizer, clipnorm": _clip_by_optimizer("clipnorm"),
    "keras optimizer, clipvalue": _clip_by_optimizer("clipvalue"),
}


def _clip_variables(gradients: Weights, weights: Weights, threshold: float) -> Weights:
    """``keras.optimizers.SGD(clipnorm=...)``."""
    del weights
    clipped = CLIPS["keras optimizer, clipnorm"]([*gradients.values()], threshold)
    return {name: np.asarray(gradient) for name, gradient in zip(gradients, clipped, strict=True)}


COUNTERPARTS: dict[str, tuple[str, Callable[[Weights, Weights, float], Weights]]] = {
    "keras optimizer, clipnorm": ("variable", _clip_variables),
}
