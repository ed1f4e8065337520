"""JAX as the documentation of flax and optax has it: `flax.nnx` layers, `optax.chain` of a clip and an optimizer.

Read it beside ``pytorch/native.py``: the same names in the same order, so that a diff shows what differs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import flax
import jax
import numpy as np
import optax
from flax import nnx
from jax import numpy as jnp

from farreach.frameworks import base
from farreach.frameworks.base import Array, Clip, Model, Training, Weights
from farreach.frameworks.jax import configure
from farreach.frameworks.jax.clip import compute_norm
from farreach.frameworks.jax.loss import compute_loss
from farreach.frameworks.jax.recurrent import ACTIVATIONS as FUNCTIONS
from farreach.tasks.base import Batch

NEEDS = ("jax", "optax", "flax")
ACTIVATIONS = ("tanh", "relu", "sigmoid")
PATHS = {
    "cpu": {"rnn": ("scan",), "lstm": ("scan",), "gru": ("scan",)},
    "cuda": {"rnn": ("scan",), "lstm": ("scan",), "gru": ("scan",)},
}

LAYERS = {"rnn": nnx.SimpleCell, "lstm": nnx.LSTMCell, "gru": nnx.GRUCell}


class Network(nnx.Module):  # type: ignore[misc]
    """An embedding for tokens, the native recurrent layers, a linear output on the last S steps."""

    def __init__(self, model: Model, dtype: base.Precision, rngs: nnx.Rngs) -> None:
        self.scored = model.scored
        kind: dict[str, Any] = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}
        self.embedding = nnx.Embed(model.features, model.hidden, **kind) if model.tokens else None
        activation = {"activation_fn": FUNCTIONS[model.activation]} if model.cell == "rnn" else {}
        widths = [model.hidden if layer or model.tokens else model.features for layer in range(model.layers)]
        self.recurrent = nnx.List(
            [nnx.RNN(LAYERS[model.cell](width, model.hidden, **kind, **activation)) for width in widths]
        )
        self.output = nnx.Linear(model.hidden, model.outputs, **kind)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Map inputs [batch, time, ...] to scores [batch, S, outputs]."""
        if self.embedding is not None:
            inputs = self.embedding(inputs)
        for layer in self.recurrent:
            inputs = layer(inputs)
        return self.output(inputs[:, -self.scored :])  # type: ignore[no-any-return]


@functools.cache
def make_transformation(training: Training) -> optax.GradientTransformation:
    """Return the clip and the optimizer in one, the same object for the same recipe, so that it compiles once."""
    rate = training.learning_rate
    given = {} if training.decay is None else {"decay": training.decay}
    optimizer = {
        "sgd": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, momentum=base.MOMENTUM),
        "rmsprop": lambda: optax.rmsprop(rate, **given),
        "adam": lambda: optax.adam(rate),
        "adagrad": lambda: optax.adagrad(rate),
        "adamw": lambda: optax.adamw(rate, weight_decay=training.weight_decay),
    }[training.optimizer]()
    return optax.chain(clip_gradients(training.clip), optimizer)


def make_optimizer(training: Training, network: Network) -> Any:
    """Return the framework's own optimizer with its defaults, but for decays that are asked for.

    A momentum has no default, and gets 0.9.
    """
    return nnx.Optimizer(network, make_transformation(training), wrt=nnx.Param)


def clip_gradients(limit: Clip | None) -> optax.GradientTransformation:
    """Return the framework's own clip, which stands before the optimizer in the chain."""
    if limit is None:
        return optax.identity()
    return optax.clip_by_global_norm(limit.threshold) if limit.kind == "norm" else optax.clip(limit.threshold)


def measure_clip(limit: Clip | None, before: Any, after: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the norm before the clip, the norm after it and the share of elements that it changed.

    A norm clip changes all elements or none; what moves the norm by mere rounding has changed none.
    """
    first, last = compute_norm(before), compute_norm(after)
    if limit is not None and limit.kind == "value":
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        differ = [(old != new).ravel() for old, new in pairs]
        return first, last, jnp.concatenate(differ).mean(dtype=first.dtype)
    rounding = 16 * np.finfo(first.dtype).eps
    return first, last, (last < first * (1 - rounding)).astype(first.dtype)


@functools.partial(nnx.jit, static_argnames=("model", "limit"))
def train_step(
    network: Network, optimizer: Any, batch: tuple[jax.Array, ...], *, model: Model, limit: Clip | None
) -> jax.Array:
    """Do one update in place and return loss, norm before, norm after and the share clipped."""
    inputs, targets, mask = batch
    loss, gradients = nnx.value_and_grad(lambda network: compute_loss(model, network(inputs), targets, mask))(network)
    # The chain clips within; the same clip is run once more to see what it does.
    clipped, _ = clip_gradients(limit).update(gradients, optax.EmptyState())
    optimizer.update(network, gradients)
    return jnp.stack([loss, *measure_clip(limit, gradients, clipped)])


predict_scores = nnx.jit(lambda network, inputs: network(inputs))


class Native:
    """One model in training, in JAX as a user of it writes it; see `farreach.frameworks.base.Learner`."""

    def __init__(
        self,
        model: Model,
        training: Training,
        seed: int,
        *,
        device: base.Device,
        dtype: base.Precision,
        threads: int,
        path: str,
    ) -> None:
        configure(device, threads)
        self.model, self.training, self.path = model, training, path
        self.dtype = dtype
        self.network = Network(model, dtype, nnx.Rngs(seed))
        self.optimizer = make_optimizer(training, self.network)

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Compile by one step of a copy, thrown away, and one prediction."""
        start = time.perf_counter()
        network, optimizer = nnx.clone((self.network, self.optimizer))
        self._step(network, optimizer, batches[0]).block_until_ready()
        self.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        start = time.perf_counter()
        rows = [self._step(self.network, self.optimizer, batch) for batch in batches]
        figures = np.asarray(jnp.stack(rows), np.float64)  # the chunk's only sync point
        loss, before, after, clipped = figures.T
        return base.Trace(loss, before, after, clipped, seconds=time.perf_counter() - start)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        return np.array(predict_scores(self.network, self._make_tensor(inputs)))

    def weights(self) -> Weights:
        """Return the current weights under the framework's own names."""
        leaves = nnx.to_flat_state(nnx.state(self.network, nnx.Param))
        return {".".join(map(str, path)): np.array(value[...]) for path, value in leaves}

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return f"nnx.{LAYERS[self.model.cell].__name__}, lax.scan, flax {flax.__version__}, optax {optax.__version__}"

    def _step(self, network: Network, optimizer: Any, batch: Batch) -> jax.Array:
        parts = tuple(self._make_tensor(part) for part in (batch.inputs, batch.targets, batch.mask))
        return train_step(network, optimizer, parts, model=self.model, limit=self.training.clip)  # type: ignore[no-any-return]

    def _make_tensor(self, array: Array) -> jax.Array:
        return jnp.array(array, self.dtype if np.issubdtype(array.dtype, np.floating) else np.int32)
