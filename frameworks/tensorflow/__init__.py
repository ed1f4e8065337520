"""TensorFlow: Keras' native recurrent layers, a chunk of steps in one graph, with XLA or without.

Read it beside ``pytorch/``: the same files, and in them the same names in the same order, so that a diff shows what
differs. On a GPU the path ``cudnn`` has Keras take cuDNN's LSTM and GRU, which XLA cannot compile; Keras has no cuDNN
kernel for its rnn.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from farreach.frameworks import base, environment
from farreach.frameworks.base import Array, Clip, Model, Regulariser, Training, Weights
from farreach.frameworks.layouts import list_names
from farreach.frameworks.tensorflow.device import read_facts
from farreach.frameworks.tensorflow.networks import find_family
from farreach.frameworks.tensorflow.optimizers import SLOTS
from farreach.frameworks.tensorflow.paths import compile_program, name_kernel
from farreach.frameworks.tensorflow.recurrent import Tensors
from farreach.tasks.base import Batch

NEEDS = ("tensorflow", "keras")
PATHS = {
    "cpu": {
        "rnn": ("xla", "graph"),
        "lstm": ("xla", "graph"),
        "gru": ("xla", "graph"),
        "mingru": ("loop", "scan"),
        "minlstm": ("loop", "scan"),
        "indrnn": ("loop",),
        "lru": ("loop", "scan"),
        "attention": ("xla", "graph"),
        "transformer": ("xla", "graph"),
    },
    "cuda": {
        "rnn": ("xla", "graph"),
        "lstm": ("cudnn", "xla", "graph"),
        "gru": ("cudnn", "xla", "graph"),
        "mingru": ("scan", "loop"),
        "minlstm": ("scan", "loop"),
        "indrnn": ("loop",),
        "lru": ("scan", "loop"),
        "attention": ("xla", "graph"),
        "transformer": ("xla", "graph"),
    },
}
LOOPED = {
    "cpu": {
        "rnn": ("xla", "graph"),
        "lstm": ("xla", "graph"),
        "gru": ("xla", "graph"),
        "mingru": ("loop",),
        "minlstm": ("loop",),
        "indrnn": ("loop",),
    },
    "cuda": {
        "rnn": ("xla", "graph"),
        "lstm": ("xla", "graph"),
        "gru": ("xla", "graph"),
        "mingru": ("loop",),
        "minlstm": ("loop",),
        "indrnn": ("loop",),
    },
}
ENVIRONMENT = {
    # Keras would take its backend, and its defaults, from the user's variables and from a file in the user's folder.
    "cpu": {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": "/dev/null"},
    "cuda": {
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": "/dev/null",
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuDNN's products might otherwise be done another way from run to run
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # and not the whole memory at once, which others share
    },
}


@functools.cache
def configure(device: str, threads: int) -> None:
    """Set the threads and the precision, once a process; float32 products are full float32.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: of the process, on the CPU.

    Raises:
        UnsupportedError: where the device is not there.

    """
    tf.get_logger().setLevel("ERROR")  # it counts our programs, which share names, as needless retracing
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    if device == "cuda":
        if not tf.config.list_physical_devices("GPU"):
            message = "TensorFlow finds no CUDA GPU on this machine"
            raise base.UnsupportedError(message)
        tf.config.experimental.enable_op_determinism()


class Framework:
    """One model in training, in TensorFlow; see `farreach.frameworks.base.Framework`.

    Attributes:
        extra: names of the figures that a step returns behind the four of every step.

    """

    extra: tuple[str, ...] = ()
    carried: tuple[Tensors, list[Tensors], Any, Any]  # weights, slots, updates done, history

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
        self.family = find_family(model)
        self.device, self.dtype = "/GPU:0" if device == "cuda" else "/CPU:0", dtype
        limit: Clip | None = training.clip
        # No clip is a norm clip whose threshold is infinite, so that both share one program.
        self.kind, threshold = (limit.kind, limit.threshold) if limit else ("norm", float("inf"))
        penalty: Regulariser | None = training.regulariser
        penalty_kind, strength = (penalty.kind, penalty.strength) if penalty else ("none", 0.0)
        self.chunk, self.scores = compile_program(
            model,
            training.optimizer,
            kind=self.kind,
            penalty=penalty_kind,
            dtype=dtype,
            path=path,
            decay=training.decay,
        )
        self.names = list_names(model)
        limits = (threshold, training.learning_rate, strength, training.weight_decay)
        with tf.device(self.device):
            self.limits = tuple(tf.constant(limit, dtype) for limit in limits)
        start = {name: np.full_like(value, training.accumulator) for name, value in weights.items()}
        self.restore(base.State(weights, (start,) * SLOTS[training.optimizer], steps=0))

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Trace and compile both programs with a chunk of no steps and a prediction thrown away."""
        start = time.perf_counter()
        with tf.device(self.device):
            limits = self._list_limits(len(batches))
            self.chunk(self.carried, self.stack_batches(batches), limits, tf.constant(0))[1].numpy()
        self.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        base.require_room(self.training, int(self.carried[2]) + len(batches))
        start = time.perf_counter()
        with tf.device(self.device):
            limits, count = self._list_limits(len(batches)), tf.constant(len(batches))
            self.carried, figures = self.chunk(self.carried, self.stack_batches(batches), limits, count)
        rows = figures.numpy().astype(np.float64)  # the chunk's only sync point
        if self.device != "/CPU:0":
            tf.test.experimental.sync_devices()  # the figures do not wait for the last update
        return base.make_trace(rows, time.perf_counter() - start, self.extra)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        with tf.device(self.device):
            return np.asarray(self.scores(self.carried[0], self.make_tensor(inputs)).numpy())

    def weights(self) -> Weights:
        """Return the current weights in the shared layout."""
        return self._to_shared(self.carried[0])

    def state(self) -> base.State:
        """Return weights, slots and the number of updates."""
        _, slots, steps, history = self.carried
        norms = history.numpy().astype(np.float64)
        shared = tuple(self._to_shared(slot) for slot in slots)
        return base.State(self.weights(), shared, int(steps), norms[np.isfinite(norms)])

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one; compiled programs stay."""
        with tf.device(self.device):
            trained, *slots = (
                [self.make_tensor(value) for value in self.family.to_native(self.model, values).values()]
                for values in (state.weights, *state.slots)
            )
            history = self.make_tensor(base.pad_history(state.history, self.training))
            self.carried = trained, slots, tf.constant(state.steps), history

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return name_kernel(self.path, self.model.cell, self.kind)

    @staticmethod
    def facts(device: base.Device) -> dict[str, str]:
        """Return the version, the device's name and the precision of float32 products."""
        facts = {"framework_version": tf.__version__, "device_name": "cpu", "precision": "float32, TF32 off"}
        if device == "cpu":
            return facts
        return facts | read_facts(environment.describe_environment(ENVIRONMENT["cuda"], os.environ))

    def _list_limits(self, count: int) -> tuple[Any, ...]:
        """Return the numbers of the next updates: the limits, under a schedule with a learning rate for each."""
        if self.training.schedule is None:
            return self.limits
        threshold, _, *others = self.limits
        return threshold, self.make_tensor(self.training.list_rates(int(self.carried[2]), count)), *others

    def _to_shared(self, tensors: Iterable[Any]) -> Weights:
        native = {name: value.numpy() for name, value in zip(self.names, tensors, strict=True)}
        shared: Weights = self.family.to_shared(self.model, native)
        return shared

    def stack_batches(self, batches: Sequence[Batch]) -> tuple[Any, Any, Any]:
        """Copy a chunk to the device at once, batch-major: [steps, batch, time, ...]."""
        stacks = (np.stack([getattr(batch, part) for batch in batches]) for part in ("inputs", "targets", "mask"))
        inputs, targets, mask = (self.make_tensor(stack) for stack in stacks)
        return inputs, targets, mask

    def make_tensor(self, array: Array) -> Any:
        """Copy an array to the device: floats in the precision of the case, anything else as integers."""
        return tf.constant(array, self.dtype if np.issubdtype(array.dtype, np.floating) else tf.int32)
