"""The recurrent network in PyTorch: its native layers; where they lack something, with the step written out."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from farreach.frameworks.base import Model, Weights

LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


class Network(torch.nn.Module):
    """An embedding for tokens, the native recurrent layers, a linear output on the last S steps."""

    def __init__(self, model: Model, path: str = "eager", *, by_hand: bool = False) -> None:
        super().__init__()
        del path  # the layers are the same on every one: `paths.use_kernels` has their kernels
        self.model = model
        self.by_hand = by_hand or model.activation == "sigmoid"  # no sigmoid in cuDNN, nor a way into its steps
        self.embedding = torch.nn.Embedding(model.features, model.hidden) if model.tokens else None
        width = model.hidden if model.tokens else model.features
        activation = {"nonlinearity": model.activation} if model.activation == "relu" else {}
        self.recurrent = LAYERS[model.cell](width, model.hidden, model.layers, **activation)
        if self.by_hand:
            self.recurrent = LoopedLayers(model, width)
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


class CutLayers:
    """Layers whose derivatives can be cut on their way back, for clip ``backprop``.

    Attributes:
        bound: what the derivatives with respect to what goes into every sigmoid and tanh are cut to on their way back;
            infinite for not at all.
        derivatives: those of the last way back before they were cut.

    """

    bound = float("inf")
    derivatives: list[torch.Tensor]

    def _cut(self, total: torch.Tensor) -> torch.Tensor:
        """Have the derivative with respect to this cut when it comes back."""
        if total.requires_grad and self.bound < torch.inf:
            total.register_hook(self._cut_derivative)  # type: ignore[no-untyped-call]
        return total

    def _cut_derivative(self, derivative: torch.Tensor) -> torch.Tensor:
        self.derivatives.append(derivative)
        return derivative.clamp(-self.bound, self.bound)


class LoopedLayers(CutLayers, torch.nn.RNNBase):
    """Layers whose step is written out: parameters and results of `torch.nn.RNN` (which has no sigmoid), LSTM and GRU.

    Attributes:
        totals: of the last call of an rnn, the pre-activations of each layer (a list over time), which Omega needs.
        states: of the last call, the states of each layer, [time, batch, H].

    """

    def __init__(self, model: Model, width: int) -> None:
        mode = "RNN_TANH" if model.cell == "rnn" else model.cell.upper()
        super().__init__(mode, width, model.hidden, model.layers)
        self.model, self.activation = model, ACTIVATIONS[model.activation]
        self.derivatives = []

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map inputs [time, batch, ...] to the last layer's states and the final h of every layer."""
        self.totals: list[list[torch.Tensor]] = []
        self.states: list[torch.Tensor] = []
        self.derivatives.clear()
        cells = []
        for layer in range(self.num_layers):
            kernel, recurrent, bias, bias_before = (
                self.get_parameter(f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            transposed, states = recurrent.T, []
            self.totals.append([])
            h = c = torch.zeros(inputs.shape[1], self.hidden_size, dtype=inputs.dtype, device=inputs.device)
            for below in functional.linear(inputs, kernel, bias):
                if self.model.cell == "gru":
                    h = self._step_gru(below, torch.addmm(bias_before, h, transposed), h)
                elif self.model.cell == "lstm":
                    h, c = self._step_lstm(torch.addmm(below, h, transposed), c)
                else:
                    self.totals[-1].append(torch.addmm(below, h, transposed))
                    h = self.activation(self._cut(self.totals[-1][-1]))
                states.append(h)
            inputs = torch.stack(states)
            self.states.append(inputs)
            cells.append(c)
        final = torch.stack([states[-1] for states in self.states])
        return inputs, (final, torch.stack(cells)) if self.model.cell == "lstm" else final  # type: ignore[return-value]

    def _step_lstm(self, total: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        i, f, g, o = self._cut(total).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def _step_gru(self, below: torch.Tensor, before: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        gates = 2 * self.hidden_size
        r, z = torch.sigmoid(self._cut(below[:, :gates] + before[:, :gates])).chunk(2, dim=-1)
        n = torch.tanh(self._cut(below[:, gates:] + r * before[:, gates:]))
        return (1 - z) * n + z * h


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
