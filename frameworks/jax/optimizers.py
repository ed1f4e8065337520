"""The updates in JAX, by optax; the algebra is that of `farreach.frameworks.base.Training`."""

from __future__ import annotations

from typing import Any

import jax
import optax
from jax import numpy as jnp

from farreach.frameworks import base
from farreach.frameworks.base import Optimizer
from farreach.frameworks.jax.recurrent import Tensors

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2, "adagrad": 1, "adamw": 2}


def update_weights(
    optimizer: Optimizer,
    weights: Tensors,
    gradients: Tensors,
    slots: list[Tensors],
    *,
    steps: jax.Array,
    learning_rate: jax.Array,
    decay: float | None = None,
    weight_decay: jax.Array | float = 0.0,
) -> tuple[Tensors, list[Tensors]]:
    """Return updated weights and slots, by optax, told to compute PyTorch's algebra."""
    changes: Any = gradients
    if optimizer == "momentum":
        changes, memory = optax.trace(base.MOMENTUM).update(gradients, optax.TraceState(slots[0]))
        slots = [memory.trace]
    elif optimizer == "rmsprop":
        decay = base.RMSPROP_DECAY if decay is None else decay
        scaled = optax.scale_by_rms(decay, base.RMSPROP_EPSILON, eps_in_sqrt=False)
        changes, memory = scaled.update(gradients, optax.ScaleByRmsState(slots[0]))
        slots = [memory.nu]
    elif optimizer == "adagrad":  # whose epsilon optax has inside the root alone
        squares = {name: slots[0][name] + g * g for name, g in gradients.items()}
        changes = {name: g / (jnp.sqrt(squares[name]) + base.ADAGRAD_EPSILON) for name, g in gradients.items()}
        slots = [squares]
    elif optimizer in {"adam", "adamw"}:
        # Under x64 optax corrects the bias in float64, in a float32 case too, where 1 - 0.999 would lose four digits.
        scaled = optax.scale_by_adam(*base.ADAM_DECAYS, base.ADAM_EPSILON, eps_root=0.0)
        changes, memory = scaled.update(gradients, optax.ScaleByAdamState(steps - 1, *slots))
        slots = [memory.mu, memory.nu]
    if optimizer == "adamw":
        changes = {name: changes[name] + weight_decay * w for name, w in weights.items()}
    return {name: w - learning_rate * changes[name] for name, w in weights.items()}, slots
