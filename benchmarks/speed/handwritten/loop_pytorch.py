"""PyTorch: `torch.nn` layers, autograd, `clip_grad_norm_`, fused Adam; figures stay on the device until the end."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Array = NDArray[np.float32]
Figures = tuple[Array, Array | None]
"""The losses and the norms before the clip, [steps] each."""

LAYERS: dict[str, Any] = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def configure(threads: int) -> None:
    """Set the threads and full float32 products."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


class Network(torch.nn.Module):
    """One recurrent layer and a linear output on its last state."""

    def __init__(self, cell: str, features: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.recurrent = LAYERS[cell](features, hidden)
        self.output = torch.nn.Linear(hidden, outputs)
        # PyTorch's own draw shrinks a gradient at every step: over 200 of them it sinks into subnormal numbers, which
        # cost a CPU many times the time. With orthogonal blocks and an open forget gate, as in Keras, it does not.
        for block in self.recurrent.weight_hh_l0.data.split(hidden):
            torch.nn.init.orthogonal_(block)
        torch.nn.init.zeros_(self.recurrent.bias_hh_l0)
        torch.nn.init.zeros_(self.recurrent.bias_ih_l0)
        if cell == "lstm":
            torch.nn.init.ones_(self.recurrent.bias_ih_l0.data[hidden : 2 * hidden])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, features] to outputs [batch, outputs]."""
        # The final state is cheaper to differentiate than the last of all states.
        _, final = self.recurrent(inputs)
        final = final[0] if isinstance(final, tuple) else final
        return self.output(final[-1])  # type: ignore[no-any-return]


class Loop:
    """A network in training."""

    def __init__(
        self,
        *,
        cell: str,
        features: int,
        hidden: int,
        outputs: int,
        learning_rate: float,
        threshold: float,
        device: str,
        threads: int,
        seed: int = 0,
    ) -> None:
        configure(threads)
        torch.manual_seed(seed)
        self.device, self.threshold = torch.device(device), threshold
        self.network = Network(cell, features, hidden, outputs).to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), learning_rate, fused=True)

    def prepare(self, inputs: Array, targets: Array) -> float:
        """Warm up by training on these batches; return the seconds it took."""
        start = time.perf_counter()
        self.train(inputs, targets)
        return time.perf_counter() - start

    def train(self, inputs: Array, targets: Array) -> Figures:
        """Do one update per batch; inputs are [steps, batch, time, features], targets [steps, batch, outputs]."""
        rows = []
        chunk = torch.from_numpy(inputs).to(self.device).transpose(1, 2).contiguous()
        for batch, wanted in zip(chunk, torch.from_numpy(targets).to(self.device), strict=True):
            self.optimizer.zero_grad()
            loss = functional.mse_loss(self.network(batch), wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.threshold)
            self.optimizer.step()
            rows.append(torch.stack([loss.detach(), norm]))
        losses, norms = torch.stack(rows).cpu().numpy().T
        return losses, norms
