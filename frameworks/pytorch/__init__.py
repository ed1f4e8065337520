"""PyTorch: its native recurrent layers, run step by step; by hand the sigmoid rnn, which it lacks, and what it hides.

Read it beside ``tensorflow/``: the same files, and in them the same names in the same order, so that a diff shows what
differs. On a GPU the layers are cuDNN's on the paths ``cudnn``, ``cudagraph`` (the whole step recorded and replayed)
and ``compiled``, and PyTorch's own on ``eager``. On the CPU ``flushed`` is ``eager`` with subnormal numbers taken for
zero.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from farreach.frameworks import base, environment
from farreach.frameworks.base import Array, Clip, Model, Regulariser, Training, Weights
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.pytorch.clip import clip_gradients
from farreach.frameworks.pytorch.device import read_facts
from farreach.frameworks.pytorch.loss import compute_loss
from farreach.frameworks.pytorch.networks import find_family
from farreach.frameworks.pytorch.optimizers import SLOTS, update_weights
from farreach.frameworks.pytorch.paths import Step, StepGraph, compile_step, name_kernel, use_kernels
from farreach.frameworks.pytorch.penalties import differentiate_omega, differentiate_omega2, penalise_gradients
from farreach.tasks.base import Batch

NEEDS = ("torch",)
PATHS = {
    "cpu": {
        "rnn": ("eager", "flushed", "compiled"),
        "lstm": ("eager", "flushed", "compiled"),
        "gru": ("eager", "flushed", "compiled"),
        "mingru": ("loop", "scan"),
        "minlstm": ("loop", "scan"),
        "indrnn": ("loop",),
        "lru": ("loop", "scan"),
        "attention": ("eager", "flushed", "compiled"),
        "transformer": ("eager", "flushed", "compiled"),
    },
    "cuda": {
        "rnn": ("cudnn", "cudagraph", "compiled", "eager"),
        "lstm": ("cudnn", "cudagraph", "compiled", "eager"),
        "gru": ("cudnn", "cudagraph", "compiled", "eager"),
        "mingru": ("scan", "loop"),
        "minlstm": ("scan", "loop"),
        "indrnn": ("loop",),
        "lru": ("scan", "loop"),
        "attention": ("cudnn", "cudagraph", "compiled", "eager"),
        "transformer": ("eager", "cudagraph", "compiled"),
    },
}
LOOPED = {
    "cpu": {
        "rnn": ("eager", "flushed"),
        "lstm": ("eager", "flushed"),
        "gru": ("eager", "flushed"),
        "mingru": ("loop",),
        "minlstm": ("loop",),
        "indrnn": ("loop",),
    },
    "cuda": {
        "rnn": ("cudagraph", "eager"),
        "lstm": ("cudagraph", "eager"),
        "gru": ("cudagraph", "eager"),
        "mingru": ("loop",),
        "minlstm": ("loop",),
        "indrnn": ("loop",),
    },
}
# One size of workspace: cuDNN's products might otherwise be done by another algorithm from run to run.
ENVIRONMENT = {"cuda": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}}

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@functools.cache
def configure(device: str, threads: int) -> None:
    """Set the threads and the precision, once a process; float32 products are full float32.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: of the process, on the CPU.

    Raises:
        UnsupportedError: where the device is not there.

    """
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    if device == "cuda":
        if not torch.cuda.is_available():
            message = "PyTorch finds no CUDA GPU on this machine"
            raise base.UnsupportedError(message)
        os.environ.update(environment.merge_environment(ENVIRONMENT["cuda"], os.environ))
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(mode=True)
        # To fill memory before its use is a search for faults, and costs a kernel an allocation.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


class Framework:
    """One model in training, in PyTorch; see `farreach.frameworks.base.Framework`.

    Attributes:
        extra: names of the figures that a step returns behind the four of every step.

    """

    extra: tuple[str, ...] = ()

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
        self.device, self.dtype = torch.device(device), DTYPES[dtype]
        limit: Clip | None = training.clip
        self.limit = (limit.kind, limit.threshold) if limit else ("norm", float("inf"))
        penalty: Regulariser | None = training.regulariser
        self.penalty, self.strength = (penalty.kind, penalty.strength) if penalty else ("none", 0.0)
        self.is_cut = self.limit[0] == "backprop"
        by_hand = self.is_cut or self.penalty in base.OMEGAS
        self.family = find_family(model)
        self.network = self.family.Network(model, path, by_hand=by_hand).to(self.device, self.dtype)
        if self.is_cut:
            self.network.recurrent.bound = self.limit[1]
        self.loss = compile_step(self._compute_loss, device) if path == "compiled" else self._compute_loss
        trained = {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}
        self.names, self.trained = list(trained), list[torch.Tensor](trained.values())
        self.slots = [[torch.zeros_like(w) for w in self.trained] for _ in range(SLOTS[training.optimizer])]
        self.steps = [torch.zeros((), device=self.device) for _ in self.trained]
        self.history = self.make_tensor(base.pad_history(np.zeros(0), training))
        self.step: Step = self._step
        if path == "cudagraph":
            places = [*self.trained, *(tensor for slot in self.slots for tensor in slot), *self.steps, self.history]
            self.step = StepGraph(self._step, places)
        start = {name: np.full_like(value, training.accumulator) for name, value in weights.items()}
        self.restore(base.State(weights, (start,) * SLOTS[training.optimizer], steps=0))

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Run one gradient and one prediction, thrown away: kernels get loaded, the state stays."""
        start = time.perf_counter()
        first = [part[0] for part in self.stack_batches(batches[:1])]
        with use_kernels(self.path):
            if isinstance(self.step, StepGraph):
                self.step.record(*first, *(rates[0] for rates in self._list_rates(1)))
            else:
                self._compute_gradients(*first)
        self.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        base.require_room(self.training, self.updates + len(batches))
        start = time.perf_counter()
        with use_kernels(self.path):
            parts = (*self.stack_batches(batches), *self._list_rates(len(batches)))
            rows = [self.step(*part) for part in zip(*parts, strict=True)]
        self.updates += len(rows)
        figures = torch.stack(rows).to("cpu", torch.float64).numpy()  # the chunk's only sync point
        return base.make_trace(figures, time.perf_counter() - start, self.extra)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        with use_kernels(self.path), torch.inference_mode():
            scores = self.network(self.make_tensor(inputs).transpose(0, 1).contiguous())
        return np.asarray(scores.transpose(0, 1).cpu().numpy())

    def weights(self) -> Weights:
        """Return the current weights in the shared layout."""
        return self._to_shared(self.trained)

    def state(self) -> base.State:
        """Return weights, slots and the number of updates."""
        history = self.history[self.history < torch.inf].to("cpu", torch.float64).numpy()
        return base.State(self.weights(), tuple(self._to_shared(slot) for slot in self.slots), self.updates, history)

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one; it is copied to where a CUDA graph expects it."""
        with torch.no_grad():
            for name, value in self.family.to_native(self.model, state.weights).items():
                self.network.get_parameter(name).copy_(torch.from_numpy(value))
            for slot, values in zip(self.slots, state.slots, strict=True):
                native = self.family.to_native(self.model, values)
                for name, tensor in zip(self.names, slot, strict=True):
                    tensor.copy_(torch.from_numpy(native[name]))
            for count in self.steps:
                count.fill_(state.steps)
            self.history.copy_(torch.from_numpy(base.pad_history(state.history, self.training)))
        self.updates = state.steps

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return name_kernel(self.path, self.model.cell, self.trained[0], by_hand=self.network.by_hand)

    @staticmethod
    def facts(device: base.Device) -> dict[str, str]:
        """Return the version, the device's name and the precision of float32 products."""
        facts = {"framework_version": torch.__version__, "device_name": "cpu", "precision": "float32, TF32 off"}
        if device == "cpu":
            return facts
        return facts | read_facts(environment.describe_environment(ENVIRONMENT["cuda"], os.environ))

    def _list_rates(self, count: int) -> list[Any]:
        """Return the learning rates of the next updates; none where all have that of the recipe.

        A CUDA graph has them as a tensor, since it would replay a number that it was recorded with.
        """
        if self.training.schedule is None:
            return []
        rates = self.training.list_rates(self.updates, count)
        return [self.make_tensor(rates) if self.path == "cudagraph" else rates.tolist()]

    def _step(
        self,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        mask: torch.Tensor,
        rate: float | torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Do one update in place; return loss, norm before, norm after and the share clipped, [4]."""
        loss, gradients = self._compute_gradients(inputs, targets, mask)
        with torch.no_grad():
            gradients = penalise_gradients(
                self.penalty, self.trained, gradients, names=self.names, strength=self.strength
            )
            kind, threshold = self.limit
            gradients, before, after, clipped = clip_gradients(
                kind, gradients, threshold, weights=self.trained, names=self.names, history=self.history
            )
            clipped = self._measure_cut() if self.is_cut else clipped
            self._update(gradients, rate)
        return torch.stack([loss, before, after, clipped])

    def _update(self, gradients: list[torch.Tensor], rate: float | torch.Tensor | None) -> None:
        """Update the weights in place by a gradient that was clipped, at the recipe's learning rate or at this one."""
        update_weights(
            self.training.optimizer,
            self.trained,
            gradients,
            self.slots,
            steps=self.steps,
            learning_rate=self.training.learning_rate if rate is None else rate,
            decay=self.training.decay,
            weight_decay=self.training.weight_decay,
        )
        if LAYOUTS[self.model.cell].is_projected:
            self.family.project_weights(self.model, self.trained, names=self.names)

    def _measure_cut(self) -> torch.Tensor:
        """Return the share of the derivatives of the last way back that were cut."""
        looped = self.network.recurrent
        flat = torch.cat([derivative.flatten() for derivative in looped.derivatives])
        looped.derivatives.clear()
        share: torch.Tensor = (flat.abs() > looped.bound).to(flat.dtype).mean()
        return share

    def _compute_loss(self, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return compute_loss(self.model, self.network(inputs), targets, mask)

    def _compute_gradients(
        self, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        loss = self.loss(inputs, targets, mask)
        if self.penalty not in base.OMEGAS:
            return loss.detach(), self._differentiate(loss)
        looped, count = self.network.recurrent, len(self.trained)
        totals = [total for layer in looped.totals for total in layer]
        gradients = torch.autograd.grad(loss, [*self.trained, *totals])
        return loss.detach(), self._add_omega(list(gradients[:count]), torch.stack(gradients[count:]))

    def _differentiate(self, loss: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the gradients of the weights; both ways give the same bits."""
        if self.device.type == "cuda":
            return torch.autograd.grad(loss, self.trained)
        # `autograd.grad` asks of every node whether it is needed: 4 % of a step of the gru, which has many on the CPU.
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [weight.grad for weight in self.trained if weight.grad is not None]
        for weight in self.trained:
            weight.grad = None
        return gradients

    def _add_omega(self, gradients: list[torch.Tensor], d_totals: torch.Tensor) -> list[torch.Tensor]:
        """Add the gradient of an Omega, from those with respect to all pre-activations [layers * time, batch, H]."""
        differentiate = differentiate_omega2 if self.penalty == "omega2" else differentiate_omega
        with torch.no_grad():
            layers = zip(self.network.recurrent.states, d_totals.chunk(self.model.layers), strict=True)
            for layer, (states, part) in enumerate(layers):
                at = self.names.index(f"recurrent.weight_hh_l{layer}")
                addition = differentiate(
                    self.model.activation, states, part, self.trained[at].T
                )  # PyTorch keeps U transposed
                gradients[at] = gradients[at] + self.strength * addition.T
        return gradients

    def _to_shared(self, tensors: Iterable[torch.Tensor]) -> Weights:
        native = {name: value.detach().cpu().numpy() for name, value in zip(self.names, tensors, strict=True)}
        shared: Weights = self.family.to_shared(self.model, native)
        return shared

    def stack_batches(self, batches: Sequence[Batch]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Copy a chunk to the device at once, time-major: [steps, time, batch, ...]."""
        stacks = (np.stack([getattr(batch, part) for batch in batches]) for part in ("inputs", "targets", "mask"))
        inputs, targets, mask = (self.make_tensor(base.make_time_major(stack)) for stack in stacks)
        return inputs, targets, mask

    def make_tensor(self, array: Array) -> torch.Tensor:
        """Copy an array to the device: floats in the precision of the case, anything else as integers."""
        tensor = torch.from_numpy(array)
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else torch.int64)
