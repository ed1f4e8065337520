"""The encoder and decoder with attention in PyTorch: its native grus, and Luong's score.

The equations are those of ``reference/attention.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch

from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.layouts import list_names

NOTHING = -1e30
"""What stands for a step that is not seen, before the softmax: finite, and its exponential is 0."""

_PARTS = {"input": "weight_ih", "recurrent": "weight_hh"}


class Network(torch.nn.Module):
    """An encoder of two directions, a decoder, attention, a linear output on the last S steps."""

    by_hand = False

    def __init__(self, model: Model, path: str = "eager", *, by_hand: bool = False) -> None:
        super().__init__()
        del path, by_hand  # the layers are the same on every one: `paths.use_kernels` has their kernels
        self.model, hidden = model, model.hidden
        self.embedding = torch.nn.Embedding(model.features, hidden) if model.tokens else None
        width = hidden if model.tokens else model.features
        self.encoder = torch.nn.GRU(width, hidden, model.layers, bidirectional=True)
        self.recurrent = torch.nn.GRU(width, hidden, model.layers)
        self.score = torch.nn.Linear(hidden, 2 * hidden, bias=False)
        self.combine = torch.nn.Linear(3 * hidden, hidden, bias=False)
        self.output = torch.nn.Linear(hidden, model.outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        return self.run_shifted(None, inputs)

    def run_shifted(self, shifts: Sequence[torch.Tensor] | None, inputs: torch.Tensor) -> torch.Tensor:
        """Add a shift to the embedded inputs, where given; return the scores."""
        x = inputs if self.embedding is None else self.embedding(inputs)
        x = x if shifts is None else x + shifts[0]
        encoded, last = self.encoder(x[: self.model.source])
        states, _ = self.recurrent(x[self.model.source :], last[::2].contiguous())  # of each layer that goes forwards
        states = states[-self.model.scored :].transpose(0, 1)
        found = attend(self.score(states), encoded.transpose(0, 1), make_mask(self.model, inputs))
        joined = torch.tanh(self.combine(torch.cat([found, states], dim=-1)))
        return self.output(joined).transpose(0, 1)  # type: ignore[no-any-return]


def make_mask(model: Model, inputs: torch.Tensor) -> torch.Tensor | None:
    """Return whether a step of the source is seen, [batch, 1, source]; None where all are."""
    return None if model.padding is None else (inputs[: model.source] != model.padding).T.unsqueeze(1)


def attend(query: torch.Tensor, encoded: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the sums of the encoder's states [batch, source, 2·H], one for each query [batch, S, 2·H].

    Where nothing is seen at all, it is their mean.
    """
    logits = query @ encoded.transpose(1, 2)
    logits = logits if mask is None else torch.where(mask, logits, NOTHING)
    return torch.softmax(logits, dim=-1) @ encoded


def to_native(model: Model, weights: Weights) -> Weights:
    """Name and shape shared weights as PyTorch does: transposed kernels, two biases a layer."""
    native = {}
    for name in list_names(model):
        if name.startswith(("encoder", "layer")) and name.endswith(".bias"):
            native[_rename(name, "bias_ih")], native[_rename(name, "bias_hh")] = weights[name]
        else:
            native[_rename(name)] = weights[name] if name in {"embedding", "output.bias"} else weights[name].T
    return {name: np.ascontiguousarray(value) for name, value in native.items()}


def to_shared(model: Model, native: Weights) -> Weights:
    """Bring PyTorch's weights back to the shared layout."""
    weights = {}
    for name in list_names(model):
        if name.startswith(("encoder", "layer")) and name.endswith(".bias"):
            value: Array = np.stack([native[_rename(name, side)] for side in ("bias_ih", "bias_hh")])
        else:
            value = native[_rename(name)] if name in {"embedding", "output.bias"} else native[_rename(name)].T
        weights[name] = np.array(value)
    return weights


def _rename(name: str, part: str = "") -> str:
    """Return PyTorch's name of a weight of the shared layout, or of a part of it."""
    if name == "embedding":
        return "embedding.weight"
    found = re.fullmatch(r"(encoder|layer)(\d+)(\.forward|\.backward|)\.(\w+)", name)
    if found is None:
        return name.replace("kernel", "weight")
    side, layer, way, last = found.groups()
    whole = f"{'encoder' if side == 'encoder' else 'recurrent'}.{part or _PARTS[last]}_l{layer}"
    return whole + ("_reverse" if way == ".backward" else "")
