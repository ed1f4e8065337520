"""JAX: the layers by `lax.scan`, `value_and_grad`, optax's clip and Adam, a scan over the steps in one `jax.jit`."""

from __future__ import annotations

import os
import time
from typing import Any

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp
from numpy.typing import NDArray

Array = NDArray[np.float32]
Figures = tuple[Array, Array | None]
"""The losses and the norms before the clip, [steps] each."""

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def configure(threads: int) -> None:
    """Set the threads, before JAX starts, and full float32 products."""
    os.environ["NPROC"] = str(threads)
    jax.config.update("jax_default_matmul_precision", "highest")  # type: ignore[no-untyped-call]


class Network:
    """One recurrent layer and a linear output on its last state."""

    def __init__(self, cell: str, features: int, hidden: int, outputs: int) -> None:
        self.cell, self.features, self.hidden, self.outputs = cell, features, hidden, outputs

    def initialise(self, seed: int) -> dict[str, jax.Array]:
        """Draw Glorot kernels, an orthogonal recurrent one, zero biases."""
        keys, width = jax.random.split(jax.random.key(seed), 3), GATES[self.cell] * self.hidden
        glorot, orthogonal = jax.nn.initializers.glorot_uniform(), jax.nn.initializers.orthogonal()
        weights = {
            "input": glorot(keys[0], (self.features, width), jnp.float32),
            "recurrent": orthogonal(keys[1], (self.hidden, width), jnp.float32),
            "bias": jnp.zeros(width, jnp.float32),
            "output": glorot(keys[2], (self.hidden, self.outputs), jnp.float32),
            "output_bias": jnp.zeros(self.outputs, jnp.float32),
        }
        if self.cell == "gru":
            weights["candidate_bias"] = jnp.zeros(self.hidden, jnp.float32)
        return weights

    def __call__(self, weights: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
        """Map inputs [batch, time, features] to outputs [batch, outputs]."""

        def step(carry: Any, x: jax.Array) -> Any:
            h, *memory = carry
            total = h @ weights["recurrent"]
            if self.cell == "rnn":
                return (jnp.tanh(x + total),), None
            if self.cell == "lstm":
                i, f, g, o = jnp.split(x + total, 4, axis=-1)
                c = jax.nn.sigmoid(f + 1) * memory[0] + jax.nn.sigmoid(i) * jnp.tanh(g)
                return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None
            (xr, xz, xn), (hr, hz, hn) = jnp.split(x, 3, axis=-1), jnp.split(total, 3, axis=-1)
            n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * (hn + weights["candidate_bias"]))
            z = jax.nn.sigmoid(xz + hz)
            return ((1 - z) * n + z * h,), None

        # The inputs of all steps are projected at once, outside the loop.
        projected = inputs.swapaxes(0, 1) @ weights["input"] + weights["bias"]
        nothing = jnp.zeros((inputs.shape[0], self.hidden), jnp.float32)
        (final, *_), _ = lax.scan(step, (nothing,) * (1 + (self.cell == "lstm")), projected)
        return final @ weights["output"] + weights["output_bias"]


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
        self.device = jax.devices(device)[0]
        self.network = Network(cell, features, hidden, outputs)
        self.optimizer = optax.chain(optax.clip_by_global_norm(threshold), optax.adam(learning_rate))
        weights = self.network.initialise(seed)
        self.carried = jax.device_put((weights, self.optimizer.init(weights)), self.device)
        self.chunk = jax.jit(lambda carried, batches: lax.scan(self._step, carried, batches), donate_argnums=0)

    def prepare(self, inputs: Array, targets: Array) -> float:
        """Compile and warm up by training on these batches; return the seconds it took."""
        start = time.perf_counter()
        self.train(inputs, targets)
        return time.perf_counter() - start

    def train(self, inputs: Array, targets: Array) -> Figures:
        """Do one update per batch; inputs are [steps, batch, time, features], targets [steps, batch, outputs]."""
        batches = jax.device_put((inputs, targets), self.device)
        self.carried, (losses, norms) = self.chunk(self.carried, batches)
        return np.asarray(losses), np.asarray(norms)  # which waits for the whole program

    def _step(self, carried: Any, batch: Any) -> Any:
        weights, memory = carried
        loss, gradients = jax.value_and_grad(self._loss)(weights, *batch)
        changes, memory = self.optimizer.update(gradients, memory)
        # XLA sees that the clip computes this norm too.
        return (optax.apply_updates(weights, changes), memory), (loss, optax.tree.norm(gradients))

    def _loss(self, weights: dict[str, jax.Array], inputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.square(self.network(weights, inputs) - targets).mean()
