"""The rnn in PyTorch with its step written out, for what the native layer lacks: a sigmoid, and what Omega needs."""

from __future__ import annotations

import torch
from torch.nn import functional

from farreach.frameworks import base


class LoopedRNN(torch.nn.RNN):
    """An rnn whose step is written out: parameters and results of `torch.nn.RNN`, which has no sigmoid.

    ``totals`` and ``states`` keep, of the last call and for each layer, the pre-activations (a list over time) and
    the states [time, batch, H], which Omega needs.
    """

    def __init__(self, width: int, hidden: int, layers: int, *, activation: base.Activation) -> None:
        super().__init__(width, hidden, layers)
        self.activation = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}[activation]

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
