"""PyTorch: the architectures that came later, from `torch.nn`, or by the equations of their papers where it has none.

The recurrences keep their last state alone. Figures stay on the device until the end.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

Array = NDArray[np.float32]
Figures = tuple[Array, Array, Array]
"""The losses, the norms before the clip and those after it, [steps] each."""


def configure(threads: int) -> None:
    """Set the threads and full float32 products."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


class _MinimalGRU(nn.Module):
    """minGRU (Feng et al. 2024): neither gate nor candidate sees the state."""

    def __init__(self, features: int, hidden: int, outputs: int, path: str) -> None:
        super().__init__()
        self.path = path
        self.gate, self.candidate = nn.Linear(features, hidden), nn.Linear(features, hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, features] to outputs [batch, outputs]."""
        z = torch.sigmoid(self.gate(inputs))
        return self.output(_run(self.path, 1 - z, z * self.candidate(inputs)))  # type: ignore[no-any-return]


class _MinimalLSTM(nn.Module):
    """minLSTM (Feng et al. 2024), its gates brought to a sum of 1."""

    def __init__(self, features: int, hidden: int, outputs: int, path: str) -> None:
        super().__init__()
        self.path = path
        self.forget, self.input = nn.Linear(features, hidden), nn.Linear(features, hidden)
        self.candidate, self.output = nn.Linear(features, hidden), nn.Linear(hidden, outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, features] to outputs [batch, outputs]."""
        f, i = torch.sigmoid(self.forget(inputs)), torch.sigmoid(self.input(inputs))
        kept, added = f / (f + i), i / (f + i) * self.candidate(inputs)
        return self.output(_run(self.path, kept, added))  # type: ignore[no-any-return]


class _Independent(nn.Module):
    """IndRNN (Li et al. 2018): each unit sees its own state alone, times a factor that is kept within 2^(1/T)."""

    def __init__(self, features: int, hidden: int, outputs: int, length: int) -> None:
        super().__init__()
        self.bound = 2 ** (1 / length)
        self.input, self.recurrent = nn.Linear(features, hidden), nn.Parameter(torch.rand(hidden) * self.bound)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, features] to outputs [batch, outputs]."""
        below = self.input(inputs)
        h = torch.zeros_like(below[0])
        for x in below:
            h = torch.relu(torch.addcmul(x, self.recurrent, h))
        return self.output(h)  # type: ignore[no-any-return]

    def project(self) -> None:
        """Bring the factors within their bound."""
        with torch.no_grad():
            self.recurrent.clamp_(-self.bound, self.bound)


class _LinearUnits(nn.Module):
    """LRU (Orvieto et al. 2023): a complex diagonal recurrence, in two parts, and a gated output."""

    def __init__(self, features: int, hidden: int, outputs: int, path: str) -> None:
        super().__init__()
        self.path = path
        size = torch.sqrt(torch.rand(hidden) * (0.999**2 - 0.9**2) + 0.9**2)
        self.nu, self.theta = nn.Parameter(torch.log(-torch.log(size))), nn.Parameter(torch.log(torch.rand(hidden)))
        self.gamma = nn.Parameter(torch.log(torch.sqrt(1 - size**2)))
        self.b_real, self.b_imaginary = (nn.Linear(features, hidden, bias=False) for _ in range(2))
        self.c_real, self.c_imaginary = (nn.Linear(hidden, hidden, bias=False) for _ in range(2))
        self.skip, self.gate = nn.Linear(features, hidden, bias=False), nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, features] to outputs [batch, outputs]."""
        size, angle, scale = torch.exp(-torch.exp(self.nu)), torch.exp(self.theta), torch.exp(self.gamma)
        a = size * torch.cos(angle), size * torch.sin(angle)
        added = scale * self.b_real(inputs), scale * self.b_imaginary(inputs)
        real, imaginary = _turn_by_scan(a, added) if self.path == "scan" else _turn(a, added)
        y = self.c_real(real) - self.c_imaginary(imaginary) + self.skip(inputs[-1])
        return self.output(y * torch.sigmoid(self.gate(y)))  # type: ignore[no-any-return]


