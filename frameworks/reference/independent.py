"""The recurrent network whose units do not see each other's states, in NumPy, one step after the other.

    h_t = f(x_t W + b + u * h_{t-1}),    after every update u = min(max(u, -2^(1/T)), 2^(1/T))

f is relu or tanh, u a vector [H], T the time steps of a sequence, at least 2; h_0 = 0. Under the bound, what comes in
at the first step has grown at most twofold at the last.

Source: Li, Li, Cook, Zhu and Gao, Independently recurrent neural network (IndRNN): building a longer and deeper RNN,
CVPR 2018, equation 2, and section 4 for the bound.
"""

from __future__ import annotations

from typing import Any

from autograd import numpy as np

from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.reference.differentiation import cut_derivative, differentiate_network, split_states
from farreach.frameworks.reference.recurrent import Carry, DerivativeClip
from farreach.tasks.base import Batch


class Network:
    """An embedding for tokens, independent recurrences, a linear output on the last S steps."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self, weights: Weights, inputs: Array) -> tuple[Array, None]:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]; nothing is kept."""
        return self.run_shifted(weights, None, inputs, DerivativeClip()), None

    def run_shifted(self, weights: Weights, shifts: list[Array] | None, inputs: Array, cut: DerivativeClip) -> Any:
        """Add shifts to the first layer's inputs and to every layer's states, where given; return the scores."""
        model = self.model
        below: Any = weights["embedding"][inputs] if model.tokens else inputs.astype(np.float64)
        below = below if shifts is None else below + shifts[0]
        for layer in range(model.layers):
            u, states = weights[f"layer{layer}.recurrent"], []
            projected = below @ weights[f"layer{layer}.input"] + weights[f"layer{layer}.bias"]
            h = np.zeros(projected.shape[1:])
            for t in range(len(projected)):
                total = cut_derivative(projected[t] + u * h, cut)
                h = np.tanh(total) if model.activation == "tanh" else np.where(total > 0, total, 0)
                h = h if shifts is None else h + shifts[layer + 1][t]
                states.append(h)
            below = np.stack(states)
        return below[-model.scored :] @ weights["output.kernel"] + weights["output.bias"]


def project_weights(model: Model, weights: Weights) -> Weights:
    """Return the weights with every u of every layer within its bound, 2^(1/T)."""
    bound = 2 ** (1 / model.length)
    return {
        name: value.clip(-bound, bound) if name.endswith(".recurrent") else value for name, value in weights.items()
    }


def compute_gradients(
    model: Model, weights: Weights, batch: Batch, cut: DerivativeClip | None = None
) -> tuple[float, Weights, list[Carry]]:
    """Return the loss of a batch, the gradient of every weight, and for each layer dL/dh_t, [time, batch, H].

    Args:
        model: the network.
        weights: in the shared layout, float64.
        batch: as a task gives it, [batch, time, ...].
        cut: what is done to derivatives on their way back; None for nothing.

    """
    loss, gradients, d_shifts = differentiate_network(Network(model), weights, batch, cut)
    return loss, gradients, split_states(d_shifts)
