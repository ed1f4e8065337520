"""The transformer in PyTorch: a decoder alone, from its linear layers, layer norm and attention.

The equations are those of ``reference/transformer.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.layouts import list_names

EPSILON = 1e-5


class Network(torch.nn.Module):
    """Embedded inputs with their positions, layers, a linear output on the last S steps."""

    by_hand = False

    def __init__(self, model: Model, path: str = "eager", *, by_hand: bool = False) -> None:
        super().__init__()
        del path, by_hand  # the layers are the same on every one
        self.model, hidden = model, model.hidden
        self.embedding = torch.nn.Embedding(model.features, hidden) if model.tokens else None
        self.input = None if model.tokens else torch.nn.Linear(model.features, hidden)
        self.positions = torch.nn.Parameter(torch.zeros(model.length, hidden))
        self.layers = torch.nn.ModuleList(Layer(hidden) for _ in range(model.layers))
        self.norm = torch.nn.LayerNorm(hidden, EPSILON)
        self.output = torch.nn.Linear(hidden, model.outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        return self.run_shifted(None, inputs)

    def run_shifted(self, shifts: Sequence[torch.Tensor] | None, inputs: torch.Tensor) -> torch.Tensor:
        """Add a shift to the embedded inputs, where given; return the scores."""
        x = inputs if self.embedding is None else self.embedding(inputs)
        x = x if shifts is None else x + shifts[0]
        x = x.transpose(0, 1)
        r = (x if self.input is None else self.input(x)) + self.positions
        mask = make_mask(self.model, inputs)
        layer: Any
        for layer in self.layers:
            query, key, value = (split_heads(self.model, one) for one in layer.attention(layer.norm1(r)).chunk(3, -1))
            r = r + layer.project(attend(query, key, value, mask).transpose(1, 2).reshape(r.shape))
            r = r + layer.contract(torch.relu(layer.expand(layer.norm2(r))))
        return self.output(self.norm(r[:, -self.model.scored :])).transpose(0, 1)  # type: ignore[no-any-return]


class Layer(torch.nn.Module):
    """What a layer keeps."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (torch.nn.LayerNorm(hidden, EPSILON) for _ in range(2))
        self.attention, self.project = torch.nn.Linear(hidden, 3 * hidden, bias=False), torch.nn.Linear(hidden, hidden)
        self.expand, self.contract = torch.nn.Linear(hidden, 4 * hidden), torch.nn.Linear(4 * hidden, hidden)


def make_mask(model: Model, inputs: torch.Tensor) -> torch.Tensor | None:
    """Return whether a query's step sees a key's, [batch, 1, query, key]; None where it sees all that came before."""
    if model.padding is None:
        return None
    seen = torch.ones(len(inputs), len(inputs), dtype=torch.bool, device=inputs.device).tril()
    there = (inputs != model.padding).T[:, None, None]
    return seen & (there | torch.eye(len(inputs), dtype=torch.bool, device=inputs.device))


def split_heads(model: Model, whole: torch.Tensor) -> torch.Tensor:
    """Cut [batch, time, H] into heads: [batch, heads, time, d]."""
    return whole.reshape(*whole.shape[:-1], model.heads, -1).transpose(1, 2)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return softmax(q k^T / sqrt(d)) v over the keys that are seen, each [batch, heads, time, d]."""
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)


def to_native(model: Model, weights: Weights) -> Weights:
    """Name and shape shared weights as PyTorch does: transposed kernels."""
    native = {_rename(name): _transpose(name, weights[name]) for name in list_names(model)}
    return {name: np.ascontiguousarray(value) for name, value in native.items()}


def to_shared(model: Model, native: Weights) -> Weights:
    """Bring PyTorch's weights back to the shared layout."""
    return {name: np.array(_transpose(name, native[_rename(name)])) for name in list_names(model)}


def _rename(name: str) -> str:
    """Return PyTorch's name of a weight of the shared layout."""
    if name == "embedding":
        return "embedding.weight"
    return re.sub(r"^layer", "layers.", re.sub(r"(kernel|scale)$", "weight", name))


def _transpose(name: str, value: Array) -> Array:
    return value.T if name.endswith(".kernel") else value
