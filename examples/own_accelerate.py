"""An LSTM in a loop of one's own with accelerate, batches added up two by two: ``python own_accelerate.py DIR``.

Needs accelerate and farreach (``pip install .`` in a clone). Then, in the clone: ``python -m benchmarks report DIR``.
"""

import sys

import torch
from accelerate import Accelerator
from torch import nn

from farreach.pytorch import Recorder

UPDATES, T = 300, 20


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


def draw_batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs [size, T, 2], a number and a mark a step, and the sums [size, 1] of the two marked numbers."""
    numbers = torch.rand(size, T)
    marks = torch.zeros(size, T).scatter(1, torch.rand(size, T).topk(2).indices, 1.0)
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(1, keepdim=True)


def main(folder: str) -> None:
    """Train, with the norms before and after the clip on every update."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = Sum()
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters(), lr=3e-3))

    with Recorder(model, folder, "textbook lstm", batch=32, seed=0) as recorder, recorder.watching():
        for _ in range(2 * UPDATES):
            with accelerator.accumulate(model):
                inputs, targets = draw_batch(16)
                loss = nn.functional.mse_loss(model(inputs), targets)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                recorder.step(loss)  # once per update, not per batch

    print(f"{UPDATES} updates, loss {loss.item():.3f}; now: python -m benchmarks report {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
