"""The clips in NumPy; the definitions are those of `farreach.frameworks.base.Clip`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farreach.frameworks.base import Array, Weights

LEAST_NORM = 1e-3  # written out again: what is shared with the frameworks could not be found to be wrong there


def clip_gradients(
    kind: str,
    gradients: Weights,
    threshold: float,
    *,
    weights: Weights,
    names: Sequence[str],
    history: Array,
) -> tuple[Weights, float, float, float, Array]:
    """Clip the gradient; a norm that is not finite turns every gradient NaN, whether there is a clip or not.

    Args:
        kind: of the clip; the cuts of ``backprop`` are past. No clip is ``norm`` with an infinite threshold.
        gradients: of every trained weight.
        threshold: above 0; of ``autoclip`` the percentile.
        weights: before the update.
        names: of the weights, in the shared layout.
        history: the finite norms of all steps before, ascending.

    Returns:
        The clipped gradient, its global norm before and after the clip, the share of elements that changed, and the
        history, which ``autoclip`` adds to.

    Source: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML 2013, algorithm 1
    (norm); Mikolov, Statistical language models based on neural networks, 2012 (value); Brock, De, Smith and Simonyan,
    High-performance large-scale image recognition without normalization, ICML 2021, equation 3 (agc); Seetharaman,
    Wichern, Pardo and Le Roux, AutoClip, MLSP 2020, algorithm 1 (autoclip).

    """
    before = compute_norm(gradients)
    poison = 1.0 if np.isfinite(before) else np.nan
    if kind == "backprop":
        threshold = np.inf
    if kind == "autoclip":
        history = np.sort([*history, *([before] if np.isfinite(before) else [])])
        threshold = float(np.percentile(history, threshold)) if len(history) else np.inf
    if kind in {"variable", "agc"}:
        limited, changed = {}, 0
        for name in names:
            norm, limit, size = _measure_parts(kind, name, gradients[name], weights[name], threshold=threshold)
            limited[name] = gradients[name] * np.where(norm > limit, limit / norm, 1.0) * poison
            changed += int((norm > limit).sum()) * size
        return limited, before, compute_norm(limited), changed / sum(g.size for g in gradients.values()), history
    if kind == "value":
        beyond = np.concatenate([np.abs(gradient).ravel() > threshold for gradient in gradients.values()])
        gradients = {name: g.clip(-threshold, threshold) * poison for name, g in gradients.items()}
        return gradients, before, compute_norm(gradients), float(beyond.mean()), history
    scale = (threshold / before if before > threshold else 1.0) * poison
    clipped = {name: g * scale for name, g in gradients.items()}
    return clipped, before, before * scale, float(before > threshold), history


def _measure_parts(
    kind: str, name: str, gradient: Array, weight: Array, *, threshold: float
) -> tuple[Array, Array | float, int]:
    """Return the norm of each part of a variable that is clipped by itself, its limit, and a part's elements."""
    if kind == "variable":
        return np.sqrt(np.square(gradient).sum()), threshold, gradient.size
    if name.startswith("output."):
        return np.zeros(()), np.inf, gradient.size
    axis = -1 if name.endswith(".bias") else 0
    norm, size = (np.sqrt(np.square(part).sum(axis=axis, keepdims=True)) for part in (gradient, weight))
    return norm, threshold * np.maximum(size, LEAST_NORM), gradient.shape[axis]


def compute_norm(gradients: Weights) -> float:
    """Return the global norm: the root of the plain sum of squares over all gradients."""
    return float(np.sqrt(sum(np.square(gradient).sum() for gradient in gradients.values())))
