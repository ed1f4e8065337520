"""Lightning: a `LightningModule` of `torch.nn` layers, its Trainer without logger, checkpoints and progress bar."""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

Array = NDArray[np.float32]
Figures = tuple[Array, Array | None, Array | None]
"""The losses, [steps], which the module collects as Lightning's documentation has it; no norms."""

LAYERS: dict[str, Any] = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def configure(threads: int) -> None:
    """Set the threads and full float32 products; silence what Lightning says at every start."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")


class Network(lightning.LightningModule):  # type: ignore[misc]
    """One recurrent layer and a linear output on its last state."""

    optimizer: torch.optim.Optimizer

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
        self.losses: list[torch.Tensor] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, features] to outputs [batch, outputs]."""
        # The final state is cheaper to differentiate than the last of all states.
        _, final = self.recurrent(inputs)
        final = final[0] if isinstance(final, tuple) else final
        return self.output(final[-1])  # type: ignore[no-any-return]

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Return the loss of a batch."""
        inputs, targets = batch
        loss = functional.mse_loss(self(inputs), targets)
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer, the same for every call of fit."""
        return self.optimizer


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
        dtype: str = "float32",
        clip: str = "norm",
        optimizer: str = "adam",
        numbers: dict[str, float] | None = None,
        schedule: dict[str, Any] | None = None,
    ) -> None:
        if (dtype, clip, optimizer, numbers, schedule) != ("float32", "norm", "adam", None, None):
            message = "trainer_lightning is written for Adam at one learning rate under a norm clip in float32"
            raise ValueError(message)
        configure(threads)
        torch.manual_seed(seed)
        self.device = torch.device(device)
        self.network = Network(cell, features, hidden, outputs).to(self.device)
        self.network.optimizer = torch.optim.Adam(self.network.parameters(), learning_rate, fused=True)
        self.trainer = lightning.Trainer(
            max_epochs=0,
            gradient_clip_val=threshold,
            gradient_clip_algorithm="norm",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator=device,
            devices=1,
        )

    def prepare(self, inputs: Array, targets: Array) -> float:
        """Warm up by training on these batches; return the seconds it took."""
        start = time.perf_counter()
        self.train(inputs, targets)
        return time.perf_counter() - start

    def train(self, inputs: Array, targets: Array) -> Figures:
        """Do one update per batch; inputs are [steps, batch, time, features], targets [steps, batch, outputs]."""
        chunk = torch.from_numpy(inputs).to(self.device).transpose(1, 2).contiguous()
        batches = TensorDataset(chunk, torch.from_numpy(targets).to(self.device))
        self.network.losses.clear()
        # A call is one epoch more. What `fit` sets up and takes down for it can not be had once for all calls.
        self.trainer.fit_loop.max_epochs = self.trainer.current_epoch + 1
        self.trainer.fit(self.network, DataLoader(batches, batch_size=None))
        return torch.stack(self.network.losses).cpu().numpy(), None, None
