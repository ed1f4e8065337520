"""A textbook's LSTM in PyTorch with gradient clipping, made right, and recorded: ``python own_pytorch.py DIR``.

Needs torch and farreach (``pip install .`` in a clone). Then, in the clone: ``python -m benchmarks report DIR``.
"""

import sys

import torch
from torch import nn

from farreach.pytorch import Recorder

STEPS, T = 300, 20


class Sum(nn.Module):
    """An LSTM that reads T numbers and marks, and says the sum of the two that are marked."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 32, batch_first=True)
        self.linear = nn.Linear(32, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [batch, T, 2] to sums [batch, 1]."""
        states, _ = self.lstm(inputs)
        return self.linear(states[:, -1])


def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs [size, T, 2], a number and a mark a step, and the sums [size, 1] of the marked numbers."""
    numbers = torch.rand(size, T)
    marks = torch.zeros(size, T).scatter(1, torch.rand(size, T).topk(2).indices, 1.0)
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(1, keepdim=True)


def main(folder: str) -> None:
    """Train, with the norms before and after the clip on every step."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Sum()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    about = {"optimizer": "adam", "learning_rate": 3e-3, "batch": 32, "seed": 0}

    with Recorder(model, folder, "textbook lstm", **about) as recorder:
        for _ in range(STEPS):
            inputs, targets = batch(32)
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()  # first the gradient,
            recorder.clip_norm(0.5)  # then the clip of what is there now: torch's own clip_grad_norm_, recorded,
            optimizer.step()  # then the update by what was clipped.
            recorder.step(loss)
            # The much-copied wrong order is zero_grad, clip, backward, step. Nothing complains, and nothing is
            # ever clipped: at the clip there is no gradient, and what backward() then adds is used whole.

    print(f"{STEPS} steps, loss {loss.item():.3f}; now: python -m benchmarks report {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
