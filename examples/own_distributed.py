"""An LSTM in two processes, each with a shard of its weights: ``torchrun --nproc-per-node 2 own_distributed.py DIR``.

The first process writes one run for all of them. With ``DIR ddp`` every process has all the weights. Needs torch and
farreach (``pip install .`` in a clone). Then, in the clone: ``python -m benchmarks report DIR``.
"""

import sys

import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from farreach.pytorch import Recorder

STEPS, T = 150, 20


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


def main(folder: str, how: str = "fsdp") -> None:
    """Train, with the norms before and after the clip on every step."""
    distributed.init_process_group("gloo")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Sum()
    if how == "ddp":
        model = DistributedDataParallel(model)
    else:
        fully_shard(model, mesh=distributed.init_device_mesh("cpu", (distributed.get_world_size(),)))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    torch.manual_seed(distributed.get_rank())  # each draws batches of its own
    with Recorder(model, folder, "textbook lstm", batch=32, seed=0) as recorder, recorder.watching():
        for _ in range(STEPS):
            inputs, targets = draw_batch(16)
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            recorder.step(loss)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
