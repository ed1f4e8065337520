"""The clips in JAX; the definitions are those of `farreach.frameworks.base.Clip`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import numpy as jnp

from farreach.frameworks import base
from farreach.frameworks.jax.recurrent import Tensors


def clip_gradients(
    kind: str,
    gradients: Tensors,
    threshold: jax.Array,
    *,
    weights: Tensors,
    names: Sequence[str],
    history: jax.Array,
) -> tuple[Tensors, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Clip the gradient; return it with the norm before, the norm after, the share of elements clipped and the history.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not. The threshold of ``autoclip`` is
    a percentile.
    """
    before = compute_norm(gradients)
    poison = jnp.where(jnp.isfinite(before), jnp.ones_like(before), jnp.full_like(before, jnp.nan))
    count = sum(gradient.size for gradient in gradients.values())
    if kind in {"variable", "agc"}:
        if kind == "variable":
            parts = _measure_variables(gradients, threshold, names)
        else:
            parts = _measure_units(gradients, threshold, weights, names)
        changed = [(norm > limit).sum(dtype=before.dtype) * size for norm, limit, size in parts]
        scales = [jnp.minimum(1, limit / norm) * poison for norm, limit, _ in parts]
        gradients = {name: gradients[name] * scale for name, scale in zip(names, scales, strict=True)}
        return gradients, before, compute_norm(gradients), jnp.stack(changed).sum() / count, history
    if kind == "value":
        beyond = [(jnp.abs(gradient) > threshold).sum(dtype=before.dtype) for gradient in gradients.values()]
        clipped = jnp.stack(beyond).sum() / count
        gradients = {name: g.clip(-threshold, threshold) * poison for name, g in gradients.items()}
        return gradients, before, compute_norm(gradients), clipped, history
    if kind == "autoclip":
        history, threshold = _remember_norm(history, before, threshold)
    if kind == "backprop":  # its cuts are past
        threshold = jnp.full_like(threshold, jnp.inf)
    scale = jnp.minimum(1, threshold / before) * poison
    clipped = (before > threshold).astype(before.dtype)
    return {name: g * scale for name, g in gradients.items()}, before, before * scale, clipped, history


def compute_norm(gradients: Any) -> jax.Array:
    """Return the global norm: the root of the plain sum of squares over all gradients."""
    return jnp.sqrt(sum(jnp.square(gradient).sum() for gradient in jax.tree.leaves(gradients)))


_Parts = list[tuple[jax.Array, jax.Array, int]]
"""For each gradient the norms of its parts that are clipped by themselves, their limits, and a part's elements."""


def _measure_variables(gradients: Tensors, threshold: jax.Array, names: Sequence[str]) -> _Parts:
    """Return norm and limit of every variable of the shared layout."""
    return [(compute_norm(gradients[name]), threshold, gradients[name].size) for name in names]


def _measure_units(gradients: Tensors, threshold: jax.Array, weights: Tensors, names: Sequence[str]) -> _Parts:
    """Return norm and limit of every unit: a column of a kernel, or a whole bias."""
    parts: _Parts = []
    for name in names:
        axis = -1 if name.endswith("bias") else 0
        norm, size = (
            jnp.sqrt(jnp.square(tensor).sum(axis=axis, keepdims=True)) for tensor in (gradients[name], weights[name])
        )
        limit = threshold * jnp.maximum(size, base.LEAST_NORM)
        limit = jnp.full_like(size, jnp.inf) if name.startswith("output") else limit
        parts.append((norm, limit, gradients[name].shape[axis]))
    return parts


def _remember_norm(history: jax.Array, norm: jax.Array, percentile: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the history with a norm added, and the percentile of its norms, which are finite and ascending.

    What there is room for still is infinite. Each place keeps its norm, or takes the new one, or that of the place
    before: so the order stays without sorting.
    """
    fresh = jnp.where(jnp.isfinite(norm), norm, jnp.inf)
    before = jnp.concatenate([jnp.full((1,), -jnp.inf, norm.dtype), history[:-1]])
    history = jnp.maximum(before, jnp.minimum(history, fresh))
    last = jnp.isfinite(history).sum() - 1
    at = last.astype(jnp.float64) * (percentile.astype(jnp.float64) / base.WHOLE)
    low = jnp.maximum(jnp.floor(at), 0)
    place = low.astype(int)
    first, second = history[place], history[jnp.maximum(jnp.minimum(place + 1, last), 0)]
    share = (at - low).astype(norm.dtype)
    return history, jnp.where(share < 0.5, first + (second - first) * share, second - (second - first) * (1 - share))  # noqa: PLR2004
