"""The updates in PyTorch, by its own functional optimizers; the algebra: `farreach.frameworks.base.Training`."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from farreach.frameworks import base
from farreach.frameworks.base import Optimizer

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2}


def update_weights(
    optimizer: Optimizer,
    weights: list[torch.Tensor],
    gradients: list[torch.Tensor],
    slots: list[list[torch.Tensor]],
    *,
    steps: list[torch.Tensor],
    learning_rate: float,
) -> None:
    """Update weights, slots and step counts in place, by PyTorch's own functional optimizers."""
    shared: dict[str, Any] = {"lr": learning_rate, "weight_decay": 0.0}
    if optimizer in {"sgd", "momentum"}:
        nothing: list[torch.Tensor | None] = [None] * len(weights)
        # A momentum that starts at zero makes the first step v = g, as the algebra has it.
        velocities: list[torch.Tensor | None] = [*slots[0]] if optimizer == "momentum" else nothing
        momentum = base.MOMENTUM if optimizer == "momentum" else 0.0
        sgd(weights, gradients, velocities, momentum=momentum, dampening=0.0, nesterov=False, maximize=False, **shared)
    elif optimizer == "rmsprop":
        shared |= {"alpha": base.RMSPROP_DECAY, "eps": base.RMSPROP_EPSILON}
        rmsprop(weights, gradients, slots[0], [], [], steps, momentum=0.0, centered=False, **shared)
    else:
        first, second = base.ADAM_DECAYS
        shared |= {"beta1": first, "beta2": second, "eps": base.ADAM_EPSILON, "amsgrad": False, "maximize": False}
        means, squares = slots
        adam(weights, gradients, means, squares, [], steps, fused=True, **shared)
