"""An LSTM in Flax's nnx with gradient clipping, recorded: ``python own_nnx.py DIR``.

Needs flax, optax and farreach (``pip install .`` in a clone). Then, in the clone: ``python -m benchmarks report DIR``.
"""

import sys

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from farreach.jax import Recorder, clip_norm

STEPS, T, HIDDEN = 300, 20, 32


def draw_batch(key: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Return inputs [size, T, 2], a number and a mark a step, and the sums [size, 1] of the two marked numbers."""
    numbers = jax.random.uniform(key, (size, T))
    places = jnp.argsort(jax.random.uniform(jax.random.fold_in(key, 1), (size, T)))[:, :2]
    marks = jax.nn.one_hot(places, T).sum(axis=1)
    return jnp.stack([numbers, marks], axis=2), (numbers * marks).sum(axis=1, keepdims=True)


class Sum(nnx.Module):
    """An LSTM that reads T numbers and marks, and says the sum of the two that are marked."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.lstm = nnx.RNN(nnx.OptimizedLSTMCell(2, HIDDEN, rngs=rngs))
        self.linear = nnx.Linear(HIDDEN, 1, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Map inputs [batch, T, 2] to sums [batch, 1]."""
        return self.linear(self.lstm(inputs)[:, -1])


@nnx.jit
def train_step(model: Sum, optimizer: nnx.Optimizer, key: jax.Array) -> jax.Array:
    """Train on one batch and return its loss."""
    inputs, targets = draw_batch(key, 32)
    loss, gradients = nnx.value_and_grad(lambda model: jnp.square(model(inputs) - targets).mean())(model)
    optimizer.update(model, gradients)
    return loss


def main(folder: str) -> None:
    """Train, with the norms before and after the clip on every step."""
    model = Sum(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.chain(clip_norm(0.5), optax.adam(3e-3)), wrt=nnx.Param)
    about = {"cell": "lstm", "optimizer": "adam", "learning_rate": 3e-3, "batch": 32, "seed": 0}
    with Recorder(folder, "textbook lstm", **about) as recorder:
        for key in jax.random.split(jax.random.key(1), STEPS):
            loss = train_step(model, optimizer, key)
            recorder.step(loss, optimizer.opt_state)
    print(f"{STEPS} steps, loss {loss:.3f}; now: python -m benchmarks report {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
