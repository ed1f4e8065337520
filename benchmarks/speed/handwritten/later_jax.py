"""JAX: the architectures that came later, by the equations of their papers, `lax.scan` or `lax.associative_scan`.

The recurrences keep their last state alone; a scan over the steps is in one `jax.jit`.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp
from numpy.typing import NDArray

Array = NDArray[np.float32]
Figures = tuple[Array, Array, Array]
"""The losses, the norms before the clip and those after it, [steps] each."""

Weights = dict[str, jax.Array]
Shapes = dict[str, tuple[int, ...]]


def configure(threads: int) -> None:
    """Set the threads, before JAX starts, and full float32 products."""
    os.environ["NPROC"] = str(threads)
    jax.config.update("jax_default_matmul_precision", "highest")  # type: ignore[no-untyped-call]


def _run_gated(weights: Weights, inputs: jax.Array, *, cell: str, path: str) -> jax.Array:
    """Map inputs [batch, time, features] to outputs [batch, outputs] by a minGRU or minLSTM (Feng et al. 2024)."""
    *gates, candidate = jnp.split(
        inputs.swapaxes(0, 1) @ weights["input"] + weights["bias"], 2 if cell == "mingru" else 3, axis=-1
    )
    if cell == "mingru":
        z = jax.nn.sigmoid(gates[0])
        kept, added = 1 - z, z * candidate
    else:
        f, i = map(jax.nn.sigmoid, gates)
        kept, added = f / (f + i), i / (f + i) * candidate
    if path == "scan":
        final = lax.associative_scan(lambda a, b: (b[0] * a[0], b[0] * a[1] + b[1]), (kept, added))[1][-1]
    else:
        nothing = jnp.zeros_like(added[0])
        final, _ = lax.scan(lambda h, now: (now[0] * h + now[1], None), nothing, (kept, added))
    return final @ weights["output"] + weights["output_bias"]  # type: ignore[no-any-return]


def _run_independent(weights: Weights, inputs: jax.Array) -> jax.Array:
    """Do the same by an IndRNN (Li et al. 2018)."""
    below = inputs.swapaxes(0, 1) @ weights["input"] + weights["bias"]
    nothing = jnp.zeros_like(below[0])
    final, _ = lax.scan(lambda h, x: (jax.nn.relu(x + weights["recurrent"] * h), None), nothing, below)
    return final @ weights["output"] + weights["output_bias"]


def _run_lru(weights: Weights, inputs: jax.Array, *, path: str) -> jax.Array:
    """Do the same by an LRU (Orvieto et al. 2023), its complex numbers in two parts."""
    x = inputs.swapaxes(0, 1)
    size, angle, scale = jnp.exp(-jnp.exp(weights["nu"])), jnp.exp(weights["theta"]), jnp.exp(weights["gamma"])
    a = size * jnp.cos(angle), size * jnp.sin(angle)
    added = scale * (x @ weights["b_real"]), scale * (x @ weights["b_imaginary"])

    def multiply(one: Any, other: Any) -> Any:
        return one[0] * other[0] - one[1] * other[1], one[0] * other[1] + one[1] * other[0]

    def step(h: Any, new: Any) -> Any:
        return jax.tree.map(jnp.add, multiply(a, h), new), None

    def combine(before: Any, after: Any) -> Any:
        return multiply(after[0], before[0]), jax.tree.map(jnp.add, multiply(after[0], before[1]), after[1])

    if path == "scan":
        factors = tuple(jnp.broadcast_to(part, (len(x), 1, *part.shape)) for part in a)
        real, imaginary = (part[-1] for part in lax.associative_scan(combine, (factors, added))[1])
    else:
        (real, imaginary), _ = lax.scan(step, jax.tree.map(lambda part: jnp.zeros_like(part[0]), added), added)
    y = real @ weights["c_real"] - imaginary @ weights["c_imaginary"] + x[-1] @ weights["skip"]
    gated = y * jax.nn.sigmoid(y @ weights["gate"] + weights["gate_bias"])
    return gated @ weights["output"] + weights["output_bias"]  # type: ignore[no-any-return]


def _run_transformer(weights: Weights, inputs: jax.Array, *, heads: int) -> jax.Array:
    """Do the same by a causal Transformer of one layer, its norms before, with learned positions."""

    def normalise(x: jax.Array, name: str) -> jax.Array:
        return jax.nn.standardize(x, epsilon=1e-5) * weights[f"{name}_scale"] + weights[f"{name}_bias"]

    x = inputs @ weights["input"] + weights["input_bias"] + weights["positions"]
    three = jnp.split(normalise(x, "norm1") @ weights["attention"], 3, axis=-1)
    query, key, value = (part.reshape(*x.shape[:2], heads, -1) for part in three)
    seen = jax.nn.dot_product_attention(query, key, value, is_causal=True).reshape(x.shape)
    x = x + seen @ weights["project"] + weights["project_bias"]
    inner = jax.nn.relu(normalise(x, "norm2") @ weights["expand"] + weights["expand_bias"])
    x = x + inner @ weights["contract"] + weights["contract_bias"]
    return normalise(x[:, -1], "norm") @ weights["output"] + weights["output_bias"]


def _run_gru(weights: Weights, name: str, inputs: jax.Array, h: jax.Array, *, reverse: bool = False) -> jax.Array:
    """Return the states [time, batch, units] of a gru on inputs [time, batch, width]."""

    def step(h: jax.Array, x: jax.Array) -> Any:
        (xr, xz, xn), (hr, hz, hn) = (
            jnp.split(part, 3, axis=-1) for part in (x, h @ weights[f"{name}_recurrent"] + weights[f"{name}_bias_h"])
        )
        n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
        z = jax.nn.sigmoid(xz + hz)
        h = (1 - z) * n + z * h
        return h, h

    projected = inputs @ weights[f"{name}_input"] + weights[f"{name}_bias"]
    states: jax.Array = lax.scan(step, h, projected, reverse=reverse)[1]
    return states


def _run_attention(weights: Weights, inputs: jax.Array, *, source: int, scored: int) -> jax.Array:
    """Map inputs [batch, time, features] to scores [batch, scored, outputs], by grus and Luong's attention (2015)."""
    x = inputs.swapaxes(0, 1)
    nothing = jnp.zeros((x.shape[1], weights["combine"].shape[1]), x.dtype)
    forward = _run_gru(weights, "forward", x[:source], nothing)
    backward = _run_gru(weights, "backward", x[:source], nothing, reverse=True)
    encoded = jnp.concatenate([forward, backward], axis=-1).swapaxes(0, 1)
    states = _run_gru(weights, "decoder", x[source:], forward[-1])[-scored:].swapaxes(0, 1)
    shares = jax.nn.softmax(states @ weights["score"] @ encoded.swapaxes(1, 2), axis=-1)
    joined = jnp.tanh(jnp.concatenate([shares @ encoded, states], axis=-1) @ weights["combine"])
    return joined @ weights["output"] + weights["output_bias"]


