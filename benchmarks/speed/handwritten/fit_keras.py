"""Keras on TensorFlow: `model.fit` with XLA and several steps a graph, the clip given to Adam."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Array = NDArray[np.float32]
Figures = tuple[Array, Array | None, Array | None]
"""The mean of the losses, [1], which is what `fit` keeps of itself; no norms."""

LAYERS: dict[str, Any] = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}

STEPS_A_GRAPH = 20


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
        dtype: str = "float32",
        clip: str = "norm",
        optimizer: str = "adam",
        numbers: dict[str, float] | None = None,
        schedule: dict[str, Any] | None = None,
    ) -> None:
        if (dtype, clip, optimizer, numbers, schedule) != ("float32", "norm", "adam", None, None):
            message = "fit_keras is written for Adam at one learning rate under a norm clip in float32"
            raise ValueError(message)
        configure(threads)
        keras.utils.set_random_seed(seed)
        self.device = {"cpu": "/CPU:0", "cuda": "/GPU:0"}[device]
        with tf.device(self.device):
            self.network = Network(cell, features, hidden, outputs)
            self.optimizer = keras.optimizers.Adam(learning_rate, global_clipnorm=threshold)
            # Left to itself Keras compiles no recurrent layer, and calls its graph once per step. XLA cannot compile
            # cuDNN's layers, which are faster still.
            compiled = device == "cpu" or cell == "rnn"
            self.network.compile(self.optimizer, "mse", jit_compile=compiled, steps_per_execution=STEPS_A_GRAPH)

    def prepare(self, inputs: Array, targets: Array) -> float:
        """Compile and warm up by training on these batches; return the seconds it took."""
        start = time.perf_counter()
        self.train(inputs, targets)
        return time.perf_counter() - start

    def train(self, inputs: Array, targets: Array) -> Figures:
        """Do one update per batch; inputs are [steps, batch, time, features], targets [steps, batch, outputs]."""
        with tf.device(self.device):
            batches = tf.data.Dataset.from_tensor_slices((inputs, targets))
            history = self.network.fit(batches, verbose=0, shuffle=False)
        return np.array(history.history["loss"], np.float32), None, None
