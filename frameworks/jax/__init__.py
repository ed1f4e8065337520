"""JAX: a jitted chunk of steps, the recurrent layers by `lax.scan`, the updates by optax.

Read it beside ``pytorch/``: the same files, and in them the same names in the same order, so that a diff shows what
differs.

flax is not used: its LSTM and RNN cells compute the same but project the inputs step by step, within
the loop, and its GRU has no bias beside h @ recurrent in the reset and update gates. On a GPU the path ``cudnn`` has
the LSTM run by cuDNN, in float32 alone; JAX has no such rnn and gru.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from farreach.frameworks import base, environment
from farreach.frameworks.base import Array, Clip, Model, Regulariser, Training, Weights
from farreach.frameworks.jax.device import read_facts
from farreach.frameworks.jax.networks import find_family
from farreach.frameworks.jax.optimizers import SLOTS
from farreach.frameworks.jax.paths import compile_program, name_kernel
from farreach.frameworks.jax.recurrent import Tensors
from farreach.tasks.base import Batch

NEEDS = ("jax", "jaxlib", "optax")
PATHS = {
    "cpu": {
        "rnn": ("scan",),
        "lstm": ("scan",),
        "gru": ("scan",),
        "mingru": ("loop", "scan"),
        "minlstm": ("loop", "scan"),
        "indrnn": ("loop",),
        "lru": ("loop", "scan"),
        "attention": ("scan",),
        "transformer": ("xla",),
    },
    "cuda": {
        "rnn": ("scan",),
        "lstm": ("scan", "cudnn"),
        "gru": ("scan",),
        "mingru": ("scan", "loop"),
        "minlstm": ("scan", "loop"),
        "indrnn": ("loop",),
        "lru": ("scan", "loop"),
        "attention": ("scan",),
        "transformer": ("xla",),
    },
}
LOOPED = {
    "cpu": {
        "rnn": ("scan",),
        "lstm": ("scan",),
        "gru": ("scan",),
        "mingru": ("loop",),
        "minlstm": ("loop",),
        "indrnn": ("loop",),
    },
    "cuda": {
        "rnn": ("scan",),
        "lstm": ("scan",),
        "gru": ("scan",),
        "mingru": ("loop",),
        "minlstm": ("loop",),
        "indrnn": ("loop",),
    },
}
ENVIRONMENT = {
    "cuda": {
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuDNN's products might otherwise be done another way from run to run
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # of three quarters of the memory, which others share
    },
}


@functools.cache
def configure(device: str, threads: int) -> None:
    """Set the threads and the precision, once a process; float32 products are full float32.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: of the process, on the CPU.

    Raises:
        UnsupportedError: where the device is not there, or another was chosen before.

    """
    if configure.cache_info().currsize:
        message = "JAX takes its device and its threads once a process, when it starts"
        raise base.UnsupportedError(message)
    os.environ["NPROC"] = str(threads)  # the size of XLA's pool on the CPU, which ignores OMP_NUM_THREADS
    settings = {
        "jax_enable_x64": True,  # allows float64; every array has its dtype stated, so float32 cases stay float32
        "jax_default_matmul_precision": "highest",
        "jax_platforms": {"cpu": "cpu", "cuda": "cuda,cpu"}[device],
    }
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]
    if device == "cuda":
        os.environ.update(environment.merge_environment(ENVIRONMENT["cuda"], os.environ))
        try:
            jax.devices("cuda")
        except RuntimeError as error:
            message = "JAX finds no CUDA GPU on this machine"
            raise base.UnsupportedError(message) from error


class Framework:
    """One model in training, in JAX; see `farreach.frameworks.base.Framework`.

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
        if path == "cudnn" and dtype != "float32":
            message = f"JAX's cuDNN LSTM computes in float32 alone: {dtype} runs on path scan"
            raise base.UnsupportedError(message)
        self.model, self.training, self.path = model, training, path
        self.family = find_family(model)
        self.dtype = dtype
        limit: Clip | None = training.clip
        # No clip is a norm clip whose threshold is infinite, so that both share one program.
        kind, threshold = (limit.kind, limit.threshold) if limit else ("norm", float("inf"))
        penalty: Regulariser | None = training.regulariser
        penalty_kind, strength = (penalty.kind, penalty.strength) if penalty else ("none", 0.0)
        self.chunk, self.scores = compile_program(
            model, training.optimizer, kind=kind, penalty=penalty_kind, path=path, decay=training.decay
        )
        limits = (threshold, training.learning_rate, strength, training.weight_decay)
        self.limits = tuple(jnp.array(limit, dtype) for limit in limits)
        self.carried: tuple[Tensors, list[Tensors], jax.Array, jax.Array]
        start = {name: np.full_like(value, training.accumulator) for name, value in weights.items()}
        self.restore(base.State(weights, (start,) * SLOTS[training.optimizer], steps=0))

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Trace and compile both programs with a chunk of no steps and a prediction thrown away."""
        start = time.perf_counter()
        limits = self._list_limits(len(batches))
        self.carried, _ = self.chunk(self.carried, self.stack_batches(batches), limits, np.int32(0))
        self.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        base.require_room(self.training, int(self.carried[2]) + len(batches))
        start = time.perf_counter()
        limits, count = self._list_limits(len(batches)), np.int32(len(batches))
        self.carried, figures = self.chunk(self.carried, self.stack_batches(batches), limits, count)
        rows = np.asarray(figures, np.float64)  # the chunk's only sync point
        return base.make_trace(rows, time.perf_counter() - start, self.extra)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        return np.array(self.scores(self.carried[0], self.make_tensor(inputs.swapaxes(0, 1)))).swapaxes(0, 1)

    def weights(self) -> Weights:
        """Return the current weights in the shared layout."""
        return self._to_shared(self.carried[0])

    def state(self) -> base.State:
        """Return weights, slots and the number of updates."""
        weights, slots, steps, history = self.carried
        shared = tuple(self._to_shared(slot) for slot in slots)
        norms = np.asarray(history, np.float64)
        return base.State(self._to_shared(weights), shared, int(steps), norms[np.isfinite(norms)])

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one; compiled programs stay."""
        slots = [self._to_native(slot) for slot in state.slots]
        history = self.make_tensor(base.pad_history(state.history, self.training))
        self.carried = self._to_native(state.weights), slots, jnp.int32(state.steps), history

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return name_kernel(self.path, self.model.cell)

    @staticmethod
    def facts(device: base.Device) -> dict[str, str]:
        """Return the version, the device's name and the precision of float32 products."""
        facts = {"framework_version": jax.__version__, "device_name": "cpu", "precision": "float32, TF32 off"}
        if device == "cpu":
            return facts
        return facts | read_facts(environment.describe_environment(ENVIRONMENT["cuda"], os.environ))

    def stack_batches(self, batches: Sequence[Batch]) -> tuple[Array, Array, Array]:
        """Return a chunk time-major, [steps, time, batch, ...]; the compiled chunk copies it to the device at once."""
        stacks = (np.stack([getattr(batch, part) for batch in batches]) for part in ("inputs", "targets", "mask"))
        inputs, targets, mask = (
            base.make_time_major(stack.astype(self._choose_type(stack), copy=False)) for stack in stacks
        )
        return inputs, targets, mask

    def make_tensor(self, array: Array) -> jax.Array:
        """Copy an array to the device: floats in the precision of the case, anything else as integers."""
        return jnp.array(array, self._choose_type(array))

    def _list_limits(self, count: int) -> tuple[jax.Array, ...]:
        """Return the numbers of the next updates: the limits, under a schedule with a learning rate for each."""
        if self.training.schedule is None:
            return self.limits
        threshold, _, *others = self.limits
        return threshold, self.make_tensor(self.training.list_rates(int(self.carried[2]), count)), *others

    def _choose_type(self, array: Array) -> Any:
        return np.dtype(self.dtype if np.issubdtype(array.dtype, np.floating) else np.int32)

    def _to_native(self, weights: Weights) -> Tensors:
        return {name: self.make_tensor(value) for name, value in self.family.to_native(self.model, weights).items()}

    def _to_shared(self, native: Tensors) -> Weights:
        shared: Weights = self.family.to_shared(self.model, {name: np.array(value) for name, value in native.items()})
        return shared
