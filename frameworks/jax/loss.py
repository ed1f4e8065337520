"""The loss of a batch in JAX."""

from __future__ import annotations

import jax
import optax
from jax import numpy as jnp

from farreach.frameworks.base import Model


def compute_loss(model: Model, scores: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
    """Average the loss over the positions that count; scores [S, batch, outputs], mask [S, batch]."""
    if model.loss == "cross_entropy":
        each: jax.Array = optax.softmax_cross_entropy_with_integer_labels(scores, targets)
    else:
        each = jnp.square(scores - targets).mean(axis=-1)
    return (each * mask).sum() / mask.sum()
