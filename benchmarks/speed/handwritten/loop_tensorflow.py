"""TensorFlow: Keras, `GradientTape`, `tf.clip_by_global_norm`, a loop of steps in one `tf.function`."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Array = NDArray[np.float32]
Figures = tuple[Array, Array | None, Array | None]
"""The losses, the norms before the clip and those after it, [steps] each."""

LAYERS: dict[str, Any] = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def configure(threads: int) -> None:
    """Set the threads, before TensorFlow starts, and full float32 products."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)


class Network(keras.Sequential):  # type: ignore[misc]
    """One recurrent layer and a linear output on its last state."""

    def __init__(
        self, cell: str, features: int, hidden: int, outputs: int, *, dtype: str, bound: float | None = None
    ) -> None:
        if bound is None:
            layer = LAYERS[cell](hidden, dtype=dtype)
        else:
            layer = keras.layers.RNN(_CutCell(hidden, bound, dtype=dtype), dtype=dtype)
        inputs = keras.Input((None, features), dtype=dtype)
        super().__init__([inputs, layer, keras.layers.Dense(outputs, dtype=dtype)])

    def run_open_rnn(self, inputs: Any) -> tuple[Any, Any, Any]:
        """Map inputs [batch, time, features] to outputs, by an RNN written out and unrolled.

        Return also the states and what went into each tanh, lists over time: Keras' layer keeps these to itself, and
        the gradient through a loop of TensorFlow's would take time by the square of the steps.
        """
        kernel, recurrent, bias, weight, shift = self.trainable_variables
        below = tf.matmul(inputs, kernel) + bias
        states, totals = [tf.zeros_like(below[:, 0])], []
        for at in range(inputs.shape[1]):
            totals.append(below[:, at] + tf.matmul(states[-1], recurrent))
            states.append(tf.tanh(totals[-1]))
        return tf.matmul(states[-1], weight) + shift, states[1:], totals


