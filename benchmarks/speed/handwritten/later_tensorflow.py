"""TensorFlow: the architectures that came later, by Keras or, where it has none, by the equations of their papers.

The recurrences keep their last state alone; a loop of steps is in one `tf.function`.
"""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Array = NDArray[np.float32]
Figures = tuple[Array, Array, Array]
"""The losses, the norms before the clip and those after it, [steps] each."""


def configure(threads: int) -> None:
    """Set the threads, before TensorFlow starts, and full float32 products."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)


class _Gated(keras.layers.Layer):  # type: ignore[misc]
    """A minGRU or minLSTM (Feng et al. 2024): inputs [batch, time, features] to the last state [batch, units]."""

    def __init__(self, cell: str, hidden: int, path: str, **options: Any) -> None:
        super().__init__(**options)
        self.cell, self.way = cell, path
        self.project = keras.layers.Dense((2 if cell == "mingru" else 3) * hidden, dtype=self.dtype_policy)

    def call(self, inputs: Any) -> Any:
        """Run it."""
        projected = self.project(tf.transpose(inputs, [1, 0, 2]))
        if self.cell == "mingru":
            gate, candidate = tf.split(projected, 2, axis=-1)
            z = tf.sigmoid(gate)
            return _run(self.way, 1 - z, z * candidate)
        forget, take, candidate = tf.split(projected, 3, axis=-1)
        f, i = tf.sigmoid(forget), tf.sigmoid(take)
        return _run(self.way, f / (f + i), i / (f + i) * candidate)


class _Independent(keras.layers.Layer):  # type: ignore[misc]
    """An IndRNN (Li et al. 2018): each unit sees its own state alone, times a factor within 2^(1/T)."""

    def __init__(self, hidden: int, length: int, **options: Any) -> None:
        super().__init__(**options)
        self.project = keras.layers.Dense(hidden, dtype=self.dtype_policy)
        bound = 2 ** (1 / length)
        draw, constraint = keras.initializers.RandomUniform(0.0, bound), _Within(bound)
        self.recurrent = self.add_weight(shape=(hidden,), initializer=draw, constraint=constraint, name="recurrent")

    def call(self, inputs: Any) -> Any:
        """Run it."""
        below = self.project(tf.transpose(inputs, [1, 0, 2]))
        recurrent = tf.convert_to_tensor(self.recurrent)
        return tf.foldl(
            lambda h, x: tf.nn.relu(x + recurrent * h), below, tf.zeros_like(below[0]), parallel_iterations=1
        )


class _Within(keras.constraints.Constraint):  # type: ignore[misc]
    """Keeps a weight within a bound; the optimizer calls it after every update."""

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def __call__(self, weight: Any) -> Any:
        return tf.clip_by_value(weight, -self.bound, self.bound)


class _LinearUnits(keras.layers.Layer):  # type: ignore[misc]
    """An LRU (Orvieto et al. 2023), its complex numbers in two parts, with a gated output."""

    def __init__(self, hidden: int, path: str, **options: Any) -> None:
        super().__init__(**options)
        self.way = path
        draw = keras.initializers.RandomUniform(-3.0, -1.0)
        self.nu, self.theta, self.gamma = (
            self.add_weight(shape=(hidden,), initializer=draw, name=name) for name in ("nu", "theta", "gamma")
        )
        self.b_real, self.b_imaginary, self.c_real, self.c_imaginary, self.skip = (
            keras.layers.Dense(hidden, use_bias=False, dtype=self.dtype_policy) for _ in range(5)
        )
        self.gate = keras.layers.Dense(hidden, activation="sigmoid", dtype=self.dtype_policy)

    def call(self, inputs: Any) -> Any:
        """Run it."""
        x = tf.transpose(inputs, [1, 0, 2])
        size, angle, scale = tf.exp(-tf.exp(self.nu)), tf.exp(self.theta), tf.exp(self.gamma)
        a = size * tf.cos(angle), size * tf.sin(angle)
        added = scale * self.b_real(x), scale * self.b_imaginary(x)
        real, imaginary = _turn_by_scan(a, added) if self.way == "scan" else _turn(a, added)
        y = self.c_real(real) - self.c_imaginary(imaginary) + self.skip(x[-1])
        return y * self.gate(y)


class _Transformer(keras.layers.Layer):  # type: ignore[misc]
    """A causal Transformer of one layer, its norms before, with learned positions; the last step's outcome."""

    def __init__(self, hidden: int, heads: int, length: int, **options: Any) -> None:
        super().__init__(**options)
        layers, policy = keras.layers, {"dtype": self.dtype_policy}
        draw = keras.initializers.RandomNormal(stddev=0.02)
        self.input_layer = layers.Dense(hidden, **policy)
        self.positions = self.add_weight(shape=(length, hidden), initializer=draw, name="positions")
        self.norm1, self.norm2, self.norm = (layers.LayerNormalization(epsilon=1e-5, **policy) for _ in range(3))
        self.attention = layers.MultiHeadAttention(heads, hidden // heads, **policy)
        self.expand, self.contract = (
            layers.Dense(4 * hidden, activation="relu", **policy),
            layers.Dense(hidden, **policy),
        )

    def call(self, inputs: Any) -> Any:
        """Run it."""
        x = self.input_layer(inputs) + self.positions
        below = self.norm1(x)
        x += self.attention(below, below, use_causal_mask=True)
        x += self.contract(self.expand(self.norm2(x)))
        return self.norm(x[:, -1])


class _Attention(keras.layers.Layer):  # type: ignore[misc]
    """An encoder of two directions and a decoder of grus, and Luong's attention (2015), score ``general``."""

    def __init__(self, hidden: int, *, source: int, scored: int, **options: Any) -> None:
        super().__init__(**options)
        layers, policy = keras.layers, {"dtype": self.dtype_policy}
        self.source, self.scored = source, scored
        self.forward, self.backward, self.decoder = (
            layers.GRU(hidden, return_sequences=True, go_backwards=back, **policy) for back in (False, True, False)
        )
        self.score = layers.Dense(2 * hidden, use_bias=False, **policy)
        self.combine = layers.Dense(hidden, activation="tanh", use_bias=False, **policy)

    def call(self, inputs: Any) -> Any:
        """Map inputs [batch, time, features] to what the output layer sees, [batch, scored, units]."""
        x = inputs
        forward = self.forward(x[:, : self.source])
        encoded = tf.concat([forward, tf.reverse(self.backward(x[:, : self.source]), [1])], axis=-1)
        states = self.decoder(x[:, self.source :], initial_state=forward[:, -1])[:, -self.scored :]
        shares = tf.nn.softmax(tf.matmul(self.score(states), encoded, transpose_b=True))
        return self.combine(tf.concat([tf.matmul(shares, encoded), states], axis=-1))


def _run(path: str, kept: Any, added: Any) -> Any:
    """Return the last of h_t = kept_t h_{t-1} + added_t, all [time, batch, units], by a loop or by doubling."""
    if path == "scan":
        reach = 1
        while reach < added.shape[0]:
            added = tf.concat([added[:reach], added[reach:] + kept[reach:] * added[:-reach]], axis=0)
            kept = tf.concat([kept[:reach], kept[reach:] * kept[:-reach]], axis=0)
            reach *= 2
        return added[-1]
    return tf.foldl(lambda h, now: now[0] * h + now[1], (kept, added), tf.zeros_like(added[0]), parallel_iterations=1)


def _turn(a: Any, added: Any) -> Any:
    """Return the last of h_t = a h_{t-1} + added_t, complex, in two parts, by a loop."""
    nothing = tf.zeros_like(added[0][0])
    return tf.foldl(
        lambda h, new: (a[0] * h[0] - a[1] * h[1] + new[0], a[0] * h[1] + a[1] * h[0] + new[1]),
        added,
        (nothing, nothing),
        parallel_iterations=1,
    )


def _turn_by_scan(a: Any, added: Any) -> Any:
    """Return the same by doubling."""
    (real, imaginary), reach = added, 1
    while reach < real.shape[0]:
        before, beside = real[:-reach], imaginary[:-reach]
        real, imaginary = (
            tf.concat([real[:reach], real[reach:] + a[0] * before - a[1] * beside], axis=0),
            tf.concat([imaginary[:reach], imaginary[reach:] + a[0] * beside + a[1] * before], axis=0),
        )
        a, reach = (a[0] * a[0] - a[1] * a[1], 2 * a[0] * a[1]), 2 * reach
    return real[-1], imaginary[-1]


def _make_layer(cell: str, hidden: int, *, facts: dict[str, Any], dtype: str) -> keras.layers.Layer:
    """Return a layer by its cell; `facts` are its path, heads, length, source and scored steps."""
    if cell == "attention":
        return _Attention(hidden, source=facts["source"], scored=facts["scored"], dtype=dtype)
    if cell == "transformer":
        return _Transformer(hidden, facts["heads"], facts["length"], dtype=dtype)
    if cell == "indrnn":
        return _Independent(hidden, facts["length"], dtype=dtype)
    if cell == "lru":
        return _LinearUnits(hidden, facts["path"], dtype=dtype)
    return _Gated(cell, hidden, facts["path"], dtype=dtype)


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
        keras.utils.set_random_seed(seed)
        self.device, self.threshold, self.dtype = {"cpu": "/CPU:0", "cuda": "/GPU:0"}[device], threshold, dtype
        self.has_classes = cell == "attention"
        with tf.device(self.device):
            self.layer = _make_layer(cell, hidden, facts=facts, dtype=dtype)
            self.output = keras.layers.Dense(outputs, dtype=dtype)
            steps = facts["length"] or facts["source"] + facts["scored"]  # enough to build every layer
            self.output(self.layer(tf.zeros([1, steps, features], dtype)))
            if cell == "transformer":  # biases of the keys change nothing, and those of query and value are few
                for name in ("query", "key", "value"):
                    getattr(self.layer.attention, f"_{name}_dense").bias.trainable = False
            self.weights = [*self.layer.trainable_variables, *self.output.trainable_variables]
            self.optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
            self.optimizer.build(self.weights)
        self.chunk = tf.function(self._chunk, jit_compile=True)

    def prepare(self, inputs: Array, targets: Array) -> float:
        """Compile and warm up by training on these batches; return the seconds it took."""
        start = time.perf_counter()
        self.train(inputs, targets)
        return time.perf_counter() - start

    def train(self, inputs: Array, targets: Array) -> Figures:
        """Do one update per batch; inputs are [steps, batch, time, features], targets [steps, batch, ...]."""
        with tf.device(self.device):
            figures = self.chunk(tf.constant(inputs), tf.constant(targets))
        losses, before = figures.numpy().T
        return losses, before, np.minimum(before, self.threshold)

    def _chunk(self, inputs: Any, targets: Any) -> Any:
        count = inputs.shape[0]
        figures = tf.TensorArray(self.dtype, count)
        for at in tf.range(count):
            loss, norm = self._step(inputs[at], targets[at])
            figures = figures.write(at, tf.stack([loss, norm]))
        return figures.stack()

    def _step(self, inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = self._compute_loss(self.output(self.layer(inputs)), targets)
        gradients, norm = tf.clip_by_global_norm(tape.gradient(loss, self.weights), self.threshold)
        self.optimizer.apply_gradients(zip(gradients, self.weights, strict=True))
        return loss, norm

    def _compute_loss(self, outputs: Any, targets: Any) -> Any:
        """Return the mean squared error, or over classes the cross-entropy of every scored step."""
        if self.has_classes:
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs))
        return tf.reduce_mean(tf.square(outputs - targets))
