"""An LSTM in Lightning with gradient clipping, recorded by a callback: ``python own_lightning.py DIR``.

Needs lightning and farreach (``pip install .`` in a clone). Then, in the clone: ``python -m benchmarks report DIR``.
"""

import sys

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from farreach.lightning import Recorder

EXAMPLES, T = 4_800, 20


class Sum(lightning.LightningModule):
    """An LSTM that reads T numbers and marks, and says the sum of the two that are marked."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 32, batch_first=True)
        self.linear = nn.Linear(32, 1)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch: inputs [batch, T, 2] and sums [batch, 1]."""
        inputs, targets = batch
        states, _ = self.lstm(inputs)
        return nn.functional.mse_loss(self.linear(states[:, -1]), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def draw_batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs [size, T, 2], a number and a mark a step, and the sums [size, 1] of the two marked numbers."""
    numbers = torch.rand(size, T)
    marks = torch.zeros(size, T).scatter(1, torch.rand(size, T).topk(2).indices, 1.0)
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(1, keepdim=True)


def main(folder: str) -> None:
    """Train, with the norms before and after the clip on every step."""
    lightning.seed_everything(0, verbose=False)
    torch.set_num_threads(1)
    loader = DataLoader(TensorDataset(*draw_batch(EXAMPLES)), batch_size=32)
    recorder = Recorder(folder, "textbook lstm", batch=32, seed=0)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", gradient_clip_val=0.5, callbacks=[recorder], barebones=False, **quiet
    )
    trainer.fit(Sum(), loader)
    print(f"wrote {recorder.path}; now: python -m benchmarks report {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
