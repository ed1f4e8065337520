"""The clip in NumPy, by norm or by value; the definitions are those of `farreach.frameworks.base.Clip`."""

from __future__ import annotations

import numpy as np

from farreach.frameworks.base import Weights


def clip_gradients(kind: str, gradients: Weights, threshold: float) -> tuple[Weights, float, float, float]:
    """Clip the gradient; a norm that is not finite turns every gradient NaN, whether there is a clip or not.

    Args:
        kind: ``norm``, or ``value``. No clip is ``norm`` with an infinite threshold.
        gradients: of every trained weight.
        threshold: above 0.

    Returns:
        The clipped gradient, its global norm before and after the clip, and the share of elements that changed.

    Source: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML 2013, algorithm 1
    (norm); Mikolov, Statistical language models based on neural networks, 2012 (value).

    """
    before = compute_norm(gradients)
    poison = 1.0 if np.isfinite(before) else np.nan
    if kind == "value":
        beyond = np.concatenate([np.abs(gradient).ravel() > threshold for gradient in gradients.values()])
        gradients = {name: g.clip(-threshold, threshold) * poison for name, g in gradients.items()}
        return gradients, before, compute_norm(gradients), float(beyond.mean())
    scale = (threshold / before if before > threshold else 1.0) * poison
    return {name: g * scale for name, g in gradients.items()}, before, before * scale, float(before > threshold)


def compute_norm(gradients: Weights) -> float:
    """Return the global norm: the root of the plain sum of squares over all gradients."""
    return float(np.sqrt(sum(np.square(gradient).sum() for gradient in gradients.values())))
