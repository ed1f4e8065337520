"""An LSTM in Keras with gradient clipping, recorded through ``model.fit``: ``python own_keras.py DIR``.

Needs keras on tensorflow or torch, and farreach (``pip install .`` in a clone). Then, in the clone:
``python -m benchmarks report DIR``.
"""

import sys

import keras
import numpy as np

from farreach.keras import Recorder, recorded

EXAMPLES, T = 2_000, 20


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [examples, T, 2], a number and a mark a step, and the sums [examples, 1] of the marked numbers."""
    random = np.random.default_rng(0)
    numbers, marks = random.random((EXAMPLES, T)), np.zeros((EXAMPLES, T))
    np.put_along_axis(marks, random.random((EXAMPLES, T)).argsort(axis=1)[:, :2], 1.0, axis=1)
    return np.stack([numbers, marks], axis=2), (numbers * marks).sum(axis=1, keepdims=True)


def main(folder: str) -> None:
    """Train, with the norms before and after the clip on every step."""
    keras.utils.set_random_seed(0)
    inputs, targets = data()
    model = keras.Sequential([keras.Input((T, 2)), keras.layers.LSTM(32), keras.layers.Dense(1)])
    # The textbook's clip is global_clipnorm. Keras's clipnorm clips each variable alone, which is another thing.
    optimizer = recorded(keras.optimizers.Adam(3e-3, global_clipnorm=0.5))
    model.compile(optimizer, loss="mse")
    recorder = Recorder(folder, "textbook lstm", batch=32, seed=0)
    model.fit(inputs, targets, batch_size=32, epochs=3, verbose=0, callbacks=[recorder])
    print(f"wrote {recorder.path}; now: python -m benchmarks report {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
