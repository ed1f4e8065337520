"""JAX: the layers by `lax.scan`, `value_and_grad`, optax, a scan over the steps in one `jax.jit`."""

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
Figures = tuple[Array, Array | None, Array | None]
"""The losses, the norms before the clip and those after it, [steps] each."""

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def configure(threads: int) -> None:
    """Set the threads, before JAX starts, and full float32 products."""
    os.environ["NPROC"] = str(threads)
    jax.config.update("jax_default_matmul_precision", "highest")  # type: ignore[no-untyped-call]


class Network:
    """One recurrent layer and a linear output on its last state."""

    def __init__(
        self, cell: str, features: int, hidden: int, outputs: int, *, dtype: str, bound: float | None = None
    ) -> None:
        self.cell, self.features, self.hidden, self.outputs = cell, features, hidden, outputs
        self.dtype, self.bound = dtype, bound

    def initialise(self, seed: int) -> dict[str, jax.Array]:
        """Draw Glorot kernels, an orthogonal recurrent one, zero biases, but for an open forget gate."""
        keys, width = jax.random.split(jax.random.key(seed), 3), GATES[self.cell] * self.hidden
        glorot, orthogonal = jax.nn.initializers.glorot_uniform(), jax.nn.initializers.orthogonal()
        weights = {
            "input": glorot(keys[0], (self.features, width), self.dtype),
            "recurrent": orthogonal(keys[1], (self.hidden, width), self.dtype),
            "bias": jnp.zeros(width, self.dtype),
            "output": glorot(keys[2], (self.hidden, self.outputs), self.dtype),
            "output_bias": jnp.zeros(self.outputs, self.dtype),
        }
        if self.cell == "lstm":  # the forget gate starts open
            weights["bias"] = weights["bias"].at[self.hidden : 2 * self.hidden].set(1)
        if self.cell == "gru":
            weights["candidate_bias"] = jnp.zeros(self.hidden, self.dtype)
        return weights

    def __call__(self, weights: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
        """Map inputs [batch, time, features] to outputs [batch, outputs]."""
        outputs: jax.Array = self.run(weights, inputs)[0]
        return outputs

    def run(self, weights: dict[str, jax.Array], inputs: jax.Array, by: jax.Array | None = None) -> Any:
        """Return also the states [time, batch, units], where `by`, of their shape, is added to what the tanh gets."""

        def step(carry: Any, x: jax.Array) -> Any:
            h, *memory = carry
            total = h @ weights["recurrent"]
            if self.cell == "rnn":
                h = jnp.tanh(x + total)
                return (h,), None if by is None else h
            if self.cell == "lstm":
                total = x + total if self.bound is None else _clip_gradient(-self.bound, self.bound, x + total)
                i, f, g, o = jnp.split(total, 4, axis=-1)
                c = jax.nn.sigmoid(f) * memory[0] + jax.nn.sigmoid(i) * jnp.tanh(g)
                return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None
            (xr, xz, xn), (hr, hz, hn) = jnp.split(x, 3, axis=-1), jnp.split(total, 3, axis=-1)
            n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * (hn + weights["candidate_bias"]))
            z = jax.nn.sigmoid(xz + hz)
            return ((1 - z) * n + z * h,), None

        # The inputs of all steps are projected at once, outside the loop.
        projected = inputs.swapaxes(0, 1) @ weights["input"] + weights["bias"] + (0 if by is None else by)
        nothing = jnp.zeros((inputs.shape[0], self.hidden), self.dtype)
        (final, *_), states = lax.scan(step, (nothing,) * (1 + (self.cell == "lstm")), projected)
        return final @ weights["output"] + weights["output_bias"], states


@jax.custom_vjp
def _clip_gradient(lo: float, hi: float, x: jax.Array) -> jax.Array:
    """Return x; on the way back its derivative is cut to [lo, hi]. From JAX's documentation."""
    del lo, hi
    return x


_clip_gradient.defvjp(
    lambda lo, hi, x: (x, (lo, hi)), lambda limits, derivative: (None, None, jnp.clip(derivative, *limits))
)


def _penalise(states: jax.Array, d_totals: jax.Array, recurrent: jax.Array) -> jax.Array:
    """Return the gradient of Pascanu's Omega (2013, equation 10) with respect to the recurrent kernel.

    The states and the derivatives d with respect to what went into each tanh are [time, batch, units]; a term is the
    share of |d|² that goes on one step back.
    """
    norms = jnp.linalg.norm(d_totals[1:], axis=-1, keepdims=True)
    unit = d_totals[1:] / jnp.where(norms > 0, norms, 1)
    slope = 1 - jnp.square(states[:-1])
    back = unit @ recurrent.T * slope
    factor = 4 * (jnp.square(back).sum(axis=-1, keepdims=True) - 1) / states.shape[1]
    return jnp.einsum("tbi,tbj->ij", back * slope * factor, unit)


def _make_clip(clip: str, threshold: float, room: int) -> optax.GradientTransformation:
    """Return a clip by its name; `room` is for the norms of autoclip."""
    if clip == "norm":
        return optax.clip_by_global_norm(threshold)
    if clip == "value":
        return optax.clip(threshold)
    if clip == "variable":

        def scale(gradient: jax.Array) -> jax.Array:
            return gradient * jnp.minimum(1, threshold / jnp.sqrt(jnp.square(gradient).sum()))

        return optax.stateless(lambda gradients, _: jax.tree.map(scale, gradients))
    if clip == "agc":  # of all but the output layer

        def choose(weights: Any) -> Any:
            return {name: not name.startswith("output") for name in weights}

        return optax.masked(optax.adaptive_grad_clip(threshold), choose)
    return _make_autoclip(threshold, room) if clip == "autoclip" else optax.identity()


