"""The clip in JAX, by norm or by value; the definitions are those of `farreach.frameworks.base.Clip`."""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

from farreach.frameworks.jax.recurrent import Tensors


def clip_gradients(
    kind: str, gradients: Tensors, threshold: jax.Array
) -> tuple[Tensors, jax.Array, jax.Array, jax.Array]:
    """Clip the gradient; return it with the norm before, the norm after and the share of elements clipped.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not.
    """
    before = compute_norm(gradients)
    poison = jnp.where(jnp.isfinite(before), jnp.ones_like(before), jnp.full_like(before, jnp.nan))
    if kind == "value":
        count = sum(gradient.size for gradient in gradients.values())
        beyond = [(jnp.abs(gradient) > threshold).sum(dtype=before.dtype) for gradient in gradients.values()]
        clipped = jnp.stack(beyond).sum() / count
        gradients = {name: g.clip(-threshold, threshold) * poison for name, g in gradients.items()}
        return gradients, before, compute_norm(gradients), clipped
    scale = jnp.minimum(1, threshold / before) * poison
    clipped = (before > threshold).astype(before.dtype)
    return {name: g * scale for name, g in gradients.items()}, before, before * scale, clipped


def compute_norm(gradients: Any) -> jax.Array:
    """Return the global norm: the root of the plain sum of squares over all gradients."""
    return jnp.sqrt(sum(jnp.square(gradient).sum() for gradient in jax.tree.leaves(gradients)))
