"""The loss of a batch in NumPy, and its gradient with respect to the scores."""

from __future__ import annotations

import numpy as np

from farreach.frameworks.base import Array, Model


def compute_loss(model: Model, scores: Array, targets: Array, mask: Array) -> tuple[float, Array]:
    """Average the loss over the positions that count; return it with its gradient with respect to the scores.

    Cross-entropy: -log softmax(scores)[target], in nats. Mean squared error: the mean over the outputs of
    (score - target)².

    Args:
        model: whose `loss` it is.
        scores: [S, batch, outputs].
        targets: [S, batch] class numbers for cross-entropy, else [S, batch, outputs].
        mask: [S, batch], 1 where a position counts.

    Returns:
        The mean loss over the positions that count, and d_scores, [S, batch, outputs].

    """
    if model.loss == "cross_entropy":
        shifted = scores - scores.max(axis=-1, keepdims=True)
        logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        chosen = np.arange(scores.shape[-1]) == targets[..., np.newaxis]
        each = -np.where(chosen, logarithms, 0).sum(axis=-1)
        d_each = np.exp(logarithms) - chosen
    else:
        error = scores - targets
        each = np.square(error).mean(axis=-1)
        d_each = 2 * error / scores.shape[-1]
    counted = mask.sum()
    return float((each * mask).sum() / counted), d_each * (mask / counted)[..., np.newaxis]
