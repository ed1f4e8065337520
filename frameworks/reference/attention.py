"""The encoder and decoder with attention in NumPy: forward from the equations; its gradients are autograd's.

The first `Model.source` steps are read by a gru forwards and by another backwards, e_s = [h_s, h'_s], and the rest by
a third that starts from the last state of the first. Each of its states h_t asks the whole source (Luong, Pham and
Manning, Effective approaches to attention-based neural machine translation, EMNLP 2015, equations 5 to 8, score
``general``, without feeding what was found back into the decoder; the encoder of two directions is that of Bahdanau,
Cho and Bengio, ICLR 2015)::

    a_ts = softmax over s of h_t A e_s          steps that hold padding left out
    c_t  = sum over s of a_ts e_s
    o_t  = tanh([c_t, h_t] C) V + b

In each layer above the first, an encoder's layers read both directions of the one below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autograd import numpy as np

from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.reference.differentiation import differentiate_network, split_states
from farreach.frameworks.reference.recurrent import Carry, DerivativeClip
from farreach.tasks.base import Batch

NOTHING = -1e30
"""What stands for a step that is not seen, before the softmax: finite, and its exponential is 0."""


class Network:
    """An encoder of two directions, a decoder, attention, a linear output on the last S steps."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self, weights: Weights, inputs: Array) -> tuple[Array, None]:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]; nothing is kept."""
        return self.run_shifted(weights, None, inputs, DerivativeClip()), None

    def run_shifted(self, weights: Weights, shifts: list[Array] | None, inputs: Array, cut: DerivativeClip) -> Any:
        """Add a shift to the embedded inputs, where given; return the scores. There is nothing to cut."""
        del cut
        model = self.model
        x = weights["embedding"][inputs] if model.tokens else inputs.astype(np.float64)
        x = x if shifts is None else x + shifts[0]
        encoded, below = x[: model.source], x[model.source :]
        for layer in range(model.layers):
            ways = [f"encoder{layer}.forward", f"encoder{layer}.backward"]
            start = np.zeros((2, x.shape[1], model.hidden))
            both = run_grus(weights, ways, np.stack([encoded, encoded[::-1]], axis=1), start)
            below = run_grus(weights, [f"layer{layer}"], below[:, np.newaxis], both[-1, :1])[:, 0]
            encoded = np.concatenate([both[:, 0], both[::-1, 1]], axis=-1)
        states = np.swapaxes(below[-model.scored :], 0, 1)
        found = attend(states @ weights["score.kernel"], np.swapaxes(encoded, 0, 1), make_mask(model, inputs))
        joined = np.tanh(np.concatenate([found, states], axis=-1) @ weights["combine.kernel"])
        return np.swapaxes(joined @ weights["output.kernel"] + weights["output.bias"], 0, 1)


def make_mask(model: Model, inputs: Array) -> Array:
    """Return whether a step of the source is seen: [batch or 1, 1, source]."""
    if model.padding is None:
        return np.ones((1, 1, model.source), bool)  # type: ignore[no-any-return]
    return (inputs[: model.source] != model.padding).T[:, np.newaxis]  # type: ignore[no-any-return]


def attend(query: Array, encoded: Array, mask: Array) -> Array:
    """Return the sums of the encoder's states [batch, source, 2·H], one for each query [batch, S, 2·H].

    Where nothing is seen at all, it is their mean.
    """
    logits = np.where(mask, query @ np.swapaxes(encoded, 1, 2), NOTHING)
    shares = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return shares / np.sum(shares, axis=-1, keepdims=True) @ encoded  # type: ignore[no-any-return]


def run_grus(weights: Weights, names: Sequence[str], inputs: Array, h: Array) -> Array:
    """Return the states [time, grus, batch, H] of grus side by side.

    r, z = sigmoid(x W + b_0 + h U + b_1); n = tanh(x W_n + b_0 + r * (h U_n + b_1)); h' = (1 - z) n + z h.

    Args:
        weights: in the shared layout.
        names: of the grus.
        inputs: of each gru, [time, grus, batch, width].
        h: the first states, [grus, batch, H].

    """
    parts = {part: np.stack([weights[f"{name}.{part}"] for name in names]) for part in ("input", "recurrent", "bias")}
    units, bias = h.shape[-1], parts["bias"][:, :, np.newaxis]
    (gates, candidate), states = (slice(2 * units), slice(2 * units, None)), []
    sides = [
        (parts["input"][..., part], bias[:, 0, :, part], parts["recurrent"][..., part], bias[:, 1, :, part])
        for part in (gates, candidate)
    ]
    (x_gates, u_gates, b_gates), (x_n, u_n, b_n) = (
        (inputs @ kernel + beside, recurrent, before) for kernel, beside, recurrent, before in sides
    )
    for t in range(len(inputs)):
        both = sigmoid(x_gates[t] + h @ u_gates + b_gates)
        r, z = both[..., :units], both[..., units:]
        n = np.tanh(x_n[t] + r * (h @ u_n + b_n))
        h = (1 - z) * n + z * h
        states.append(h)
    return np.stack(states)  # type: ignore[no-any-return]


def sigmoid(total: Array) -> Array:
    """Return 1 / (1 + e^-a), written so that its derivative is finite wherever a is."""
    return 0.5 * (1 + np.tanh(total / 2))  # type: ignore[no-any-return]


def compute_gradients(
    model: Model, weights: Weights, batch: Batch, cut: DerivativeClip | None = None
) -> tuple[float, Weights, list[Carry]]:
    """Return the loss of a batch, the gradient of every weight, and nothing: there is no one state that goes on.

    Args:
        model: the network.
        weights: in the shared layout, float64.
        batch: as a task gives it, [batch, time, ...].
        cut: unused.

    """
    loss, gradients, d_shifts = differentiate_network(Network(model), weights, batch, cut)
    return loss, gradients, split_states(d_shifts)
