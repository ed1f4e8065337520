"""PyTorch: its native recurrent layers, run step by step; the sigmoid rnn, which it lacks, by hand.

Read it beside `tensorflow.py`: the same names in the same order, so that a diff shows what differs. On a GPU the
layers are cuDNN's on the paths ``cudnn``, ``cudagraph`` (the whole step recorded and replayed) and ``compiled``, and
PyTorch's own on ``eager``. On the CPU ``flushed`` is ``eager`` with subnormal numbers taken for zero.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from farreach.frameworks import base
from farreach.frameworks.base import Array, Clip, Model, Optimizer, Regulariser, Training, Weights
from farreach.frameworks.pytorch.device import gpu_facts
from farreach.frameworks.pytorch.loops import LoopedRNN
from farreach.frameworks.pytorch.paths import Captured, Step, compiled, kernel, kernels
from farreach.tasks.base import Batch

NEEDS = ("torch",)
PATHS = {
    "cpu": {
        "rnn": ("eager", "flushed", "compiled"),
        "lstm": ("eager", "flushed", "compiled"),
        "gru": ("eager", "flushed", "compiled"),
    },
    "cuda": {
        "rnn": ("cudnn", "cudagraph", "compiled", "eager"),
        "lstm": ("cudnn", "cudagraph", "compiled", "eager"),
        "gru": ("cudnn", "cudagraph", "compiled", "eager"),
    },
}
# One size of workspace: cuDNN's products might otherwise be done by another algorithm from run to run.
ENVIRONMENT = {"cuda": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}}

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2}
LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}

type_of = {"float32": torch.float32, "float64": torch.float64}


@functools.cache
def configure(device: str, threads: int) -> None:
    """Set the threads and the precision, once a process; float32 products are full float32."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    if device == "cuda":
        if not torch.cuda.is_available():
            message = "PyTorch finds no CUDA GPU on this machine"
            raise base.UnsupportedError(message)
        os.environ.update(base.surroundings(ENVIRONMENT["cuda"], os.environ))
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(mode=True)
        # To fill memory before its use is a search for faults, and costs a kernel an allocation.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


