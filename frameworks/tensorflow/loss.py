"""The loss of a batch in TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from farreach.frameworks.base import Model


def compute_loss(model: Model, scores: Any, targets: Any, mask: Any) -> Any:
    """Average the loss over the positions that count; scores [batch, S, outputs], mask [batch, S]."""
    if model.loss == "cross_entropy":
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, scores)
    else:
        each = tf.reduce_mean(tf.square(scores - targets), axis=-1)
    return tf.reduce_sum(each * mask) / tf.reduce_sum(mask)