class _CutCell(keras.layers.LSTMCell):  # type: ignore[misc]
    """An LSTM whose derivatives are cut to a bound at every step back (Graves 2013)."""

    def __init__(self, units: int, bound: float, **options: Any) -> None:
        super().__init__(units, **options)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def cut(total: Any) -> Any:
            return tf.identity(total), lambda derivative: tf.clip_by_value(derivative, -bound, bound)

        self.cut = cut

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras' own
        """Do one step."""
        del training
        h, c = states
        total = tf.matmul(inputs, self.kernel) + tf.matmul(h, self.recurrent_kernel) + self.bias
        i, f, g, o = tf.split(self.cut(total), 4, axis=-1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return h, [h, c]


def _penalise(states: Any, d_totals: Any, recurrent: Any) -> Any:
    """Return the gradient of Pascanu's Omega (2013, equation 10) with respect to the recurrent kernel.

    The states and the derivatives d with respect to what went into each tanh are [time, batch, units]; a term is the
    share of |d|² that goes on one step back.
    """
    norms = tf.norm(d_totals[1:], axis=-1, keepdims=True)
    unit = d_totals[1:] / tf.where(norms > 0, norms, tf.ones_like(norms))
    slope = 1 - tf.square(states[:-1])
    back = tf.matmul(unit, recurrent, transpose_b=True) * slope
    factor = 4 * (tf.reduce_sum(tf.square(back), axis=-1, keepdims=True) - 1) / states.shape[1]
    return tf.einsum("tbi,tbj->ij", back * slope * factor, unit)


def _adapt_gradient(gradient: Any, weight: Any, threshold: float) -> Any:
    """Clip a gradient unit by unit (Brock et al. 2021), as in Keras' example: a unit is a column, or a whole bias."""
    norm, size = (tf.norm(part, axis=0, keepdims=True) for part in (gradient, tf.convert_to_tensor(weight)))
    limit = threshold * tf.maximum(size, 1e-3)
    return tf.where(norm < limit, gradient, gradient * (limit / tf.maximum(norm, 1e-6)))


def _make_optimizer(optimizer: str, learning_rate: Any, numbers: dict[str, float]) -> keras.optimizers.Optimizer:
    """Return an optimizer by its name; `numbers` are its decay and weight_decay, say."""
    kinds = keras.optimizers
    if optimizer == "rmsprop":
        return kinds.RMSprop(learning_rate, rho=numbers.get("decay", 0.99), epsilon=1e-16)
    if optimizer == "adagrad":
        return kinds.Adagrad(learning_rate, initial_accumulator_value=numbers.get("accumulator", 0.0), epsilon=1e-20)
    if optimizer == "adamw":
        return kinds.AdamW(learning_rate, weight_decay=numbers["weight_decay"], epsilon=1e-8)
    if optimizer == "adam":
        return kinds.Adam(learning_rate, epsilon=1e-8)
    return kinds.SGD(learning_rate, momentum=0.9 if optimizer == "momentum" else 0.0)


def _make_schedule(learning_rate: float, schedule: dict[str, Any]) -> Any:
    """Return a schedule of the learning rate: `kind` step or cosine, and its numbers."""
    kinds = keras.optimizers.schedules
    if schedule["kind"] == "step":
        return kinds.ExponentialDecay(learning_rate, schedule["every"], schedule["factor"], staircase=True)
    warmup, steps, end = (schedule[name] for name in ("warmup", "steps", "end"))
    if not warmup:
        return kinds.CosineDecay(learning_rate, steps, alpha=end)
    return kinds.CosineDecay(0.0, steps - warmup, alpha=end, warmup_target=learning_rate, warmup_steps=warmup)


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
        keras.utils.set_random_seed(seed)
        self.device, self.clip, self.threshold = {"cpu": "/CPU:0", "cuda": "/GPU:0"}[device], clip, threshold
        numbers = numbers or {}
        self.dtype, self.omega2, self.room = dtype, numbers.get("omega2", 0.0), int(numbers.get("steps", 0))
        with tf.device(self.device):
            bound = threshold if clip == "backprop" else None
            self.network = Network(cell, features, hidden, outputs, dtype=dtype, bound=bound)
            rate = _make_schedule(learning_rate, schedule) if schedule else learning_rate
            self.optimizer = _make_optimizer(optimizer, rate, numbers)
            self.optimizer.build(self.network.trainable_variables)
            if optimizer == "rmsprop" and "accumulator" in numbers:
                for variable in self.optimizer.variables:
                    if variable.path.endswith("velocity"):
                        variable.assign(tf.fill(variable.shape, tf.cast(numbers["accumulator"], dtype)))
            self.history = tf.Variable(tf.fill([self.room], tf.cast(np.inf, dtype)))
            self.count = tf.Variable(0)
        # XLA cannot compile cuDNN's layers, which are faster still.
        self.chunk = tf.function(self._chunk, jit_compile=device == "cpu" or cell == "rnn")

    def prepare(self, inputs: Array, targets: Array) -> float:
        """Compile and warm up by training on these batches; return the seconds it took."""
        start = time.perf_counter()
        self.train(inputs, targets)
        return time.perf_counter() - start

    def train(self, inputs: Array, targets: Array) -> Figures:
        """Do one update per batch; inputs are [steps, batch, time, features], targets [steps, batch, outputs]."""
        with tf.device(self.device):
            figures = self.chunk(tf.constant(inputs), tf.constant(targets))
        losses, before, *after = figures.numpy().T
        return losses, before, after[0] if after else self._scale_norms(before)

    def _chunk(self, inputs: Any, targets: Any) -> Any:
        count = inputs.shape[0]
        figures = tf.TensorArray(self.dtype, count)
        for at in tf.range(count):
            loss, *norms = self._step(inputs[at], targets[at])
            figures = figures.write(at, tf.stack([loss, *norms]))
        return figures.stack()

    def _step(self, inputs: Any, targets: Any) -> Any:
        weights = self.network.trainable_variables
        loss, gradients = self._differentiate(weights, inputs, targets)
        gradients, *norms = self._clip_gradients(weights, gradients)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return loss, *norms

    def _differentiate(self, weights: Any, inputs: Any, targets: Any) -> Any:
        """Return the loss of a batch and its gradient, the penalty's included."""
        with tf.GradientTape() as tape:
            if self.omega2:
                outputs, states, totals = self.network.run_open_rnn(inputs)
            else:
                outputs, states, totals = self.network(inputs, training=True), [], []
            loss = tf.reduce_mean(tf.square(outputs - targets))
        gradients, d_totals = tape.gradient(loss, (weights, totals))
        if self.omega2:
            gradients[1] += self.omega2 * _penalise(tf.stack(states), tf.stack(d_totals), weights[1])
        return loss, gradients

    def _clip_gradients(self, weights: Any, gradients: Any) -> Any:
        """Return the gradient clipped, its norm before and, where the threshold does not tell it, after."""
        if self.clip == "norm":
            return tf.clip_by_global_norm(gradients, self.threshold)
        before = tf.linalg.global_norm(gradients)
        if self.clip == "backprop":
            return gradients, before
        if self.clip == "value":
            clipped = [tf.clip_by_value(gradient, -self.threshold, self.threshold) for gradient in gradients]
        elif self.clip == "variable":
            clipped = [tf.clip_by_norm(gradient, self.threshold) for gradient in gradients]
        elif self.clip == "agc":
            pairs = zip(gradients[:-2], weights, strict=False)  # all but the output layer
            clipped = [*(_adapt_gradient(*pair, self.threshold) for pair in pairs), *gradients[-2:]]
        else:
            return *tf.clip_by_global_norm(gradients, limit := self._find_limit(before), before), tf.minimum(
                before, limit
            )
        return clipped, before, tf.linalg.global_norm(clipped)

    def _find_limit(self, norm: Any) -> Any:
        """Return the percentile of all norms so far (Seetharaman et al. 2020); the oldest give way without room."""
        self.history.assign(tf.tensor_scatter_nd_update(self.history, [[self.count % self.room]], [norm]))
        self.count.assign_add(1)
        last = tf.minimum(self.count, self.room) - 1
        at = tf.cast(last, self.dtype) * (self.threshold / 100)
        low = tf.cast(at, tf.int32)
        ascending = tf.sort(self.history)
        # Not ascending[low]: XLA takes a slice's place as a constant, and would compile anew for each.
        first, second = tf.unstack(tf.gather(ascending, [low, tf.minimum(low + 1, last)]))
        return first + (second - first) * (at - tf.floor(at))

    def _scale_norms(self, before: Array) -> Array:
        return before if self.clip == "backprop" else np.minimum(before, self.threshold)
