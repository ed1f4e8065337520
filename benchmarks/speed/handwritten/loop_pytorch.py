"""PyTorch: `torch.nn` layers, autograd, `torch.nn.utils` or the usual few lines for a clip, `torch.optim`.

Figures stay on the device until the end.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Array = NDArray[np.float32]
Figures = tuple[Array, Array | None, Array | None]
"""The losses, the norms before the clip and those after it, [steps] each."""

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

    def run_cut_lstm(self, inputs: torch.Tensor, bound: float) -> torch.Tensor:
        """Do the same with the LSTM written out, the derivatives cut to a bound at every step back (Graves 2013)."""
        layer = self.recurrent
        h = c = inputs.new_zeros(inputs.shape[1], layer.hidden_size)
        for below in functional.linear(inputs, layer.weight_ih_l0, layer.bias_ih_l0):
            total = torch.addmm(below, h, layer.weight_hh_l0.T)
            total.register_hook(lambda derivative: derivative.clamp(-bound, bound))  # type: ignore[no-untyped-call]
            i, f, g, o = total.chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.output(h)  # type: ignore[no-any-return]

    def run_open_rnn(self, inputs: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Do the same with the RNN written out; return the outputs, the states and what went into each tanh."""
        layer = self.recurrent
        states, totals = [inputs.new_zeros(inputs.shape[1], layer.hidden_size)], []
        for below in functional.linear(inputs, layer.weight_ih_l0, layer.bias_ih_l0):
            totals.append(torch.addmm(below, states[-1], layer.weight_hh_l0.T))
            states.append(torch.tanh(totals[-1]))
        return self.output(states[-1]), states[1:], totals


def _penalise(states: torch.Tensor, d_totals: torch.Tensor, recurrent: torch.Tensor) -> torch.Tensor:
    """Return the gradient of Pascanu's Omega (2013, equation 10) with respect to the recurrent kernel.

    The states and the derivatives d with respect to what went into each tanh are [time, batch, units]; a term is the
    share of |d|² that goes on one step back.
    """
    norms = torch.linalg.vector_norm(d_totals[1:], dim=-1, keepdim=True)
    unit = d_totals[1:] / norms.where(norms > 0, 1)
    slope = 1 - states[:-1].square()
    back = unit @ recurrent * slope
    factor = 4 * (back.square().sum(dim=-1, keepdim=True) - 1) / states.shape[1]
    return torch.einsum("tbi,tbj->ji", back * slope * factor, unit)


def _adapt_gradient(weight: torch.Tensor, gradient: torch.Tensor, threshold: float) -> None:
    """Clip a gradient unit by unit (Brock et al. 2021): a unit is a row, or a whole bias."""
    size, norm = (torch.linalg.vector_norm(part, dim=-1, keepdim=True) for part in (weight.detach(), gradient))
    limit = size.clamp_(min=1e-3).mul_(threshold)
    clipped = gradient * (limit / norm.clamp(min=1e-6))
    gradient.copy_(torch.where(norm < limit, gradient, clipped))


def _make_optimizer(
    weights: list[torch.Tensor], optimizer: str, learning_rate: float, numbers: dict[str, float]
) -> torch.optim.Optimizer:
    """Return an optimizer by its name, fused where PyTorch has it; `numbers` are its decay and weight_decay, say."""
    if optimizer == "rmsprop":
        made = torch.optim.RMSprop(weights, learning_rate, alpha=numbers.get("decay", 0.99))
        if start := numbers.get("accumulator"):
            for weight in weights:
                made.state[weight] = {"step": torch.tensor(0.0), "square_avg": torch.full_like(weight.detach(), start)}
        return made
    if optimizer == "adagrad":
        return torch.optim.Adagrad(weights, learning_rate, initial_accumulator_value=numbers.get("accumulator", 0.0))
    if optimizer == "adamw":
        return torch.optim.AdamW(weights, learning_rate, weight_decay=numbers["weight_decay"], fused=True)
    if optimizer == "adam":
        return torch.optim.Adam(weights, learning_rate, fused=True)
    return torch.optim.SGD(weights, learning_rate, momentum=0.9 if optimizer == "momentum" else 0.0)