def _make_autoclip(percentile: float, room: int) -> optax.GradientTransformation:
    """Return the clip of Seetharaman et al. (2020); the oldest norms give way where there is no room left."""

    def update(gradients: Any, state: Any, weights: Any = None) -> Any:
        del weights
        history, count = state
        norm = optax.tree.norm(gradients)
        history = history.at[count % room].set(norm)
        scale = jnp.minimum(1, jnp.nanpercentile(history, percentile) / norm)
        return jax.tree.map(lambda gradient: gradient * scale, gradients), (history, count + 1)

    def initialise(weights: Any) -> Any:
        return jnp.full(room, jnp.nan, jax.tree.leaves(weights)[0].dtype), jnp.int32(0)

    return optax.GradientTransformation(initialise, update)


def _make_optimizer(
    optimizer: str, learning_rate: Any, numbers: dict[str, float]
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer by its name; `numbers` are its decay and weight_decay, say."""
    if optimizer == "rmsprop":
        start = numbers.get("accumulator", 0.0)
        return optax.rmsprop(learning_rate, numbers.get("decay", 0.99), 1e-8, initial_scale=start, eps_in_sqrt=False)
    if optimizer == "adagrad":
        return optax.adagrad(learning_rate, numbers.get("accumulator", 0.0), eps=1e-20)
    if optimizer == "adamw":
        return optax.adamw(learning_rate, weight_decay=numbers["weight_decay"])
    if optimizer == "adam":
        return optax.adam(learning_rate)
    return optax.sgd(learning_rate, momentum=0.9 if optimizer == "momentum" else None)


def _make_schedule(learning_rate: float, schedule: dict[str, Any]) -> optax.Schedule:
    """Return a schedule of the learning rate: `kind` step or cosine, and its numbers."""
    if schedule["kind"] == "step":
        return optax.exponential_decay(learning_rate, schedule["every"], schedule["factor"], staircase=True)
    warmup, steps, end = (schedule[name] for name in ("warmup", "steps", "end"))
    if not warmup:
        return optax.cosine_decay_schedule(learning_rate, steps, alpha=end)
    return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps, learning_rate * end)


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
        numbers = numbers or {}
        self.device = jax.devices(device)[0]
        self.clip, self.threshold, self.omega2 = clip, threshold, numbers.get("omega2", 0.0)
        bound = threshold if clip == "backprop" else None
        self.network = Network(cell, features, hidden, outputs, dtype=dtype, bound=bound)
        rate = _make_schedule(learning_rate, schedule) if schedule else learning_rate
        made = _make_optimizer(optimizer, rate, numbers)
        self.transform, self.optimizer = _make_clip(clip, threshold, int(numbers.get("steps", 0))), made
        weights = self.network.initialise(seed)
        memory = self.transform.init(weights), self.optimizer.init(weights)
        self.carried = jax.device_put((weights, memory), self.device)
        self.chunk = jax.jit(lambda carried, batches: lax.scan(self._step, carried, batches), donate_argnums=0)

    def prepare(self, inputs: Array, targets: Array) -> float:
        """Compile and warm up by training on these batches; return the seconds it took."""
        start = time.perf_counter()
        self.train(inputs, targets)
        return time.perf_counter() - start

    def train(self, inputs: Array, targets: Array) -> Figures:
        """Do one update per batch; inputs are [steps, batch, time, features], targets [steps, batch, outputs]."""
        batches = jax.device_put((inputs, targets), self.device)
        self.carried, figures = self.chunk(self.carried, batches)
        losses, before, *after = map(np.asarray, figures)  # which waits for the whole program
        return losses, before, after[0] if after else self._scale_norms(before)

    def _step(self, carried: Any, batch: Any) -> Any:
        weights, (clipping, memory) = carried
        loss, gradients = self._differentiate(weights, *batch)
        clipped, clipping = self.transform.update(gradients, clipping, weights)
        changes, memory = self.optimizer.update(clipped, memory, weights)
        norms = [optax.tree.norm(gradients)]  # XLA sees that a clip computes this norm too
        if self.clip not in {"norm", "backprop"}:
            norms.append(optax.tree.norm(clipped))
        return (optax.apply_updates(weights, changes), (clipping, memory)), (loss, *norms)

    def _differentiate(self, weights: dict[str, jax.Array], inputs: jax.Array, targets: jax.Array) -> Any:
        """Return the loss of a batch and its gradient, the penalty's included."""
        if not self.omega2:
            return jax.value_and_grad(lambda given: self._compute_loss(self.network(given, inputs), targets))(weights)

        def compute_loss(given: dict[str, jax.Array], by: jax.Array) -> Any:
            outputs, states = self.network.run(given, inputs, by)
            return self._compute_loss(outputs, targets), states

        nothing = jnp.zeros((inputs.shape[1], inputs.shape[0], self.network.hidden), inputs.dtype)
        differentiate = jax.value_and_grad(compute_loss, argnums=(0, 1), has_aux=True)
        (loss, states), (gradients, d_totals) = differentiate(weights, nothing)
        omega = _penalise(states, d_totals, weights["recurrent"])
        return loss, gradients | {"recurrent": gradients["recurrent"] + self.omega2 * omega}

    def _compute_loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.square(outputs - targets).mean()

    def _scale_norms(self, before: Array) -> Array:
        return before if self.clip == "backprop" else np.minimum(before, self.threshold)
