"""TensorFlow's own clips: the functions, and the arguments of Keras' optimizers."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from farreach.frameworks.base import Array


def _clip_by_global_norm(gradients: list[Array], threshold: float) -> list[Array]:
    """``tf.clip_by_global_norm(gradients, clip_norm)``."""
    clipped, _ = tf.clip_by_global_norm([tf.constant(gradient) for gradient in gradients], threshold)
    return [gradient.numpy() for gradient in clipped]


def _clip_by_norm(gradients: list[Array], threshold: float) -> list[Array]:
    """``tf.clip_by_norm(gradient, clip_norm)``, variable by variable."""
    return [tf.clip_by_norm(tf.constant(gradient), threshold).numpy() for gradient in gradients]


def _clip_by_value(gradients: list[Array], threshold: float) -> list[Array]:
    """``tf.clip_by_value(gradient, -c, c)``."""
    return [tf.clip_by_value(tf.constant(gradient), -threshold, threshold).numpy() for gradient in gradients]


def _clip_by_optimizer(argument: str) -> Callable[[list[Array], float], list[Array]]:
    def clip(gradients: list[Array], threshold: float) -> list[Array]:
        """Let plain gradient descent at rate 1 clip: the change of a weight is its clipped gradient."""
        variables = [keras.Variable(tf.zeros(gradient.shape)) for gradient in gradients]
        optimizer = keras.optimizers.SGD(learning_rate=1.0, **{argument: threshold})
        optimizer.apply([tf.constant(gradient) for gradient in gradients], variables)
        return [-variable.numpy() for variable in variables]

    return clip


CLIPS: dict[str, Callable[[list[Array], float], list[Array]]] = {
    "tf.clip_by_global_norm": _clip_by_global_norm,
    "tf.clip_by_norm": _clip_by_norm,
    "tf.clip_by_value": _clip_by_value,
    "keras optimizer, global_clipnorm": _clip_by_optimizer("global_clipnorm"),
    "keras optimizer, clipnorm": _clip_by_optimizer("clipnorm"),
    "keras optimizer, clipvalue": _clip_by_optimizer("clipvalue"),
}


def clip_missing_gradient() -> str:
    """Clip the gradient of a variable that the loss does not depend on."""
    (clipped,), norm = tf.clip_by_global_norm([None], 1.0)
    return f"clip_by_global_norm of [None] returns [{clipped}] and norm {float(norm):.1f}, and says nothing"
