"""A recurrent network in JAX and Optax with gradient clipping, recorded: ``python own_jax.py DIR``.

Needs jax, optax and farreach (``pip install .`` in a clone). Then, in the clone: ``python -m benchmarks report DIR``.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import optax

from farreach.jax import Recorder, clip_norm

STEPS, T, HIDDEN = 300, 20, 32


def draw_batch(key: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Return inputs [size, T, 2], a number and a mark a step, and the sums [size, 1] of the two marked numbers."""
    numbers = jax.random.uniform(key, (size, T))
    places = jnp.argsort(jax.random.uniform(jax.random.fold_in(key, 1), (size, T)))[:, :2]
    marks = jax.nn.one_hot(places, T).sum(axis=1)
    return jnp.stack([numbers, marks], axis=2), (numbers * marks).sum(axis=1, keepdims=True)


def init_params(key: jax.Array) -> dict[str, jax.Array]:
    """Return the weights of a tanh network with one number as its output."""
    shapes = {"read": (2, HIDDEN), "recur": (HIDDEN, HIDDEN), "write": (HIDDEN, 1)}
    keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
    return {name: jax.random.normal(keys[name], shape) / shape[0] ** 0.5 for name, shape in shapes.items()}


def find_loss(params: dict[str, jax.Array], inputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the mean squared error of what the network says after its last step."""

    def read(state: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
        return jnp.tanh(step @ params["read"] + state @ params["recur"]), None

    state, _ = jax.lax.scan(read, jnp.zeros((len(inputs), HIDDEN)), inputs.swapaxes(0, 1))
    return jnp.square(state @ params["write"] - targets).mean()


def main(folder: str) -> None:
    """Train, with the norms before and after the clip on every step."""
    optimizer = optax.chain(clip_norm(0.5), optax.adam(3e-3))  # optax.clip_by_global_norm(0.5), recorded
    params = init_params(jax.random.key(0))
    state = optimizer.init(params)

    @jax.jit
    def train_step(params: Any, state: Any, key: jax.Array) -> tuple[Any, Any, jax.Array]:
        loss, gradients = jax.value_and_grad(find_loss)(params, *draw_batch(key, 32))
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    about = {"cell": "rnn", "optimizer": "adam", "learning_rate": 3e-3, "batch": 32, "seed": 0}
    with Recorder(folder, "textbook rnn", **about) as recorder:
        for key in jax.random.split(jax.random.key(1), STEPS):
            params, state, loss = train_step(params, state, key)
            recorder.step(loss, state)
    print(f"{STEPS} steps, loss {loss:.3f}; now: python -m benchmarks report {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
