"""An LSTM in a TensorFlow loop of one's own with gradient clipping, recorded: ``python own_tensorflow.py DIR``.

Needs keras, tensorflow and farreach (``pip install .`` in a clone). Then, in the clone:
``python -m benchmarks report DIR``.
"""

import sys

import keras
import tensorflow as tf

from farreach.keras import Loop, recorded

STEPS, T = 300, 20


def draw_batch(size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return inputs [size, T, 2], a number and a mark a step, and the sums [size, 1] of the two marked numbers."""
    numbers = tf.random.uniform((size, T))
    places = tf.math.top_k(tf.random.uniform((size, T)), 2).indices
    marks = tf.reduce_sum(tf.one_hot(places, T), axis=1)
    return tf.stack([numbers, marks], axis=2), tf.reduce_sum(numbers * marks, axis=1, keepdims=True)


def main(folder: str) -> None:
    """Train, with the norms before and after the clip on every step."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((T, 2)), keras.layers.LSTM(32), keras.layers.Dense(1)])
    optimizer = recorded(keras.optimizers.Adam(3e-3))
    optimizer.build(model.trainable_variables)

    @tf.function
    def train_step() -> tf.Tensor:
        inputs, targets = draw_batch(32)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(inputs, training=True) - targets) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        gradients = optimizer.clip_norm(gradients, 0.5)  # tf.clip_by_global_norm, recorded
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    with Loop(optimizer, folder, "textbook lstm", cell="lstm", batch=32, seed=0) as recorder:
        for _ in range(STEPS):
            loss = train_step()
            recorder.step(loss)
    print(f"{STEPS} steps, loss {float(loss):.3f}; now: python -m benchmarks report {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
