"""Gradients in NumPy by `autograd`, for the families whose way back is not written out.

A family's forward pass is written with `autograd.numpy`, which records it. The loss and its gradient with respect to
the scores are those that every family has (`farreach.frameworks.reference.loss`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autograd import make_vjp
from autograd.extend import defvjp, primitive

from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.layouts import list_shift_widths
from farreach.frameworks.reference.loss import compute_loss
from farreach.frameworks.reference.recurrent import Carry, DerivativeClip
from farreach.tasks.base import Batch


def differentiate_network(
    network: Any, weights: Weights, batch: Batch, cut: DerivativeClip | None
) -> tuple[float, Weights, list[Array]]:
    """Return the loss, the gradient of every weight, and dL/dx_t and dL/dh_t of every layer.

    Zeros are added to the first layer's inputs and to every state: the gradient with respect to them is that with
    respect to what they are added to, over every way to the loss.

    Args:
        network: whose ``run_shifted(weights, shifts, inputs, cut)`` gives scores [S, batch, outputs].
        weights: in the shared layout, float64.
        batch: as a task gives it, [batch, time, ...].
        cut: what is done to derivatives on their way back; None for nothing.

    Returns:
        The loss, the gradients by the names of the weights, and those of `list_shift_widths`, [time, batch, width].

    """
    model: Model = network.model
    inputs, targets, mask = (part.swapaxes(0, 1) for part in (batch.inputs, batch.targets, batch.mask))
    shifts = [np.zeros((*inputs.shape[:2], width)) for width in list_shift_widths(model)]

    def run(both: tuple[Weights, list[Array]]) -> Any:
        return network.run_shifted(*both, inputs, cut or DerivativeClip())

    go_back, scores = make_vjp(run)((weights, shifts))
    loss, d_scores = compute_loss(model, scores, targets, mask.astype(np.float64))
    gradients, d_shifts = go_back(d_scores)
    return loss, gradients, d_shifts


def split_states(d_shifts: list[Array]) -> list[Carry]:
    """Return dL/dh_t for each layer, as a tuple of one array."""
    return [(d_states,) for d_states in d_shifts[1:]]


@primitive  # type: ignore[untyped-decorator]
def cut_derivative(total: Array, cut: DerivativeClip) -> Array:
    """Return what goes into a sigmoid or tanh as it is; on the way back its derivative is cut."""
    del cut
    return total


def _cut_back(answer: Array, total: Array, cut: DerivativeClip) -> Any:
    del answer, total
    return cut


defvjp(cut_derivative, _cut_back, argnums=(0,))
