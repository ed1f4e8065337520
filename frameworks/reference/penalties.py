"""What a penalty adds to the gradient in NumPy; the definitions are those of `farreach.frameworks.base.Regulariser`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farreach.frameworks import base
from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.reference.recurrent import differentiate_activation, run_batch, sum_outer_products
from farreach.tasks.base import Batch

PENALISED = (".input", ".recurrent", ".kernel")


def penalise_gradients(
    kind: str, weights: Weights, gradients: Weights, *, names: Sequence[str], strength: float
) -> Weights:
    """Add the penalty's gradient to the gradients of the kernels; biases and embeddings are free.

    Args:
        kind: ``l1`` adds strength * sign(w), ``l2`` adds 2 * strength * w; the others add nothing here.
        weights: in the shared layout.
        gradients: of the loss with respect to each of them.
        names: those of the weights, in their order.
        strength: above 0.

    Returns:
        The gradients, each of the shape of its weight.

    """
    if kind in {"none", *base.OMEGAS}:
        return gradients
    kernels = {name: weights[name] for name in names if name.endswith(PENALISED)}
    added = {name: np.sign(w) if kind == "l1" else 2 * w for name, w in kernels.items()}
    return gradients | {name: gradients[name] + strength * addition for name, addition in added.items()}


def differentiate_omega(
    activation: base.Activation, states: Array, d_totals: Array, recurrent: Array
) -> tuple[float, Array]:
    """Return Omega of one layer and its immediate gradient with respect to the recurrent kernel U.

    Args:
        activation: f, of the rnn.
        states: h_k, [time, batch, H].
        d_totals: d_k, the gradient of the loss with respect to the pre-activations, [time, batch, H].
        recurrent: U, [H, H].

    Returns:
        Omega, and its gradient [H, H] while d_k and f'(a_k) are held.

    Source: Pascanu, Mikolov and Bengio, ICML 2013, equations 9 and 10; see `base.Regulariser`.

    """
    d_activation, following = differentiate_activation(activation, states[:-1]), d_totals[1:]
    back = following @ recurrent.T * d_activation
    norms, whole = (np.sqrt(np.square(part).sum(axis=-1)) for part in (back, following))
    there = (norms > 0) & (whole > 0)
    norms, whole = np.where(there, norms, 1), np.where(there, whole, 1)
    # d|b| / dU_ij = b_i f'_i d_j / |b|, for b = (d U^T) * f'
    factor = np.where(there, 2 * (norms / whole - 1) / (norms * whole), 0) / states.shape[1]
    value = np.where(there, np.square(norms / whole - 1), 0).sum() / states.shape[1]
    return float(value), sum_outer_products(back * d_activation * factor[..., np.newaxis], following)


def differentiate_omega2(
    activation: base.Activation, states: Array, d_totals: Array, recurrent: Array
) -> tuple[float, Array]:
    """Return Omega2 of one layer, the same with squared norms, and its immediate gradient with respect to U.

    Arguments, results and source are those of `differentiate_omega`.
    """
    d_activation, following = differentiate_activation(activation, states[:-1]), d_totals[1:]
    back = following @ recurrent.T * d_activation
    squares, whole = (np.square(part).sum(axis=-1) for part in (back, following))
    there = (squares > 0) & (whole > 0)
    whole = np.where(there, whole, 1)
    apart = np.where(there, squares / whole - 1, 0)
    # d|b|² / dU_ij = 2 b_i f'_i d_j, for b = (d U^T) * f'
    factor = 4 * apart / whole / states.shape[1]
    value = np.square(apart).sum() / states.shape[1]
    return float(value), sum_outer_products(back * d_activation * factor[..., np.newaxis], following)


def compute_omega_gradients(kind: str, model: Model, weights: Weights, batch: Batch) -> Weights:
    """Return the immediate gradient of an Omega with respect to every recurrent kernel of an rnn, by its name."""
    _, _, runs, d_carries, _ = run_batch(model, weights, batch)
    differentiate = differentiate_omega2 if kind == "omega2" else differentiate_omega
    gradients = {}
    for layer, (run, (d_states,)) in enumerate(zip(runs, d_carries, strict=True)):
        name, d_totals = f"layer{layer}.recurrent", d_states * differentiate_activation(model.activation, run.states)
        _, gradients[name] = differentiate(model.activation, run.states, d_totals, weights[name])
    return gradients
