"""The updates in NumPy; the algebra is that of `farreach.frameworks.base.Training`."""

from __future__ import annotations

import numpy as np

from farreach.frameworks.base import Optimizer, Weights

# Written out again, from their sources: what is shared with the frameworks could not be found to be wrong there.
MOMENTUM = 0.9
RMSPROP_DECAY, RMSPROP_EPSILON = 0.99, 1e-8
ADAM_DECAYS, ADAM_EPSILON = (0.9, 0.999), 1e-8

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2}


def update_weights(
    optimizer: Optimizer,
    weights: Weights,
    gradients: Weights,
    slots: tuple[Weights, ...],
    *,
    steps: int,
    learning_rate: float,
) -> tuple[Weights, tuple[Weights, ...]]:
    """Return updated weights and slots, by the algebra of `base.Training`.

    Args:
        optimizer: its name.
        weights: before the update.
        gradients: clipped, each of the shape of its weight.
        slots: the optimizer's memory, `SLOTS` of them, each like the weights.
        steps: the number of this update, from 1.
        learning_rate: above 0.

    Returns:
        The weights and the slots after the update.

    Source: sgd with momentum: PyTorch's `torch.optim.SGD`; rmsprop: Hinton, Neural networks for machine learning,
    lecture 6e, 2012, with PyTorch's epsilon outside the root; adam: Kingma and Ba, ICLR 2015, algorithm 1.

    """
    if optimizer == "sgd":
        changes = gradients
    elif optimizer == "momentum":
        (v,) = slots
        changes = {name: MOMENTUM * v[name] + g for name, g in gradients.items()}
        slots = (changes,)
    elif optimizer == "rmsprop":
        (s,), decay = slots, RMSPROP_DECAY
        s = {name: decay * s[name] + (1 - decay) * g * g for name, g in gradients.items()}
        changes = {name: g / (np.sqrt(s[name]) + RMSPROP_EPSILON) for name, g in gradients.items()}
        slots = (s,)
    else:
        (m, v), (first, second) = slots, ADAM_DECAYS
        m = {name: first * m[name] + (1 - first) * g for name, g in gradients.items()}
        v = {name: second * v[name] + (1 - second) * g * g for name, g in gradients.items()}
        means = {name: m[name] / (1 - first**steps) for name in m}
        squares = {name: v[name] / (1 - second**steps) for name in v}
        changes = {name: means[name] / (np.sqrt(squares[name]) + ADAM_EPSILON) for name in means}
        slots = (m, v)
    return {name: w - learning_rate * changes[name] for name, w in weights.items()}, slots