def _make_schedule(optimizer: torch.optim.Optimizer, schedule: dict[str, Any]) -> Any:
    """Return a schedule of the learning rate: `kind` step or cosine, and its numbers."""
    schedules, kind = torch.optim.lr_scheduler, schedule["kind"]
    if kind == "step":
        return schedules.StepLR(optimizer, schedule["every"], schedule["factor"])
    warmup, steps, end = (schedule[name] for name in ("warmup", "steps", "end"))

    def find_factor(done: int) -> float:
        if done < warmup:
            return float(done / warmup)
        return float(end + (1 - end) * (1 + math.cos(math.pi * (done - warmup) / (steps - warmup))) / 2)

    return schedules.LambdaLR(optimizer, find_factor)


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
        configure(threads)
        torch.manual_seed(seed)
        self.device, self.clip, self.threshold = torch.device(device), clip, threshold
        numbers = numbers or {}
        self.omega2 = numbers.get("omega2", 0.0)
        self.network = Network(cell, features, hidden, outputs).to(self.device, getattr(torch, dtype))
        if cell != "gru" and (clip in {"variable", "agc", "backprop"} or self.omega2):
            # Two biases where one is enough would be two variables, each clipped by itself.
            self.network.recurrent.bias_hh_l0.requires_grad_(requires_grad=False)
        self.weights: list[torch.Tensor] = [one for one in self.network.parameters() if one.requires_grad]
        self.optimizer = _make_optimizer(self.weights, optimizer, learning_rate, numbers)
        self.schedule = _make_schedule(self.optimizer, schedule) if schedule else None
        self.history: deque[float] = deque(maxlen=int(numbers.get("steps", 0)))

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
            loss = self._differentiate(batch, wanted)
            norms = self._clip_gradients()
            self.optimizer.step()
            if self.schedule:
                self.schedule.step()
            rows.append(torch.stack([loss.detach(), *norms]))
        losses, before, *after = torch.stack(rows).cpu().numpy().T
        return losses, before, after[0] if after else self._scale_norms(before)

    def _differentiate(self, batch: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, its gradient left at the weights."""
        if self.omega2:
            outputs, states, totals = self.network.run_open_rnn(batch)
            loss = functional.mse_loss(outputs, wanted)
            gradients = torch.autograd.grad(loss, [*self.weights, *totals])
            for weight, gradient in zip(self.weights, gradients, strict=False):
                weight.grad = gradient
            recurrent = self.network.recurrent.weight_hh_l0
            with torch.no_grad():
                omega = _penalise(torch.stack(states), torch.stack(gradients[len(self.weights) :]), recurrent)
                recurrent.grad.add_(omega, alpha=self.omega2)
            return loss
        is_cut = self.clip == "backprop"
        outputs = self.network.run_cut_lstm(batch, self.threshold) if is_cut else self.network(batch)
        loss = functional.mse_loss(outputs, wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def _clip_gradients(self) -> tuple[torch.Tensor, ...]:
        """Clip the gradient in place; return its norm before and, where the threshold does not tell it, after."""
        utils = torch.nn.utils
        if self.clip == "norm":
            return (utils.clip_grad_norm_(self.weights, self.threshold),)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        before = utils.get_total_norm(gradients)
        if self.clip == "backprop":
            return (before,)
        if self.clip == "value":
            utils.clip_grad_value_(self.weights, self.threshold)
        elif self.clip == "variable":
            for weight in self.weights:
                utils.clip_grad_norm_(weight, self.threshold)
        elif self.clip == "agc":
            for weight, gradient in zip(self.weights[:-2], gradients, strict=False):  # all but the output layer
                _adapt_gradient(weight, gradient, self.threshold)
        else:  # autoclip, Seetharaman et al. 2020
            self.history.append(before.item())
            limit = float(np.percentile([*self.history], self.threshold))
            utils.clip_grads_with_norm_(self.weights, limit, before)
            return before, before.clamp(max=limit)
        return before, utils.get_total_norm(gradients)

    def _scale_norms(self, before: Array) -> Array:
        return before if self.clip == "backprop" else np.minimum(before, self.threshold)
