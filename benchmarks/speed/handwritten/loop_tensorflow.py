"""TensorFlow: Keras layers and Adam, `GradientTape`, `tf.clip_by_global_norm`, a loop of steps in one `tf.function`."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Array = NDArray[np.float32]
Figures = tuple[Array, Array | None]
"""The losses and the norms before the clip, [steps] each."""

LAYERS: dict[str, Any] = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def configure(threads: int) -> None:
    """Set the threads, before TensorFlow starts, and full float32 products."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)


class Network(keras.Sequential):  # type: ignore[misc]
    """One recurrent layer and a linear output on its last state."""

    def __init__(self, cell: str, features: int, hidden: int, outputs: int) -> None:
        super().__init__([keras.Input((None, features)), LAYERS[cell](hidden), keras.layers.Dense(outputs)])


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
    ) -> None:
        configure(threads)
        keras.utils.set_random_seed(seed)
        self.device, self.threshold = {"cpu": "/CPU:0", "cuda": "/GPU:0"}[device], threshold
        with tf.device(self.device):
            self.network = Network(cell, features, hidden, outputs)
            self.optimizer = keras.optimizers.Adam(learning_rate)
            self.optimizer.build(self.network.trainable_variables)
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
            losses, norms = self.chunk(tf.constant(inputs), tf.constant(targets))
        return losses.numpy(), norms.numpy()

    def _chunk(self, inputs: Any, targets: Any) -> Any:
        count = inputs.shape[0]
        losses, norms = tf.TensorArray(tf.float32, count), tf.TensorArray(tf.float32, count)
        for at in tf.range(count):
            loss, norm = self._step(inputs[at], targets[at])
            losses, norms = losses.write(at, loss), norms.write(at, norm)
        return losses.stack(), norms.stack()

    def _step(self, inputs: Any, targets: Any) -> Any:
        weights = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.network(inputs, training=True) - targets))
        gradients, norm = tf.clip_by_global_norm(tape.gradient(loss, weights), self.threshold)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return loss, norm
