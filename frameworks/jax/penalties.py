"""What a penalty adds to the gradient in JAX; the definitions are those of `farreach.frameworks.base.Regulariser`."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax import numpy as jnp

from farreach.frameworks import base
from farreach.frameworks.jax.recurrent import Tensors


def penalise_gradients(
    kind: str, weights: Tensors, gradients: Tensors, *, names: Sequence[str], strength: jax.Array
) -> Tensors:
    """Add the penalty's gradient to the gradients of the kernels; biases and embeddings are free."""
    if kind in {"none", *base.OMEGAS}:
        return gradients
    kernels = {name: weights[name] for name in names if name.endswith((".input", ".recurrent", ".kernel"))}
    added = {name: jnp.sign(w) if kind == "l1" else 2 * w for name, w in kernels.items()}
    return gradients | {name: gradients[name] + strength * addition for name, addition in added.items()}


def differentiate_omega(
    activation: base.Activation, states: jax.Array, d_totals: jax.Array, recurrent: jax.Array
) -> jax.Array:
    """Return the immediate gradient of Omega with respect to U [H, H], see `base.Regulariser`.

    The states h_k and the gradients d_k with respect to the pre-activations are [time, batch, H].
    """
    h, following = states[:-1], d_totals[1:]
    d_activation = {"tanh": 1 - h * h, "relu": (h > 0).astype(h.dtype), "sigmoid": h * (1 - h)}[activation]
    back = following @ recurrent.T * d_activation
    norms, whole = (jnp.sqrt(jnp.square(part).sum(axis=-1)) for part in (back, following))
    there = (norms > 0) & (whole > 0)
    norms, whole = jnp.where(there, norms, 1), jnp.where(there, whole, 1)
    factor = jnp.where(there, 2 * (norms / whole - 1) / (norms * whole), 0) / states.shape[1]
    return jnp.einsum("tbi,tbj->ij", back * d_activation * factor[..., jnp.newaxis], following)


def differentiate_omega2(
    activation: base.Activation, states: jax.Array, d_totals: jax.Array, recurrent: jax.Array
) -> jax.Array:
    """Return the immediate gradient of Omega2, the same with squared norms, with respect to U [H, H].

    Every gradient is divided by its norm first, since the square of a tiny one would be lost.
    """
    h, following = states[:-1], d_totals[1:]
    d_activation = {"tanh": 1 - h * h, "relu": (h > 0).astype(h.dtype), "sigmoid": h * (1 - h)}[activation]
    whole = jnp.sqrt(jnp.square(following).sum(axis=-1, keepdims=True))
    unit = following / jnp.where(whole > 0, whole, 1)
    back = unit @ recurrent.T * d_activation
    factor = 4 * (jnp.square(back).sum(axis=-1, keepdims=True) - 1) / states.shape[1]
    return jnp.einsum("tbi,tbj->ij", back * d_activation * factor, unit)
