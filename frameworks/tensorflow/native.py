"""TensorFlow as its documentation has it: Keras layers and optimizers, `tf.GradientTape`, `tf.clip_by_global_norm`.

Read it beside ``pytorch/native.py``: the same names in the same order, so that a diff shows what differs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from farreach.frameworks import base
from farreach.frameworks.base import Array, Clip, Model, Training, Weights
from farreach.frameworks.tensorflow import configure
from farreach.frameworks.tensorflow.clip import compute_norm
from farreach.frameworks.tensorflow.loss import compute_loss
from farreach.frameworks.tensorflow.paths import name_kernel
from farreach.frameworks.tensorflow.recurrent import Tensors
from farreach.tasks.base import Batch

NEEDS = ("tensorflow",)
ACTIVATIONS = ("tanh", "relu", "sigmoid")
PATHS = {
    "cpu": {"rnn": ("xla", "graph"), "lstm": ("xla", "graph"), "gru": ("xla", "graph")},
    "cuda": {"rnn": ("xla", "graph"), "lstm": ("cudnn", "xla", "graph"), "gru": ("cudnn", "xla", "graph")},
}

LAYERS = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


class Network(keras.Model):  # type: ignore[misc]
    """An embedding for tokens, the native recurrent layers, a dense output on the last S steps."""

    def __init__(self, model: Model, dtype: base.Precision, path: str) -> None:
        super().__init__(dtype=dtype)
        self.scored = model.scored
        self.embedding = keras.layers.Embedding(model.features, model.hidden, dtype=dtype) if model.tokens else None
        # Left to itself Keras takes cuDNN wherever it can; which kernel runs is the path's to say.
        options = {"activation": model.activation} if model.cell == "rnn" else {"use_cudnn": path == "cudnn"}
        self.recurrent = [
            LAYERS[model.cell](model.hidden, return_sequences=True, dtype=dtype, **options) for _ in range(model.layers)
        ]
        self.dense = keras.layers.Dense(model.outputs, dtype=dtype)

    def call(self, inputs: Any) -> Any:
        """Map inputs [batch, time, ...] to scores [batch, S, outputs]."""
        if self.embedding is not None:
            inputs = self.embedding(inputs)
        for layer in self.recurrent:
            inputs = layer(inputs)
        return self.dense(inputs[:, -self.scored :])


def make_optimizer(training: Training, network: Network) -> Any:
    """Return the framework's own optimizer with its defaults, but for decays that are asked for.

    A momentum has no default, and gets 0.9.
    """
    rate = training.learning_rate
    given = {} if training.decay is None else {"rho": training.decay}
    optimizer = {
        "sgd": lambda: keras.optimizers.SGD(learning_rate=rate),
        "momentum": lambda: keras.optimizers.SGD(learning_rate=rate, momentum=base.MOMENTUM),
        "rmsprop": lambda: keras.optimizers.RMSprop(learning_rate=rate, **given),
        "adam": lambda: keras.optimizers.Adam(learning_rate=rate),
        "adagrad": lambda: keras.optimizers.Adagrad(learning_rate=rate),
        "adamw": lambda: keras.optimizers.AdamW(learning_rate=rate, weight_decay=training.weight_decay),
    }[training.optimizer]()
    optimizer.build(network.trainable_variables)
    return optimizer


def clip_gradients(limit: Clip | None, gradients: Tensors) -> Tensors:
    """Return the gradients, clipped by the framework's own function; an embedding's slices stay slices."""
    if limit is None:
        return gradients
    if limit.kind == "norm":
        clipped, _ = tf.clip_by_global_norm(gradients, limit.threshold)
        return list(clipped)
    return [tf.clip_by_value(gradient, -limit.threshold, limit.threshold) for gradient in gradients]


def measure_clip(limit: Clip | None, before: Tensors, after: Tensors) -> tuple[Any, Any, Any]:
    """Return the norm before the clip, the norm after it and the share of elements that it changed.

    A norm clip changes all elements or none; what moves the norm by mere rounding has changed none.
    An embedding's slices are summed first: the gradient is the dense one.
    """
    before, after = ([tf.convert_to_tensor(gradient) for gradient in part] for part in (before, after))
    first, last = compute_norm(before), compute_norm(after)
    if limit is not None and limit.kind == "value":
        differ = [tf.reshape(old != new, [-1]) for old, new in zip(before, after, strict=True)]
        return first, last, tf.reduce_mean(tf.cast(tf.concat(differ, 0), first.dtype))
    rounding = 16 * np.finfo(first.dtype.as_numpy_dtype).eps
    return first, last, tf.cast(last < first * (1 - rounding), first.dtype)


class Native:
    """One model in training, in TensorFlow as a user of it writes it; see `farreach.frameworks.base.Learner`."""

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
        self.device, self.dtype = "/GPU:0" if device == "cuda" else "/CPU:0", dtype
        keras.utils.set_random_seed(seed)
        with tf.device(self.device):
            self.network = Network(model, dtype, path)
            self.network(tf.zeros((1, 1), tf.int32) if model.tokens else tf.zeros((1, 1, model.features), dtype))
            self.optimizer = make_optimizer(training, self.network)
        self.step = tf.function(self._step, jit_compile=path == "xla", reduce_retracing=False)
        self.scores = tf.function(self.network, reduce_retracing=False)

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Compile by one step and one prediction, thrown away: every variable is put back."""
        start = time.perf_counter()
        variables = [*self.network.variables, *self.optimizer.variables]
        values = [variable.numpy() for variable in variables]
        self.train(batches[:1])
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        start = time.perf_counter()
        parts = ((batch.inputs, batch.targets, batch.mask) for batch in batches)
        with tf.device(self.device):
            figures = (
                tf.stack([self.step(*map(self._make_tensor, batch)) for batch in parts]).numpy().astype(np.float64)
            )  # the chunk's only sync point
        loss, before, after, clipped = figures.T
        return base.Trace(loss, before, after, clipped, seconds=time.perf_counter() - start)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        with tf.device(self.device):
            return np.asarray(self.scores(self._make_tensor(inputs)).numpy())

    def weights(self) -> Weights:
        """Return the current weights, numbered in the framework's own order."""
        return {f"{at:02} {one.name}": one.numpy() for at, one in enumerate(self.network.trainable_variables)}

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return f"{name_kernel(self.path, self.model.cell)}, Keras {keras.__version__}"

    def _step(self, inputs: Any, targets: Any, mask: Any) -> Any:
        limit, weights = self.training.clip, self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss = compute_loss(self.model, self.network(inputs, training=True), targets, mask)
        gradients = tape.gradient(loss, weights)
        clipped = clip_gradients(limit, gradients)
        self.optimizer.apply_gradients(zip(clipped, weights, strict=True))
        return tf.stack([loss, *measure_clip(limit, gradients, clipped)])

    def _make_tensor(self, array: Array) -> Any:
        return tf.constant(array, self.dtype if np.issubdtype(array.dtype, np.floating) else tf.int32)
