"""PyTorch as its documentation has it: `torch.nn` layers, `torch.optim`, `clip_grad_norm_`, with every default.

Read it beside ``tensorflow/native.py``: the same names in the same order, so that a diff shows what differs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from farreach.frameworks import base
from farreach.frameworks.base import Array, Clip, Model, Training, Weights
from farreach.frameworks.pytorch import DTYPES, configure
from farreach.frameworks.pytorch.clip import compute_norm
from farreach.frameworks.pytorch.loss import compute_loss
from farreach.frameworks.pytorch.paths import name_kernel, use_kernels
from farreach.tasks.base import Batch

NEEDS = ("torch",)
ACTIVATIONS = ("tanh", "relu")
PATHS = {
    "cpu": {"rnn": ("eager",), "lstm": ("eager",), "gru": ("eager",)},
    "cuda": {"rnn": ("cudnn", "eager"), "lstm": ("cudnn", "eager"), "gru": ("cudnn", "eager")},
}

LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


class Network(torch.nn.Module):
    """An embedding for tokens, the native recurrent layers, a linear output on the last S steps."""

    def __init__(self, model: Model, dtype: base.Precision) -> None:
        super().__init__()
        self.scored = model.scored
        kind = DTYPES[dtype]
        self.embedding = torch.nn.Embedding(model.features, model.hidden, dtype=kind) if model.tokens else None
        width = model.hidden if model.tokens else model.features
        activation = {"nonlinearity": model.activation} if model.cell == "rnn" else {}
        self.recurrent = LAYERS[model.cell](
            width, model.hidden, model.layers, batch_first=True, dtype=kind, **activation
        )
        self.output = torch.nn.Linear(model.hidden, model.outputs, dtype=kind)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [batch, time, ...] to scores [batch, S, outputs]."""
        if self.embedding is not None:
            inputs = self.embedding(inputs)
        states, _ = self.recurrent(inputs)
        return self.output(states[:, -self.scored :])  # type: ignore[no-any-return]


def make_optimizer(training: Training, network: Network) -> torch.optim.Optimizer:
    """Return the framework's own optimizer with its defaults, but for decays that are asked for.

    A momentum has no default, and gets 0.9.
    """
    rate = training.learning_rate
    if training.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate)
    if training.optimizer == "momentum":
        return torch.optim.SGD(network.parameters(), lr=rate, momentum=base.MOMENTUM)
    if training.optimizer == "rmsprop":
        given: dict[str, Any] = {} if training.decay is None else {"alpha": training.decay}
        return torch.optim.RMSprop(network.parameters(), lr=rate, **given)
    if training.optimizer == "adagrad":
        return torch.optim.Adagrad(network.parameters(), lr=rate)
    if training.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=training.weight_decay)
    return torch.optim.Adam(network.parameters(), lr=rate)


def clip_gradients(limit: Clip | None, network: Network) -> None:
    """Clip the gradients in place by the framework's own function."""
    if limit is None:
        return
    if limit.kind == "norm":
        torch.nn.utils.clip_grad_norm_(network.parameters(), limit.threshold)
    else:
        torch.nn.utils.clip_grad_value_(network.parameters(), limit.threshold)


def measure_clip(
    limit: Clip | None, before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the norm before the clip, the norm after it and the share of elements that it changed.

    A norm clip changes all elements or none; what moves the norm by mere rounding has changed none.
    """
    first, last = compute_norm(before), compute_norm(after)
    if limit is not None and limit.kind == "value":
        differ = torch.cat([(old != new).flatten() for old, new in zip(before, after, strict=True)])
        return first, last, differ.to(first.dtype).mean()
    rounding = 16 * torch.finfo(first.dtype).eps
    return first, last, (last < first * (1 - rounding)).to(first.dtype)


class Native:
    """One model in training, in PyTorch as a user of it writes it; see `farreach.frameworks.base.Learner`."""

    def __init__(
        self,
        model: Model,
        training: Training,
        seed: int,
        *,
        device: base.Device,
        dtype: base.Precision,
        threads: int,
        path: str,
    ) -> None:
        configure(device, threads)
        self.model, self.training, self.path = model, training, path
        self.device, self.dtype = torch.device(device), DTYPES[dtype]
        torch.manual_seed(seed)
        self.network = Network(model, dtype).to(self.device)
        self.optimizer = make_optimizer(training, self.network)

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Run one gradient and one prediction, thrown away: kernels get loaded, the state stays."""
        start = time.perf_counter()
        with use_kernels(self.path):
            self._compute_loss(batches[0]).backward()  # type: ignore[no-untyped-call]
        self.optimizer.zero_grad()
        self.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        start = time.perf_counter()
        limit, rows = self.training.clip, []
        with use_kernels(self.path):
            for batch in batches:
                self.optimizer.zero_grad()
                loss = self._compute_loss(batch)
                loss.backward()  # type: ignore[no-untyped-call]
                before = [gradient.clone() for gradient in self._read_gradients()]
                clip_gradients(limit, self.network)
                rows.append(torch.stack([loss.detach(), *measure_clip(limit, before, self._read_gradients())]))
                self.optimizer.step()
        figures = torch.stack(rows).to("cpu", torch.float64).numpy()  # the chunk's only sync point
        losses, norms, limited, clipped = figures.T
        return base.Trace(losses, norms, limited, clipped, seconds=time.perf_counter() - start)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        with use_kernels(self.path), torch.inference_mode():
            return np.asarray(self.network(self._make_tensor(inputs)).cpu().numpy())

    def weights(self) -> Weights:
        """Return the current weights under the framework's own names."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.network.named_parameters()}

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return name_kernel(self.path, self.model.cell, next(self.network.recurrent.parameters()), by_hand=False)

    def _compute_loss(self, batch: Batch) -> torch.Tensor:
        inputs, targets, mask = (self._make_tensor(part) for part in (batch.inputs, batch.targets, batch.mask))
        return compute_loss(self.model, self.network(inputs), targets, mask)

    def _read_gradients(self) -> list[torch.Tensor]:
        return [weight.grad for weight in self.network.parameters() if weight.grad is not None]

    def _make_tensor(self, array: Array) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else torch.int64)
