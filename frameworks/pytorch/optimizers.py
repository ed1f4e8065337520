"""The updates in PyTorch, by its own functional optimizers; the algebra: `farreach.frameworks.base.Training`."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from farreach.frameworks import base
from farreach.frameworks.base import Optimizer

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2, "adagrad": 1, "adamw": 2}


def update_weights(
    optimizer: Optimizer,
    weights: list[torch.Tensor],
    gradients: list[torch.Tensor],
    slots: list[list[torch.Tensor]],
    *,
    steps: list[torch.Tensor],
    learning_rate: float | torch.Tensor,
    decay: float | None = None,
    weight_decay: float = 0.0,
) -> None:
    """Update weights, slots and step counts in place, by PyTorch's own functional optimizers.

    A learning rate that is a tensor, as a CUDA graph needs it, they would take in float32, or not at all: they update
    zeros at the rate 1, and that is multiplied by it.
    """
    if isinstance(learning_rate, torch.Tensor):
        changes = [torch.zeros_like(weight) for weight in weights]
        update_weights(optimizer, changes, gradients, slots, steps=steps, learning_rate=1.0, decay=decay)
        for weight, change in zip(weights, changes, strict=True):
            weight.add_((change - weight_decay * weight if weight_decay else change) * learning_rate)
        return
    shared: dict[str, Any] = {"lr": learning_rate, "weight_decay": 0.0}
    if optimizer in {"sgd", "momentum"}:
        nothing: list[torch.Tensor | None] = [None] * len(weights)
        # A momentum that starts at zero makes the first step v = g, as the algebra has it.
        velocities: list[torch.Tensor | None] = [*slots[0]] if optimizer == "momentum" else nothing
        momentum = base.MOMENTUM if optimizer == "momentum" else 0.0
        sgd(weights, gradients, velocities, momentum=momentum, dampening=0.0, nesterov=False, maximize=False, **shared)
    elif optimizer == "rmsprop":
        shared |= {"alpha": base.RMSPROP_DECAY if decay is None else decay, "eps": base.RMSPROP_EPSILON}
        rmsprop(weights, gradients, slots[0], [], [], steps, momentum=0.0, centered=False, **shared)
    elif optimizer == "adagrad":
        # As `torch.optim.Adagrad` does it, which on a GPU would wait for a count of steps that it has no use for.
        for weight, gradient, square in zip(weights, gradients, slots[0], strict=True):
            square.addcmul_(gradient, gradient)
            weight.addcdiv_(gradient, square.sqrt().add_(base.ADAGRAD_EPSILON), value=-learning_rate)
    else:
        first, second = base.ADAM_DECAYS
        shared |= {"beta1": first, "beta2": second, "eps": base.ADAM_EPSILON, "amsgrad": False, "maximize": False}
        shared |= {"decoupled_weight_decay": True, "weight_decay": weight_decay} if optimizer == "adamw" else {}
        means, squares = slots
        adam(weights, gradients, means, squares, [], steps, fused=True, **shared)
