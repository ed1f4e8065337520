"""The initial weights, drawn in NumPy, the same for every framework, in one layout.

For a model of hidden size H whose cell has G gates (rnn 1, lstm 4, gru 3):

    embedding         [vocabulary, H]            where inputs are tokens
    layer{k}.input    [inputs of layer k, G·H]   x @ input
    layer{k}.recurrent  [H, G·H]                 h @ recurrent
    layer{k}.bias     [G·H]; gru [2, 3·H]        gru: one row beside x @ input, one beside h @ recurrent
    output.kernel     [H, outputs]
    output.bias       [outputs]

Gates lie side by side in the order of the equations: lstm i f g o (input, forget, candidate,
output), gru r z n (reset, update, candidate). The candidate of the gru is
n = tanh(x W + b_0 + r * (h U + b_1)): both rows of its bias are needed and trained.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farreach.frameworks.base import Model, Weights

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
FORGET_GATE = 1
FORGET_BIAS = 1.0

_PURPOSE = {"weights": 0, "permutation": 1}


def draw(model: Model, seed: int, radius: float = 1.0) -> Weights:
    """Draw the initial weights of a model.

    Recurrent blocks are orthogonal gate by gate, input and output kernels Glorot uniform gate by gate, embeddings
    normal(0, 1), biases zero but for the lstm's forget gate, which is 1.

    Args:
        model: the network.
        seed: of the weights alone; the batches have theirs.
        radius: the spectral radius of every recurrent block [H, H].

    Returns:
        The weights in the shared layout, float64.

    Source: Saxe, McClelland and Ganguli, ICLR 2014 (orthogonal); Glorot and Bengio, AISTATS 2010 (uniform);
    Jozefowicz, Zaremba and Sutskever, ICML 2015 (forget gate).

    """
    random = _make_generator("weights", seed)
    gates, hidden = GATES[model.cell], model.hidden
    weights: Weights = {}
    if model.tokens:
        weights["embedding"] = random.standard_normal((model.features, hidden))
    for layer in range(model.layers):
        width = hidden if layer or model.tokens else model.features
        weights[f"layer{layer}.input"] = np.hstack([_draw_glorot(random, width, hidden) for _ in range(gates)])
        weights[f"layer{layer}.recurrent"] = radius * np.hstack(
            [_draw_orthogonal(random, hidden) for _ in range(gates)]
        )
        bias = np.zeros((2, gates * hidden) if model.cell == "gru" else gates * hidden)
        if model.cell == "lstm":
            bias[FORGET_GATE * hidden : (FORGET_GATE + 1) * hidden] = FORGET_BIAS
        weights[f"layer{layer}.bias"] = bias
    weights["output.kernel"] = _draw_glorot(random, hidden, model.outputs)
    weights["output.bias"] = np.zeros(model.outputs)
    return weights


def permute_hidden(model: Model, weights: Weights, replicate: int) -> Weights:
    """Permute the hidden units of every layer: the same function, other rounding errors.

    What two permuted replicates in one framework differ by is what rounding alone does to a run, and the yardstick
    for what two frameworks differ by.

    Args:
        model: the network.
        weights: in the shared layout.
        replicate: the number of the permutation; 0 leaves the model as it was drawn.

    Returns:
        The weights of the permuted model; arrays that do not change are the same objects.

    """
    if replicate == 0:
        return weights
    random = _make_generator("permutation", replicate)
    hidden, gates = model.hidden, GATES[model.cell]
    order = np.arange(hidden)
    permuted = dict(weights)
    for layer in range(model.layers):
        below = order
        order = random.permutation(hidden)
        columns = np.concatenate([gate * hidden + order for gate in range(gates)])
        kernel = weights[f"layer{layer}.input"][:, columns]
        permuted[f"layer{layer}.input"] = kernel[below] if layer else kernel
        permuted[f"layer{layer}.recurrent"] = weights[f"layer{layer}.recurrent"][order][:, columns]
        permuted[f"layer{layer}.bias"] = weights[f"layer{layer}.bias"][..., columns]
    permuted["output.kernel"] = weights["output.kernel"][order]
    return permuted


def digest(weights: Weights) -> str:
    """Return the SHA-256 of all weights, bytes in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode())
        total.update(np.ascontiguousarray(weights[name]).tobytes())
    return total.hexdigest()


def _make_generator(purpose: str, seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(entropy=20_260_102, spawn_key=(_PURPOSE[purpose], seed)))


def _draw_glorot(random: np.random.Generator, fan_in: int, fan_out: int) -> NDArray[Any]:
    limit = np.sqrt(6 / (fan_in + fan_out))
    return random.uniform(-limit, limit, (fan_in, fan_out))


def _draw_orthogonal(random: np.random.Generator, size: int) -> NDArray[Any]:
    """Draw uniformly from the orthogonal matrices: QR with the signs of R's diagonal taken out."""
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))