def _make_network(
    cell: str, features: int, hidden: int, outputs: int, *, facts: dict[str, Any]
) -> tuple[Callable[[Weights, jax.Array], jax.Array], Shapes]:
    """Return a network by its cell, and its weights' shapes; `facts` are path, heads, length, source, scored steps."""
    last = {"output": (hidden, outputs), "output_bias": (outputs,)}
    if cell in {"mingru", "minlstm"}:
        width = (2 if cell == "mingru" else 3) * hidden
        run = functools.partial(_run_gated, cell=cell, path=facts["path"])
        return run, {"input": (features, width), "bias": (width,)} | last
    if cell == "indrnn":
        return _run_independent, {"input": (features, hidden), "bias": (hidden,), "recurrent": (hidden,)} | last
    if cell == "lru":
        vectors = dict.fromkeys(("nu", "theta", "gamma", "gate_bias"), (hidden,))
        below = dict.fromkeys(("b_real", "b_imaginary", "skip"), (features, hidden))
        above = dict.fromkeys(("c_real", "c_imaginary", "gate"), (hidden, hidden))
        return functools.partial(_run_lru, path=facts["path"]), vectors | below | above | last
    if cell == "transformer":
        ends = ("norm1_scale", "norm1_bias", "norm2_scale", "norm2_bias", "norm_scale", "norm_bias")
        shapes: Shapes = {"input": (features, hidden), "positions": (facts["length"], hidden)}
        shapes |= dict.fromkeys((*ends, "input_bias", "project_bias", "contract_bias"), (hidden,))
        shapes |= {"attention": (hidden, 3 * hidden), "project": (hidden, hidden), "expand_bias": (4 * hidden,)}
        shapes |= {"expand": (hidden, 4 * hidden), "contract": (4 * hidden, hidden)}
        return functools.partial(_run_transformer, heads=facts["heads"]), shapes | last
    shapes = {"score": (hidden, 2 * hidden), "combine": (3 * hidden, hidden)}
    for name in ("forward", "backward", "decoder"):
        shapes |= {f"{name}_input": (features, 3 * hidden), f"{name}_recurrent": (hidden, 3 * hidden)}
        shapes |= dict.fromkeys((f"{name}_bias", f"{name}_bias_h"), (3 * hidden,))
    run_attention = functools.partial(_run_attention, source=facts["source"], scored=facts["scored"])
    return run_attention, shapes | last


