"""An LSTM trained by Hugging Face's Trainer, recorded by a callback: ``python own_transformers.py DIR``.

Needs transformers, accelerate and farreach (``pip install .`` in a clone). Then, in the clone:
``python -m benchmarks report DIR``.
"""

import sys
import tempfile

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from farreach.transformers import Recorder

EXAMPLES, T = 4_800, 20


class Sum(nn.Module):
    """An LSTM that reads T numbers and marks, and says the sum of the two that are marked."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 32, batch_first=True)
        self.linear = nn.Linear(32, 1)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss of inputs [batch, T, 2] and sums [batch, 1], and what the model says."""
        states, _ = self.lstm(inputs)
        sums = self.linear(states[:, -1])
        return {"loss": nn.functional.mse_loss(sums, labels), "logits": sums}


def draw_batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs [size, T, 2], a number and a mark a step, and the sums [size, 1] of the two marked numbers."""
    numbers = torch.rand(size, T)
    marks = torch.zeros(size, T).scatter(1, torch.rand(size, T).topk(2).indices, 1.0)
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(1, keepdim=True)


def main(folder: str) -> None:
    """Train, with the norms before and after the clip on every step."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = [{"inputs": inputs, "labels": sums} for inputs, sums in zip(*draw_batch(EXAMPLES), strict=True)]
    recorder = Recorder(folder, "textbook lstm")
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            scratch,
            learning_rate=3e-3,
            lr_scheduler_type="constant",
            max_grad_norm=0.5,
            per_device_train_batch_size=32,
            num_train_epochs=2,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        )
        Trainer(Sum(), arguments, train_dataset=data, callbacks=[recorder]).train()
    print(f"wrote {recorder.path}; now: python -m benchmarks report {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
