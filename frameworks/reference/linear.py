"""Recurrences that are linear in their state, in NumPy, one step after the other.

Arrays are time-major, [time, batch, ...], in the layout of `farreach.frameworks.layouts`; h_0 = 0. With a layer's
inputs x_t, the gates in the order of the equations and every bias left out here:

    mingru   z = sigmoid(x W_z), n = x W_n                         h_t = (1 - z) h_{t-1} + z n
    minlstm  f, i = sigmoid(x W_f), sigmoid(x W_i), n = x W_n      h_t = (f h_{t-1} + i n) / (f + i)
    lru      a = exp(-exp(nu) + i exp(theta))                      h_t = a h_{t-1} + exp(gamma) B x, complex
             y = Re(C h_t) + D x                                   what the layer above sees: y sigmoid(y W + b)

Source: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, Were RNNs all we needed?, arXiv 2410.01201, 2024, sections 3.1
and 3.2 (mingru, minlstm, before the logarithms of appendix B); Orvieto et al., Resurrecting recurrent neural networks
for long sequences, ICML 2023, equations 3 to 7 and appendix A (lru). The paper's D is a diagonal; here inputs and
outputs differ in width, so that it is a matrix. Its gated linear unit is here the sigmoid half alone, without a layer
of its own before it, without dropout, normalisation and residual connection.
"""

from __future__ import annotations

from typing import Any

from autograd import numpy as np

from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.reference.differentiation import cut_derivative, differentiate_network, split_states
from farreach.frameworks.reference.recurrent import Carry, DerivativeClip
from farreach.tasks.base import Batch


class Network:
    """An embedding for tokens, linear recurrences, a linear output on the last S steps."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self, weights: Weights, inputs: Array) -> tuple[Array, None]:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]; nothing is kept."""
        return self.run_shifted(weights, None, inputs, DerivativeClip()), None

    def run_shifted(self, weights: Weights, shifts: list[Array] | None, inputs: Array, cut: DerivativeClip) -> Any:
        """Add shifts to the first layer's inputs and to every layer's states, where given; return the scores."""
        model = self.model
        below = weights["embedding"][inputs] if model.tokens else inputs.astype(np.float64)
        below = below if shifts is None else below + shifts[0]
        for layer in range(model.layers):
            prefix = f"layer{layer}."
            part = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            shift = None if shifts is None else shifts[layer + 1]
            if model.cell == "lru":
                below = run_lru(part, below, shift)
            else:
                below = run_gated(model, part, below, shift, cut=cut)
        return below[-model.scored :] @ weights["output.kernel"] + weights["output.bias"]


def run_gated(model: Model, weights: Any, inputs: Any, shift: Any, *, cut: DerivativeClip) -> Any:
    """Run a layer of a mingru or minlstm on inputs [time, batch, width]; return its states [time, batch, H]."""
    total, hidden = inputs @ weights["input"] + weights["bias"], model.hidden
    first = sigmoid(cut_derivative(total[..., :hidden], cut))
    if model.cell == "mingru":
        kept, added = 1 - first, first * total[..., hidden:]
    else:
        second = sigmoid(cut_derivative(total[..., hidden : 2 * hidden], cut))
        kept, added = first / (first + second), second / (first + second) * total[..., 2 * hidden :]
    h, states = np.zeros(added.shape[1:]), []
    for t in range(len(added)):
        h = kept[t] * h + added[t]
        h = h if shift is None else h + shift[t]
        states.append(h)
    return np.stack(states)


def run_lru(weights: Any, inputs: Any, shift: Any) -> Any:
    """Run a layer of an lru on inputs [time, batch, width]; return its outputs [time, batch, H].

    The shift is of the state's real parts, then of its imaginary ones, [time, batch, 2 H].
    """
    size, angle = np.exp(-np.exp(weights["nu"])), np.exp(weights["theta"])
    a_real, a_imaginary = size * np.cos(angle), size * np.sin(angle)
    scale = np.exp(weights["gamma"])
    reals, imaginaries = (scale * (inputs @ weights[f"{side}.input"]) for side in ("real", "imaginary"))
    real, imaginary = np.zeros(reals.shape[1:]), np.zeros(reals.shape[1:])
    states = []
    for t in range(len(reals)):
        real, imaginary = (
            a_real * real - a_imaginary * imaginary + reals[t],
            a_real * imaginary + a_imaginary * real + imaginaries[t],
        )
        if shift is not None:
            hidden = real.shape[-1]
            real, imaginary = real + shift[t][:, :hidden], imaginary + shift[t][:, hidden:]
        states.append((real, imaginary))
    whole = np.stack([real for real, _ in states]), np.stack([imaginary for _, imaginary in states])
    y = whole[0] @ weights["real.kernel"] - whole[1] @ weights["imaginary.kernel"] + inputs @ weights["skip.kernel"]
    return y * sigmoid(y @ weights["gate.kernel"] + weights["bias"])


def sigmoid(total: Any) -> Any:
    """1 / (1 + e^-a), whose derivative `autograd` then has at any a."""
    return 0.5 * (1 + np.tanh(total / 2))


def compute_gradients(
    model: Model, weights: Weights, batch: Batch, cut: DerivativeClip | None = None
) -> tuple[float, Weights, list[Carry]]:
    """Return the loss of a batch, the gradient of every weight, and for each layer dL/dh_t, [time, batch, H or 2 H].

    Args:
        model: the network.
        weights: in the shared layout, float64.
        batch: as a task gives it, [batch, time, ...].
        cut: what is done to derivatives on their way back; None for nothing.

    """
    loss, gradients, d_shifts = differentiate_network(Network(model), weights, batch, cut)
    return loss, gradients, split_states(d_shifts)
