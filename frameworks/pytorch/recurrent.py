"""The recurrent network in PyTorch: its native layers; where they lack something, an rnn with its step written out."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from farreach.frameworks import base
from farreach.frameworks.base import Model, Weights

LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


class Network(torch.nn.Module):
    """An embedding for tokens, the native recurrent layers, a linear output on the last S steps."""

    def __init__(self, model: Model, *, by_hand: bool = False) -> None:
        super().__init__()
        self.model = model
        self.embedding = torch.nn.Embedding(model.features, model.hidden) if model.tokens else None
        width = model.hidden if model.tokens else model.features
        activation = {"nonlinearity": model.activation} if model.activation == "relu" else {}
        self.recurrent = LAYERS[model.cell](width, model.hidden, model.layers, **activation)
        if by_hand or model.activation == "sigmoid":
            self.recurrent = LoopedRNN(width, model.hidden, model.layers, activation=model.activation)
        self.output = torch.nn.Linear(model.hidden, model.outputs)
        if model.cell != "gru":
            # The layer has two bias vectors where one is enough: the second stays zero, untrained.
            for layer in range(model.layers):
                getattr(self.recurrent, f"bias_hh_l{layer}").requires_grad_(requires_grad=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        if self.embedding is not None:
            inputs = self.embedding(inputs)
        states, final = self.recurrent(inputs)  # states [time, batch, H], final state(s) [layers, batch, H]
        if self.model.scored == 1:
            final = final[0] if self.model.cell == "lstm" else final
            return self.output(final[-1:])  # type: ignore[no-any-return]
        return self.output(states[-self.model.scored :])  # type: ignore[no-any-return]


class LoopedRNN(torch.nn.RNN):
    """An rnn whose step is written out: parameters and results of `torch.nn.RNN`, which has no sigmoid.

    ``totals`` and ``states`` keep, of the last call and for each layer, the pre-activations (a list over time) and
    the states [time, batch, H], which Omega needs.
    """

    def __init__(self, width: int, hidden: int, layers: int, *, activation: base.Activation) -> None:
        super().__init__(width, hidden, layers)
        self.activation = ACTIVATIONS[activation]

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        """Map inputs [time, batch, ...] to the last layer's states and the final state of every layer."""
        self.totals: list[list[torch.Tensor]] = []
        self.states: list[torch.Tensor] = []
        for layer in range(self.num_layers):
            kernel, recurrent, bias = (
                self.get_parameter(f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih")
            )
            transposed, totals = recurrent.T, []
            states = [torch.zeros(inputs.shape[1], self.hidden_size, dtype=inputs.dtype, device=inputs.device)]
            for below in functional.linear(inputs, kernel, bias):
                totals.append(torch.addmm(below, states[-1], transposed))
                states.append(self.activation(totals[-1]))
            inputs = torch.stack(states[1:])
            self.totals.append(totals)
            self.states.append(inputs)
        return inputs, torch.stack([states[-1] for states in self.states])


def to_native(model: Model, weights: Weights) -> Weights:
    """Name and shape shared weights as PyTorch does: transposed kernels, two biases a layer."""
    native = {"output.weight": weights["output.kernel"].T, "output.bias": weights["output.bias"]}
    if model.tokens:
        native["embedding.weight"] = weights["embedding"]
    for layer in range(model.layers):
        native[f"recurrent.weight_ih_l{layer}"] = weights[f"layer{layer}.input"].T
        native[f"recurrent.weight_hh_l{layer}"] = weights[f"layer{layer}.recurrent"].T
        bias = weights[f"layer{layer}.bias"]
        rows = bias if model.cell == "gru" else (bias, np.zeros_like(bias))
        native[f"recurrent.bias_ih_l{layer}"], native[f"recurrent.bias_hh_l{layer}"] = rows
    return {name: np.ascontiguousarray(value) for name, value in native.items()}


def to_shared(model: Model, native: Weights) -> Weights:
    """Bring PyTorch's weights back to the shared layout."""
    weights = {"output.kernel": native["output.weight"].T, "output.bias": native["output.bias"]}
    if model.tokens:
        weights["embedding"] = native["embedding.weight"]
    for layer in range(model.layers):
        weights[f"layer{layer}.input"] = native[f"recurrent.weight_ih_l{layer}"].T
        weights[f"layer{layer}.recurrent"] = native[f"recurrent.weight_hh_l{layer}"].T
        rows = [native[f"recurrent.bias_{side}_l{layer}"] for side in ("ih", "hh")[: 1 + (model.cell == "gru")]]
        weights[f"layer{layer}.bias"] = np.stack(rows) if model.cell == "gru" else rows[0]
    return {name: np.array(value) for name, value in weights.items()}