def _draw_weights(shapes: Shapes, seed: int, dtype: str) -> Weights:
    """Draw Glorot kernels; vectors are 0, scales 1, and the factors of recurrences between 0 and 1."""
    glorot, weights = jax.nn.initializers.glorot_uniform(), {}
    for key, (name, shape) in zip(jax.random.split(jax.random.key(seed), len(shapes)), shapes.items(), strict=True):
        if len(shape) > 1:
            weights[name] = glorot(key, shape, dtype)
        elif name in {"nu", "theta", "recurrent"}:
            drawn = jax.random.uniform(key, shape, dtype, 0.5, 0.99)
            weights[name] = {"nu": jnp.log(-jnp.log(drawn)), "theta": jnp.log(drawn)}.get(name, drawn)
        else:
            weights[name] = jnp.full(shape, 1.0 if name.endswith("scale") else 0.0, dtype)
    return weights


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
        self.device, self.cell, self.threshold = jax.devices(device)[0], cell, threshold
        self.bound = 2 ** (1 / max(1, facts["length"]))
        self.network, shapes = _make_network(cell, features, hidden, outputs, facts=facts)
        self.optimizer = optax.chain(optax.clip_by_global_norm(threshold), optax.adam(learning_rate))
        weights = _draw_weights(shapes, seed, dtype)
        self.carried = jax.device_put((weights, self.optimizer.init(weights)), self.device)
        self.chunk = jax.jit(lambda carried, batches: lax.scan(self._step, carried, batches), donate_argnums=0)

    def prepare(self, inputs: Array, targets: Array) -> float:
        """Compile and warm up by training on these batches; return the seconds it took."""
        start = time.perf_counter()
        self.train(inputs, targets)
        return time.perf_counter() - start

    def train(self, inputs: Array, targets: Array) -> Figures:
        """Do one update per batch; inputs are [steps, batch, time, features], targets [steps, batch, ...]."""
        batches = jax.device_put((inputs, targets), self.device)
        self.carried, figures = self.chunk(self.carried, batches)
        losses, before = map(np.asarray, figures)  # which waits for the whole program
        return losses, before, np.minimum(before, self.threshold)

    def _step(self, carried: Any, batch: Any) -> Any:
        weights, memory = carried
        loss, gradients = jax.value_and_grad(self._compute_loss)(weights, *batch)
        changes, memory = self.optimizer.update(gradients, memory, weights)
        weights = optax.apply_updates(weights, changes)
        if self.cell == "indrnn":
            weights |= {"recurrent": jnp.clip(weights["recurrent"], -self.bound, self.bound)}
        return (weights, memory), (loss, optax.tree.norm(gradients))  # XLA sees that the clip computes it too

    def _compute_loss(self, weights: Weights, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Return the mean squared error, or over classes the cross-entropy of every scored step."""
        outputs = self.network(weights, inputs)
        if self.cell == "attention":
            return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()  # type: ignore[no-any-return]
        return jnp.square(outputs - targets).mean()
