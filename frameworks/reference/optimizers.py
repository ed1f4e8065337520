"""The updates in NumPy; the algebra is that of `farreach.frameworks.base.Training`."""

from __future__ import annotations

import numpy as np

from farreach.frameworks.base import Optimizer, Training, Weights

# Written out again, from their sources: what is shared with the frameworks could not be found to be wrong there.
MOMENTUM = 0.9
RMSPROP_DECAY, RMSPROP_EPSILON, ADAGRAD_EPSILON = 0.99, 1e-8, 1e-10
ADAM_DECAYS, ADAM_EPSILON = (0.9, 0.999), 1e-8

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2, "adagrad": 1, "adamw": 2}


def update_weights(
    optimizer: Optimizer,
    weights: Weights,
    gradients: Weights,
    slots: tuple[Weights, ...],
    *,
    steps: int,
    learning_rate: float,
    decay: float | None = None,
    weight_decay: float = 0.0,
) -> tuple[Weights, tuple[Weights, ...]]:
    """Return updated weights and slots, by the algebra of `base.Training`.

    Args:
        optimizer: its name.
        weights: before the update.
        gradients: clipped, each of the shape of its weight.
        slots: the optimizer's memory, `SLOTS` of them, each like the weights.
        steps: the number of this update, from 1.
        learning_rate: of this update.
        decay: of rmsprop; None for .99.
        weight_decay: of adamw.

    Returns:
        The weights and the slots after the update.

    Source: sgd with momentum: PyTorch's `torch.optim.SGD`; rmsprop: Hinton, Neural networks for machine learning,
    lecture 6e, 2012, with PyTorch's epsilon outside the root; adagrad: Duchi, Hazan and Singer, JMLR 2011, figure 1,
    with PyTorch's epsilon; adam: Kingma and Ba, ICLR 2015, algorithm 1; adamw: Loshchilov and Hutter, ICLR 2019,
    algorithm 2, where the decay has the learning rate for its factor.

    """
    if optimizer == "sgd":
        changes = gradients
    elif optimizer == "momentum":
        (v,) = slots
        changes = {name: MOMENTUM * v[name] + g for name, g in gradients.items()}
        slots = (changes,)
    elif optimizer == "rmsprop":
        (s,) = slots
        decay = RMSPROP_DECAY if decay is None else decay
        s = {name: decay * s[name] + (1 - decay) * g * g for name, g in gradients.items()}
        changes = {name: g / (np.sqrt(s[name]) + RMSPROP_EPSILON) for name, g in gradients.items()}
        slots = (s,)
    elif optimizer == "adagrad":
        (s,) = slots
        s = {name: s[name] + g * g for name, g in gradients.items()}
        changes = {name: g / (np.sqrt(s[name]) + ADAGRAD_EPSILON) for name, g in gradients.items()}
        slots = (s,)
    else:
        (m, v), (first, second) = slots, ADAM_DECAYS
        m = {name: first * m[name] + (1 - first) * g for name, g in gradients.items()}
        v = {name: second * v[name] + (1 - second) * g * g for name, g in gradients.items()}
        means = {name: m[name] / (1 - first**steps) for name in m}
        squares = {name: v[name] / (1 - second**steps) for name in v}
        changes = {name: means[name] / (np.sqrt(squares[name]) + ADAM_EPSILON) for name in means}
        slots = (m, v)
    if optimizer == "adamw":
        changes = {name: changes[name] + weight_decay * w for name, w in weights.items()}
    return {name: w - learning_rate * changes[name] for name, w in weights.items()}, slots


def find_rate(training: Training, steps: int) -> float:
    """Return the learning rate of an update, by the equations of `farreach.frameworks.schedule.Schedule`.

    Args:
        training: the recipe.
        steps: the number of this update, from 1.

    """
    schedule, before = training.schedule, steps - 1
    if schedule is None:
        return training.learning_rate
    if schedule.kind == "step":
        factor = schedule.factor ** (before // schedule.every)
    elif before < schedule.warmup:
        factor = before / schedule.warmup
    else:
        share = min(1.0, (before - schedule.warmup) / (schedule.steps - schedule.warmup))
        factor = schedule.end + (1 - schedule.end) * np.cos(np.pi * share / 2) ** 2  # the half-angle formula
    return float(training.learning_rate * factor)
