"""The recurrent network whose units do not see each other's states, in PyTorch, its step written out.

The equations and their source are in ``reference/independent.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from farreach.frameworks.base import Model
from farreach.frameworks.layouts import count_kept
from farreach.frameworks.pytorch.linear import register_weights, to_native, to_shared
from farreach.frameworks.pytorch.recurrent import ACTIVATIONS, CutLayers

__all__ = ["IndependentLayers", "Network", "project_weights", "to_native", "to_shared"]


class Network(torch.nn.Module):
    """An embedding for tokens, independent recurrences, a linear output on the last S steps."""

    by_hand = True

    def __init__(self, model: Model, path: str = "loop", *, by_hand: bool = True) -> None:
        super().__init__()
        del path, by_hand  # PyTorch has no such layer of its own, and there is one way to run it
        self.model = model
        self.embedding = torch.nn.Embedding(model.features, model.hidden) if model.tokens else None
        self.recurrent = IndependentLayers(model)
        self.output = torch.nn.Linear(model.hidden, model.outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        return self.run_shifted(None, inputs)

    def run_shifted(self, shifts: Sequence[torch.Tensor] | None, inputs: torch.Tensor) -> torch.Tensor:
        """Add shifts to the first layer's inputs and to every layer's states, where given; return the scores."""
        below = inputs if self.embedding is None else self.embedding(inputs)
        below = below if shifts is None else below + shifts[0]
        self.recurrent.derivatives.clear()
        for layer in range(self.model.layers):
            below = self.recurrent.run_layer(layer, below, None if shifts is None else shifts[layer + 1])
        scores: torch.Tensor = self.output(below)
        return scores


class IndependentLayers(CutLayers, torch.nn.Module):
    """The layers' weights, under the names of `linear.name_native`, and their runs."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.activation, self.derivatives = model, ACTIVATIONS[model.activation], []
        register_weights(self, model)

    def run_layer(self, layer: int, inputs: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
        """Run one layer on inputs [time, batch, width]; return its states [time, batch, H], S of the last layer's."""
        kernel, u, bias = (
            self.get_parameter(f"{name}_l{layer}") for name in ("weight_input", "weight_recurrent", "bias")
        )
        projected, states = functional.linear(inputs, kernel, bias), []
        h = torch.zeros_like(projected[0])
        for at, now in enumerate(projected.unbind()):
            h = self.activation(self._cut(torch.addcmul(now, u, h)))
            h = h if shift is None else h + shift[at]
            states.append(h)
        return torch.stack(states[-count_kept(self.model, layer, len(states)) :])


def project_weights(model: Model, weights: Sequence[torch.Tensor], *, names: Sequence[str]) -> None:
    """Bring every u of every layer within its bound, 2^(1/T), in place."""
    bound = 2 ** (1 / model.length)
    for name, weight in zip(names, weights, strict=True):
        if name.startswith("recurrent.weight_recurrent"):
            weight.clamp_(-bound, bound)
