"""The initial weights, drawn once in NumPy for every framework, in one layout.

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

_PURPOSE = {"weights": 0, "replicate": 1}


def draw(model: Model, seed: int, radius: float = 1.0) -> Weights:
    """Draw the initial weights of `model`, float64; `radius` is the spectral radius of every recurrent block.

    Recurrent blocks are orthogonal gate by gate (Saxe et al. 2014), input and output kernels
    Glorot uniform gate by gate (Glorot & Bengio 2010), embeddings normal(0, 1), biases zero but
    for the lstm's forget gate, which is 1 (Jozefowicz et al. 2015).
    """
    random = _generator("weights", seed)
    gates, hidden = GATES[model.cell], model.hidden
    weights: Weights = {}
    if model.tokens:
        weights["embedding"] = random.standard_normal((model.features, hidden))
    for layer in range(model.layers):
        width = hidden if layer or model.tokens else model.features
        weights[f"layer{layer}.input"] = np.hstack([_glorot(random, width, hidden) for _ in range(gates)])
        weights[f"layer{layer}.recurrent"] = radius * np.hstack([_orthogonal(random, hidden) for _ in range(gates)])
        bias = np.zeros((2, gates * hidden) if model.cell == "gru" else gates * hidden)
        if model.cell == "lstm":
            bias[FORGET_GATE * hidden : (FORGET_GATE + 1) * hidden] = FORGET_BIAS
        weights[f"layer{layer}.bias"] = bias
    weights["output.kernel"] = _glorot(random, hidden, model.outputs)
    weights["output.bias"] = np.zeros(model.outputs)
    return weights


def permute_hidden(model: Model, weights: Weights, replicate: int) -> Weights:
    """Permute the hidden units of every layer: the same function, other rounding errors.

    Replicate 0 is the model as it was drawn. What two replicates of one framework differ by is what
    rounding alone does to a run, and the yardstick for what two frameworks differ by.
    """
    if replicate == 0:
        return weights
    random = _generator("replicate", replicate)
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


def _generator(purpose: str, seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(entropy=20_260_102, spawn_key=(_PURPOSE[purpose], seed)))


def _glorot(random: np.random.Generator, fan_in: int, fan_out: int) -> NDArray[Any]:
    limit = np.sqrt(6 / (fan_in + fan_out))
    return random.uniform(-limit, limit, (fan_in, fan_out))


def _orthogonal(random: np.random.Generator, size: int) -> NDArray[Any]:
    """Draw uniformly from the orthogonal matrices: QR with the signs of R's diagonal taken out."""
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))
