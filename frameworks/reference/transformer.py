"""The transformer in NumPy: forward from the equations; its gradients are autograd's, which differentiates NumPy.

A decoder alone (Vaswani et al., Attention is all you need, NIPS 2017), with the norm before each part (Xiong et al., On
layer normalization in the transformer architecture, ICML 2020) and a learned vector for each position. With r the
[time, batch, H] that goes through, for each layer::

    q, k, v = norm(r) W                         each cut into heads of d = H / heads
    r = r + concat(softmax(q k^T / sqrt(d)) v) P + b
    r = r + relu(norm(r) E + b) C + b           E is [H, 4·H]

and norm(x) = (x - mean) / sqrt(variance + 1e-5) * scale + bias, over the H units, the variance with 1/H. Step
t sees the steps up to t, of which those that hold padding are left out but for t itself.
"""

from __future__ import annotations

from typing import Any

from autograd import numpy as np

from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.reference.differentiation import differentiate_network, split_states
from farreach.frameworks.reference.recurrent import Carry, DerivativeClip
from farreach.tasks.base import Batch

EPSILON = 1e-5  # written out again: what is shared with the frameworks could not be found to be wrong there

NOTHING = -1e30
"""What stands for a step that is not seen, before the softmax: finite, and its exponential is 0."""


class Network:
    """Embedded inputs with their positions, layers, a linear output on the last S steps."""

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
        if not model.tokens:
            x = x @ weights["input.kernel"] + weights["input.bias"]
        r = np.swapaxes(x + weights["positions"][:, np.newaxis], 0, 1)
        mask = make_mask(model, inputs)
        for layer in range(model.layers):
            part = {name.removeprefix(f"layer{layer}."): value for name, value in weights.items()}
            below = normalise(r, part["norm1.scale"], part["norm1.bias"])
            total = below @ part["attention.kernel"]
            query, key, value = (split_heads(model, one) for one in np.split(total, 3, axis=-1))
            seen = np.swapaxes(attend(query, key, value, mask), 1, 2)
            r = r + np.reshape(seen, r.shape) @ part["project.kernel"] + part["project.bias"]
            below = normalise(r, part["norm2.scale"], part["norm2.bias"])
            inner = below @ part["expand.kernel"] + part["expand.bias"]
            r = r + np.where(inner > 0, inner, 0) @ part["contract.kernel"] + part["contract.bias"]
        last = normalise(r[:, -model.scored :], weights["norm.scale"], weights["norm.bias"])
        return np.swapaxes(last @ weights["output.kernel"] + weights["output.bias"], 0, 1)


def make_mask(model: Model, inputs: Array) -> Array:
    """Return whether a query's step sees a key's: [batch or 1, 1, query, key]."""
    steps = len(inputs)
    seen = np.tri(steps, dtype=bool)[np.newaxis, np.newaxis]
    if model.padding is not None:
        there = (inputs != model.padding).T[:, np.newaxis, np.newaxis]
        seen = seen & (there | np.eye(steps, dtype=bool))
    return seen  # type: ignore[no-any-return]


def split_heads(model: Model, whole: Array) -> Array:
    """Cut [batch, time, H] into heads: [batch, heads, time, d]."""
    rows, steps, hidden = whole.shape
    return np.swapaxes(np.reshape(whole, (rows, steps, model.heads, hidden // model.heads)), 1, 2)  # type: ignore[no-any-return]


def attend(query: Array, key: Array, value: Array, mask: Array) -> Array:
    """Return softmax(q k^T / sqrt(d)) v over the keys that are seen, each [batch, heads, time, d]."""
    logits = np.where(mask, query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1]), NOTHING)
    shares = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return shares / np.sum(shares, axis=-1, keepdims=True) @ value  # type: ignore[no-any-return]


def normalise(r: Array, scale: Array, bias: Array) -> Array:
    """Return the layer norm over the last axis."""
    apart = r - np.mean(r, axis=-1, keepdims=True)
    return apart / np.sqrt(np.mean(apart * apart, axis=-1, keepdims=True) + EPSILON) * scale + bias  # type: ignore[no-any-return]


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