class Network(torch.nn.Module):
    """An embedding for tokens, the native recurrent layers, a linear output on the last S steps."""

    def __init__(self, model: Model, *, by_hand: bool = False) -> None:
        super().__init__()
        self.model = model
        self.embedding = torch.nn.Embedding(model.features, model.hidden) if model.tokens else None
        width = model.hidden if model.tokens else model.features
        activation = {"nonlinearity": model.activation} if model.activation == "relu" else {}
        self.recurrent = LAYERS[model.cell](width, model.hidden, model.layers, **activation)
        if by_hand or model.activation == "sigmoid":
            self.recurrent = LoopedRNN(width, model.hidden, model.layers, activation=model.activation)
        self.output = torch.nn.Linear(model.hidden, model.outputs)
        if model.cell != "gru":
            # The layer has two bias vectors where one is enough: the second stays zero, untrained.
            for layer in range(model.layers):
                getattr(self.recurrent, f"bias_hh_l{layer}").requires_grad_(requires_grad=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        if self.embedding is not None:
            inputs = self.embedding(inputs)
        states, final = self.recurrent(inputs)  # states [time, batch, H], final state(s) [layers, batch, H]
        if self.model.scored == 1:
            final = final[0] if self.model.cell == "lstm" else final
            return self.output(final[-1:])  # type: ignore[no-any-return]
        return self.output(states[-self.model.scored :])  # type: ignore[no-any-return]


def loss_of(model: Model, scores: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the loss over the positions that count; scores [S, batch, outputs], mask [S, batch]."""
    if model.loss == "cross_entropy":
        each = functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none").view_as(mask)
    else:
        each = (scores - targets).square().mean(dim=-1)
    return (each * mask).sum() / mask.sum()


def penalise(
    kind: str,
    weights: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    *,
    names: Sequence[str],
    strength: float,
) -> Sequence[torch.Tensor]:
    """Add the penalty's slope to the gradients of the kernels; biases and embeddings are free."""
    if kind in {"none", "omega"}:
        return gradients
    penalised = [name.startswith(("recurrent.weight", "output.weight")) for name in names]
    pairs = zip(weights, gradients, penalised, strict=True)
    if kind == "l1":
        return [g + strength * w.sign() if is_kernel else g for w, g, is_kernel in pairs]
    return [g + 2 * strength * w if is_kernel else g for w, g, is_kernel in pairs]


def omega(
    activation: base.Activation, states: torch.Tensor, slopes: torch.Tensor, recurrent: torch.Tensor
) -> torch.Tensor:
    """Return the immediate slope of Omega along U [H, H], see `base.Regulariser`.

    States h_k and slopes d_k along the pre-activations are [time, batch, H].
    """
    h, following = states[:-1], slopes[1:]
    flat = {"tanh": 1 - h * h, "relu": (h > 0).to(h.dtype), "sigmoid": h * (1 - h)}[activation]
    back = following @ recurrent.T * flat
    norms, whole = (one.square().sum(dim=-1).sqrt() for one in (back, following))
    there = (norms > 0) & (whole > 0)
    norms, whole = torch.where(there, norms, 1.0), torch.where(there, whole, 1.0)
    factor = torch.where(there, 2 * (norms / whole - 1) / (norms * whole), 0.0) / states.shape[1]
    return torch.einsum("tbi,tbj->ij", back * flat * factor.unsqueeze(-1), following)


def clip(
    kind: str, gradients: Sequence[torch.Tensor], threshold: float
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clip the gradient; return it with the norm before, the norm after and the share clipped.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not.
    """
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    before = flat.square().sum().sqrt()
    poison = torch.where(before.isfinite(), 1.0, torch.nan).to(flat.dtype)
    if kind == "value":
        clipped = (flat.abs() > threshold).to(flat.dtype).mean()
        flat = flat.clamp(-threshold, threshold) * poison
        after = flat.square().sum().sqrt()
    else:
        scale = (threshold / before).clamp(max=1.0) * poison
        clipped = (before > threshold).to(flat.dtype)
        flat = flat * scale
        after = before * scale
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    return [part.view_as(like) for part, like in zip(parts, gradients, strict=True)], before, after, clipped


def update(
    optimizer: Optimizer,
    weights: list[torch.Tensor],
    gradients: list[torch.Tensor],
    slots: list[list[torch.Tensor]],
    *,
    steps: list[torch.Tensor],
    learning_rate: float,
) -> None:
    """Update weights, slots and step counts in place, by PyTorch's own functional optimizers."""
    shared: dict[str, Any] = {"lr": learning_rate, "weight_decay": 0.0}
    if optimizer in {"sgd", "momentum"}:
        nothing: list[torch.Tensor | None] = [None] * len(weights)
        # A momentum that starts at zero makes the first step v = g, as the algebra has it.
        kept: list[torch.Tensor | None] = [*slots[0]] if optimizer == "momentum" else nothing
        momentum = base.MOMENTUM if optimizer == "momentum" else 0.0
        sgd(weights, gradients, kept, momentum=momentum, dampening=0.0, nesterov=False, maximize=False, **shared)
    elif optimizer == "rmsprop":
        shared |= {"alpha": base.RMSPROP_DECAY, "eps": base.RMSPROP_EPSILON}
        rmsprop(weights, gradients, slots[0], [], [], steps, momentum=0.0, centered=False, **shared)
    else:
        first, second = base.ADAM_DECAYS
        shared |= {"beta1": first, "beta2": second, "eps": base.ADAM_EPSILON, "amsgrad": False, "maximize": False}
        means, squares = slots
        adam(weights, gradients, means, squares, [], steps, fused=True, **shared)


class Framework:
    """One model in training, in PyTorch; see `farreach.frameworks.base.Framework`."""

    def __init__(
        self,
        model: Model,
        training: Training,
        weights: Weights,
        *,
        device: base.Device,
        dtype: base.Precision,
        threads: int,
        path: str,
    ) -> None:
        configure(device, threads)
        self.model, self.training, self.path = model, training, path
        self.device, self.dtype = torch.device(device), type_of[dtype]
        limit: Clip | None = training.clip
        self.limit = (limit.kind, limit.threshold) if limit else ("norm", float("inf"))
        penalty: Regulariser | None = training.regulariser
        self.penalty, self.strength = (penalty.kind, penalty.strength) if penalty else ("none", 0.0)
        self.network = Network(model, by_hand=self.penalty == "omega").to(self.device, self.dtype)
        self.lost = compiled(self._lost, device) if path == "compiled" else self._lost
        trained = {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}
        self.names, self.trained = list(trained), list[torch.Tensor](trained.values())
        self.slots = [[torch.zeros_like(w) for w in self.trained] for _ in range(SLOTS[training.optimizer])]
        self.steps = [torch.zeros((), device=self.device) for _ in self.trained]
        self.step: Step = self._step
        if path == "cudagraph":
            kept = [*self.trained, *(one for slot in self.slots for one in slot), *self.steps]
            self.step = Captured(self._step, kept)
        nothing = {name: np.zeros_like(value) for name, value in weights.items()}
        self.restore(base.State(weights, (nothing,) * SLOTS[training.optimizer], steps=0))

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Run one gradient and one prediction, thrown away: kernels get loaded, the state stays."""
        start = time.perf_counter()
        first = [part[0] for part in self.stacked(batches[:1])]
        with kernels(self.path):
            (self.step.record if isinstance(self.step, Captured) else self._gradients)(*first)
        self.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        start = time.perf_counter()
        with kernels(self.path):
            rows = [self.step(*batch) for batch in zip(*self.stacked(batches), strict=True)]
        self.updates += len(rows)
        figures = torch.stack(rows).to("cpu", torch.float64).numpy()  # the chunk's only sync point
        loss, before, after, clipped = figures.T
        return base.Trace(loss, before, after, clipped, seconds=time.perf_counter() - start)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        with kernels(self.path), torch.inference_mode():
            scores = self.network(self.tensor(inputs).transpose(0, 1).contiguous())
        return np.asarray(scores.transpose(0, 1).cpu().numpy())

    def weights(self) -> Weights:
        """Return the current weights in the shared layout."""
        return self._shared(self.trained)

    def state(self) -> base.State:
        """Return weights, slots and the number of updates."""
        return base.State(self.weights(), tuple(self._shared(slot) for slot in self.slots), self.updates)

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one; it is copied to where a CUDA graph expects it."""
        with torch.no_grad():
            for name, value in to_native(self.model, state.weights).items():
                self.network.get_parameter(name).copy_(torch.from_numpy(value))
            for slot, values in zip(self.slots, state.slots, strict=True):
                native = to_native(self.model, values)
                for name, tensor in zip(self.names, slot, strict=True):
                    tensor.copy_(torch.from_numpy(native[name]))
            for count in self.steps:
                count.fill_(state.steps)
        self.updates = state.steps

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        graph = ", in a CUDA graph" if self.path == "cudagraph" else ""
        if isinstance(self.network.recurrent, LoopedRNN):  # cuDNN has no sigmoid, and keeps what Omega needs to itself
            return f"hand-written loop{graph}"
        rest = {"compiled": ", the rest Inductor", "flushed": ", subnormals flushed"}.get(self.path, "")
        return kernel(self.path, self.model.cell, self.trained[0]) + rest + graph

    @staticmethod
    def facts(device: base.Device) -> dict[str, str]:
        """Return the version, the device's name and the precision of float32 products."""
        found = {"framework_version": torch.__version__, "device_name": "cpu", "precision": "float32, TF32 off"}
        return found if device == "cpu" else found | gpu_facts(base.settings(ENVIRONMENT["cuda"], os.environ))

    def _step(self, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Do one update in place; return loss, norm before, norm after and the share clipped, [4]."""
        optimizer, rate = self.training.optimizer, self.training.learning_rate
        loss, gradients = self._gradients(inputs, targets, mask)
        with torch.no_grad():
            gradients = penalise(self.penalty, self.trained, gradients, names=self.names, strength=self.strength)
            kind, threshold = self.limit
            gradients, before, after, clipped = clip(kind, gradients, threshold)
            update(optimizer, self.trained, gradients, self.slots, steps=self.steps, learning_rate=rate)
        return torch.stack([loss, before, after, clipped])

    def _lost(self, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return loss_of(self.model, self.network(inputs), targets, mask)

    def _gradients(
        self, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        loss = self.lost(inputs, targets, mask)
        if self.penalty != "omega":
            return loss.detach(), self._backward(loss)
        looped, count = self.network.recurrent, len(self.trained)
        totals = [total for layer in looped.totals for total in layer]
        gradients = torch.autograd.grad(loss, [*self.trained, *totals])
        return loss.detach(), self._with_omega(list(gradients[:count]), torch.stack(gradients[count:]))

    def _backward(self, loss: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the gradients of the weights; both ways give the same bits."""
        if self.device.type == "cuda":
            return torch.autograd.grad(loss, self.trained)
        # `autograd.grad` asks of every node whether it is needed: 4 % of a step of the gru, which has many on the CPU.
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [weight.grad for weight in self.trained if weight.grad is not None]
        for weight in self.trained:
            weight.grad = None
        return gradients

    def _with_omega(self, gradients: list[torch.Tensor], slopes: torch.Tensor) -> list[torch.Tensor]:
        """Add Omega's slope to the gradients, from the slopes along all pre-activations [layers * time, batch, H]."""
        with torch.no_grad():
            layers = zip(self.network.recurrent.states, slopes.chunk(self.model.layers), strict=True)
            for layer, (states, part) in enumerate(layers):
                at = self.names.index(f"recurrent.weight_hh_l{layer}")
                slope = omega(self.model.activation, states, part, self.trained[at].T)  # PyTorch keeps U transposed
                gradients[at] = gradients[at] + self.strength * slope.T
        return gradients

    def _shared(self, tensors: Iterable[torch.Tensor]) -> Weights:
        native = {name: value.detach().cpu().numpy() for name, value in zip(self.names, tensors, strict=True)}
        return to_shared(self.model, native)

    def stacked(self, batches: Sequence[Batch]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Copy a chunk to the device at once, time-major: [steps, time, batch, ...]."""
        stacks = (np.stack([getattr(batch, part) for batch in batches]) for part in ("inputs", "targets", "mask"))
        inputs, targets, mask = (self.tensor(base.time_major(stack)) for stack in stacks)
        return inputs, targets, mask

    def tensor(self, array: Array) -> torch.Tensor:
        """Copy an array to the device: floats in the precision of the case, anything else as integers."""
        tensor = torch.from_numpy(array)
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else torch.int64)


def to_native(model: Model, weights: Weights) -> Weights:
    """Name and shape shared weights as PyTorch does: transposed kernels, two biases a layer."""
    native = {"output.weight": weights["output.kernel"].T, "output.bias": weights["output.bias"]}
    if model.tokens:
        native["embedding.weight"] = weights["embedding"]
    for layer in range(model.layers):
        native[f"recurrent.weight_ih_l{layer}"] = weights[f"layer{layer}.input"].T
        native[f"recurrent.weight_hh_l{layer}"] = weights[f"layer{layer}.recurrent"].T
        bias = weights[f"layer{layer}.bias"]
        rows = bias if model.cell == "gru" else (bias, np.zeros_like(bias))
        native[f"recurrent.bias_ih_l{layer}"], native[f"recurrent.bias_hh_l{layer}"] = rows
    return {name: np.ascontiguousarray(value) for name, value in native.items()}


def to_shared(model: Model, native: Weights) -> Weights:
    """Bring PyTorch's weights back to the shared layout."""
    weights = {"output.kernel": native["output.weight"].T, "output.bias": native["output.bias"]}
    if model.tokens:
        weights["embedding"] = native["embedding.weight"]
    for layer in range(model.layers):
        weights[f"layer{layer}.input"] = native[f"recurrent.weight_ih_l{layer}"].T
        weights[f"layer{layer}.recurrent"] = native[f"recurrent.weight_hh_l{layer}"].T
        rows = [native[f"recurrent.bias_{side}_l{layer}"] for side in ("ih", "hh")[: 1 + (model.cell == "gru")]]
        weights[f"layer{layer}.bias"] = np.stack(rows) if model.cell == "gru" else rows[0]
    return {name: np.array(value) for name, value in weights.items()}
