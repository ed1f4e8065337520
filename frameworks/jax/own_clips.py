"""JAX's own clips: the transformations of optax."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import optax

from farreach.frameworks.base import Array, Weights


def _clip_by(
    transformation: Callable[[float], optax.GradientTransformation],
) -> Callable[[list[Array | None], float], list[Array | None]]:
    def clip(gradients: list[Array | None], threshold: float) -> list[Array | None]:
        chosen = transformation(threshold)
        tree = [None if gradient is None else jnp.asarray(gradient) for gradient in gradients]
        clipped, _ = chosen.update(tree, chosen.init(tree))
        return [None if gradient is None else np.asarray(gradient) for gradient in clipped]

    return clip


CLIPS: dict[str, Callable[[list[Array | None], float], list[Array | None]]] = {
    "optax.clip_by_global_norm": _clip_by(optax.clip_by_global_norm),
    "optax.clip_by_block_rms": _clip_by(optax.clip_by_block_rms),
    "optax.clip": _clip_by(optax.clip),
}


def _clip_adaptively(gradients: Weights, weights: Weights, threshold: float) -> Weights:
    """``optax.adaptive_grad_clip(clipping)``, with its own epsilon."""
    chosen = optax.adaptive_grad_clip(threshold)
    held = {name: jnp.asarray(weight) for name, weight in weights.items()}
    clipped, _ = chosen.update({name: jnp.asarray(g) for name, g in gradients.items()}, chosen.init(held), held)
    return {name: np.asarray(clipped[name]) for name in gradients}


COUNTERPARTS: dict[str, tuple[str, Callable[[Weights, Weights, float], Weights]]] = {
    "optax.adaptive_grad_clip": ("agc", _clip_adaptively),
}