class _Transformer(nn.Module):
    """A causal Transformer of one layer, its norms before, with learned positions."""

    def __init__(self, features: int, hidden: int, outputs: int, *, heads: int, length: int) -> None:
        super().__init__()
        self.input, self.positions = nn.Linear(features, hidden), nn.Parameter(0.02 * torch.randn(length, hidden))
        layer = nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, nn.LayerNorm(hidden), enable_nested_tensor=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, features] to outputs [batch, outputs]."""
        x = self.input(inputs.transpose(0, 1)) + self.positions
        mask: Any = self.mask
        return self.output(self.encoder(x, mask.to(x.dtype), is_causal=True)[:, -1])  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """An encoder of two directions and a decoder of grus, and Luong's attention (2015), score ``general``."""

    def __init__(self, features: int, hidden: int, outputs: int, *, source: int, scored: int) -> None:
        super().__init__()
        self.source, self.scored = source, scored
        self.encoder, self.decoder = nn.GRU(features, hidden, bidirectional=True), nn.GRU(features, hidden)
        self.score, self.combine = nn.Linear(hidden, 2 * hidden, bias=False), nn.Linear(3 * hidden, hidden, bias=False)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, features] to scores [scored, batch, outputs]."""
        encoded, last = self.encoder(inputs[: self.source])
        states, _ = self.decoder(inputs[self.source :], last[:1])
        states, encoded = states[-self.scored :].transpose(0, 1), encoded.transpose(0, 1)
        shares = torch.softmax(self.score(states) @ encoded.transpose(1, 2), dim=-1)
        joined = torch.tanh(self.combine(torch.cat([shares @ encoded, states], dim=-1)))
        return self.output(joined).transpose(0, 1)  # type: ignore[no-any-return]


def _run(path: str, kept: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Return the last of h_t = kept_t h_{t-1} + added_t, all [time, batch, units], by a loop or by doubling."""
    if path == "scan":
        reach = 1
        while reach < len(added):
            added = torch.cat([added[:reach], torch.addcmul(added[reach:], kept[reach:], added[:-reach])])
            kept = torch.cat([kept[:reach], kept[reach:] * kept[:-reach]])
            reach *= 2
        return added[-1]
    h = torch.zeros_like(added[0])
    for share, new in zip(kept, added, strict=True):
        h = torch.addcmul(new, share, h)
    return h


_Pair = tuple[torch.Tensor, torch.Tensor]


def _turn(a: _Pair, added: _Pair) -> _Pair:
    """Return the last of h_t = a h_{t-1} + added_t, complex, in two parts, by a loop."""
    real = imaginary = torch.zeros_like(added[0][0])
    for new, other in zip(*added, strict=True):
        real, imaginary = a[0] * real - a[1] * imaginary + new, a[0] * imaginary + a[1] * real + other
    return real, imaginary


def _turn_by_scan(a: _Pair, added: _Pair) -> _Pair:
    """Return the same by doubling."""
    (real, imaginary), reach = added, 1
    while reach < len(real):
        before, beside = real[:-reach], imaginary[:-reach]
        real, imaginary = (
            torch.cat([real[:reach], real[reach:] + a[0] * before - a[1] * beside]),
            torch.cat([imaginary[:reach], imaginary[reach:] + a[0] * beside + a[1] * before]),
        )
        a, reach = (a[0] * a[0] - a[1] * a[1], 2 * a[0] * a[1]), 2 * reach
    return real[-1], imaginary[-1]


def _make_network(cell: str, features: int, hidden: int, outputs: int, *, facts: dict[str, Any]) -> nn.Module:
    """Return a network by its cell; `facts` are its path, heads, length, source and scored steps."""
    if cell == "attention":
        return _Attention(features, hidden, outputs, source=facts["source"], scored=facts["scored"])
    if cell == "transformer":
        return _Transformer(features, hidden, outputs, heads=facts["heads"], length=facts["length"])
    if cell == "indrnn":
        return _Independent(features, hidden, outputs, facts["length"])
    return {"mingru": _MinimalGRU, "minlstm": _MinimalLSTM, "lru": _LinearUnits}[cell](
        features, hidden, outputs, facts["path"]
    )


class Loop:
    """A network in training."""

    def __init__(
        self,
        *,
        cell: str,
        features: int,
        hidden: int,
        outputs: int,
        facts: dict[str, Any],
        learning_rate: float,
        threshold: float,
        device: str,
        threads: int,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        configure(threads)
        torch.manual_seed(seed)
        self.device, self.threshold = torch.device(device), threshold
        self.network = _make_network(cell, features, hidden, outputs, facts=facts).to(
            self.device, getattr(torch, dtype)
        )
        self.is_projected, self.has_classes = cell == "indrnn", cell == "attention"
        if cell == "transformer":  # a bias of the keys changes nothing; PyTorch has one of the three together
            for layer in self.network.encoder.layers:  # type: ignore[union-attr]
                layer.self_attn.in_proj_bias.requires_grad_(requires_grad=False)
        self.weights = [one for one in self.network.parameters() if one.requires_grad]
        self.optimizer = torch.optim.Adam(self.weights, learning_rate, fused=True)

    def prepare(self, inputs: Array, targets: Array) -> float:
        """Warm up by training on these batches; return the seconds it took."""
        start = time.perf_counter()
        self.train(inputs, targets)
        return time.perf_counter() - start

    def train(self, inputs: Array, targets: Array) -> Figures:
        """Do one update per batch; inputs are [steps, batch, time, features], targets [steps, batch, ...]."""
        rows = []
        chunk = torch.from_numpy(inputs).to(self.device).transpose(1, 2).contiguous()
        for batch, wanted in zip(chunk, torch.from_numpy(targets).to(self.device), strict=True):
            self.optimizer.zero_grad()
            loss = self._compute_loss(self.network(batch), wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(self.weights, self.threshold)
            self.optimizer.step()
            if self.is_projected:
                self.network.project()  # type: ignore[operator]
            rows.append(torch.stack([loss.detach(), norm]))
        losses, before = torch.stack(rows).cpu().numpy().T
        return losses, before, np.minimum(before, self.threshold)

    def _compute_loss(self, outputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error, or over classes the cross-entropy of every scored step."""
        if self.has_classes:
            return functional.cross_entropy(outputs.transpose(0, 1).flatten(0, 1), wanted.flatten().long())
        return functional.mse_loss(outputs, wanted)
