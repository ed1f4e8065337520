"""JAX: a jitted chunk of steps, the recurrent layers by `lax.scan`, the updates by optax.

Read it beside `tensorflow.py`: the same names in the same order, so that a diff shows what differs.
flax is not used: its LSTM and RNN cells compute the same but project the inputs step by step, within
the loop, and its GRU has no bias beside h @ recurrent in the reset and update gates. On a GPU the path ``cudnn`` has
the LSTM run by cuDNN (`farreach.frameworks.jax.cudnn`), in float32 alone; JAX has no such rnn and gru.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp

from farreach.frameworks import base
from farreach.frameworks.base import Array, Clip, Model, Optimizer, Regulariser, Training, Weights
from farreach.frameworks.jax.cudnn import lstm
from farreach.frameworks.jax.device import gpu_facts
from farreach.tasks.base import Batch

NEEDS = ("jax", "optax")
PATHS = {
    "cpu": {"rnn": ("scan",), "lstm": ("scan",), "gru": ("scan",)},
    "cuda": {"rnn": ("scan",), "lstm": ("scan", "cudnn"), "gru": ("scan",)},
}
MOVED = {"gru": 1}  # the biases of its gates are added together, before the loop
ENVIRONMENT = {
    "cuda": {
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuDNN's products might otherwise be done another way from run to run
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # of three quarters of the memory, which others share
    },
}

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2}
ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}

Tensors = dict[str, jax.Array]
"""Arrays of JAX under the names of the shared layout."""


@functools.cache
def configure(device: str, threads: int) -> None:
    """Set the threads and the precision, once a process; float32 products are full float32."""
    if configure.cache_info().currsize:
        message = "JAX takes its device and its threads once a process, when it starts"
        raise base.UnsupportedError(message)
    os.environ["NPROC"] = str(threads)  # the size of XLA's pool on the CPU, which ignores OMP_NUM_THREADS
    settings = {
        "jax_enable_x64": True,  # allows float64; every array has its dtype stated, so float32 cases stay float32
        "jax_default_matmul_precision": "highest",
        "jax_platforms": {"cpu": "cpu", "cuda": "cuda,cpu"}[device],
    }
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]
    if device == "cuda":
        os.environ.update(base.surroundings(ENVIRONMENT["cuda"], os.environ))
        try:
            jax.devices("cuda")
        except RuntimeError as error:
            message = "JAX finds no CUDA GPU on this machine"
            raise base.UnsupportedError(message) from error


class Network:
    """An embedding for tokens, scanned recurrent layers, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, path: str = "scan") -> None:
        self.model, self.path = model, path

    def __call__(self, weights: Tensors, inputs: jax.Array) -> jax.Array:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        return self.moved(weights, None, inputs)[0]

    def moved(self, weights: Tensors, by: list[jax.Array] | None, inputs: jax.Array) -> tuple[jax.Array, Any]:
        """Add `by` to each layer's pre-activations [time, batch, G·H], where given; return scores and states."""
        kept = []
        states = jnp.take(weights["embedding"], inputs, axis=0) if self.model.tokens else inputs
        for layer in range(self.model.layers):
            every_step = layer < self.model.layers - 1 or self.model.scored > 1 or by is not None
            parts = (weights[f"layer{layer}.{part}"] for part in ("input", "recurrent", "bias"))
            if self.path == "cudnn":
                states = lstm(states, *parts, every_step=every_step)
            else:
                states = self.scan(states, *parts, every_step=every_step, by=None if by is None else by[layer])
            kept.append(states)
        return states[-self.model.scored :] @ weights["output.kernel"] + weights["output.bias"], kept

    def scan(
        self,
        inputs: jax.Array,
        kernel: jax.Array,
        recurrent: jax.Array,
        bias: jax.Array,
        *,
        every_step: bool,
        by: jax.Array | None = None,
    ) -> jax.Array:
        """Run one layer; return its states [time, batch, H], or the last alone [1, batch, H]."""
        cell, activation = self.model.cell, ACTIVATIONS[self.model.activation]
        # The inputs of all steps are projected in one product, outside the loop, where all biases are added that need
        # not wait: of the gru's second row the candidate's part alone does, for the reset gate.
        below, beside = bias if cell == "gru" else (bias, bias)
        if cell == "gru":
            gates = 2 * self.model.hidden
            below, beside = below.at[:gates].add(beside[:gates]), beside[gates:]
        projected = inputs @ kernel + below
        projected = projected if by is None else projected + by

        def step(carry: Any, x: jax.Array) -> Any:
            h, *memory = carry
            if cell == "rnn":
                carry = (activation(x + h @ recurrent),)
            elif cell == "lstm":
                i, f, g, o = jnp.split(x + h @ recurrent, 4, axis=-1)
                c = jax.nn.sigmoid(f) * memory[0] + jax.nn.sigmoid(i) * jnp.tanh(g)
                carry = jax.nn.sigmoid(o) * jnp.tanh(c), c
            else:
                (r, z, n), (hr, hz, hn) = (jnp.split(part, 3, axis=-1) for part in (x, h @ recurrent))
                z = jax.nn.sigmoid(z + hz)
                carry = ((1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + hr) * (hn + beside)) + z * h,)
            return carry, carry[0] if every_step else None

        nothing = jnp.zeros((inputs.shape[1], self.model.hidden), inputs.dtype)
        carry, states = lax.scan(step, (nothing,) * (1 + (cell == "lstm")), projected)
        return states if every_step else carry[0][jnp.newaxis]


def loss_of(model: Model, scores: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
    """Average the loss over the positions that count; scores [S, batch, outputs], mask [S, batch]."""
    if model.loss == "cross_entropy":
        each: jax.Array = optax.softmax_cross_entropy_with_integer_labels(scores, targets)
    else:
        each = jnp.square(scores - targets).mean(axis=-1)
    return (each * mask).sum() / mask.sum()


def penalise(kind: str, weights: Tensors, gradients: Tensors, *, names: Sequence[str], strength: jax.Array) -> Tensors:
    """Add the penalty's slope to the gradients of the kernels; biases and embeddings are free."""
    if kind in {"none", "omega"}:
        return gradients
    kernels = {name: weights[name] for name in names if name.endswith((".input", ".recurrent", ".kernel"))}
    slopes = {name: jnp.sign(w) if kind == "l1" else 2 * w for name, w in kernels.items()}
    return gradients | {name: gradients[name] + strength * slope for name, slope in slopes.items()}


def omega(activation: base.Activation, states: jax.Array, slopes: jax.Array, recurrent: jax.Array) -> jax.Array:
    """Return the immediate slope of Omega along U [H, H], see `base.Regulariser`.

    States h_k and slopes d_k along the pre-activations are [time, batch, H].
    """
    h, following = states[:-1], slopes[1:]
    flat = {"tanh": 1 - h * h, "relu": (h > 0).astype(h.dtype), "sigmoid": h * (1 - h)}[activation]
    back = following @ recurrent.T * flat
    norms, whole = (jnp.sqrt(jnp.square(one).sum(axis=-1)) for one in (back, following))
    there = (norms > 0) & (whole > 0)
    norms, whole = jnp.where(there, norms, 1), jnp.where(there, whole, 1)
    factor = jnp.where(there, 2 * (norms / whole - 1) / (norms * whole), 0) / states.shape[1]
    return jnp.einsum("tbi,tbj->ij", back * flat * factor[..., jnp.newaxis], following)


def clip(kind: str, gradients: Tensors, threshold: jax.Array) -> tuple[Tensors, jax.Array, jax.Array, jax.Array]:
    """Clip the gradient; return it with the norm before, the norm after and the share clipped.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not.
    """
    before = norm_of(gradients)
    poison = jnp.where(jnp.isfinite(before), jnp.ones_like(before), jnp.full_like(before, jnp.nan))
    if kind == "value":
        count = sum(gradient.size for gradient in gradients.values())
        beyond = [(jnp.abs(gradient) > threshold).sum(dtype=before.dtype) for gradient in gradients.values()]
        clipped = jnp.stack(beyond).sum() / count
        gradients = {name: g.clip(-threshold, threshold) * poison for name, g in gradients.items()}
        return gradients, before, norm_of(gradients), clipped
    scale = jnp.minimum(1, threshold / before) * poison
    clipped = (before > threshold).astype(before.dtype)
    return {name: g * scale for name, g in gradients.items()}, before, before * scale, clipped


def norm_of(gradients: Tensors) -> jax.Array:
    """Return the global norm: the root of the plain sum of squares."""
    return jnp.sqrt(sum(jnp.square(gradient).sum() for gradient in gradients.values()))


def update(
    optimizer: Optimizer,
    weights: Tensors,
    gradients: Tensors,
    slots: list[Tensors],
    *,
    steps: jax.Array,
    learning_rate: jax.Array,
) -> tuple[Tensors, list[Tensors]]:
    """Return updated weights and slots, by optax, told to compute PyTorch's algebra."""
    changes: Any = gradients
    if optimizer == "momentum":
        changes, memory = optax.trace(base.MOMENTUM).update(gradients, optax.TraceState(slots[0]))
        slots = [memory.trace]
    elif optimizer == "rmsprop":
        scaled = optax.scale_by_rms(base.RMSPROP_DECAY, base.RMSPROP_EPSILON, eps_in_sqrt=False)
        changes, memory = scaled.update(gradients, optax.ScaleByRmsState(slots[0]))
        slots = [memory.nu]
    elif optimizer == "adam":
        # Under x64 optax corrects the bias in float64, in a float32 case too, where 1 - 0.999 would lose four digits.
        scaled = optax.scale_by_adam(*base.ADAM_DECAYS, base.ADAM_EPSILON, eps_root=0.0)
        changes, memory = scaled.update(gradients, optax.ScaleByAdamState(steps - 1, *slots))
        slots = [memory.mu, memory.nu]
    return {name: w - learning_rate * changes[name] for name, w in weights.items()}, slots


@functools.cache
def program(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, path: str
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled chunk and the compiled prediction, shared by every case of this kind.

    State is weights, slots and the steps done. State, threshold, learning rate and the penalty's strength
    are run-time inputs, so that a ladder of thresholds, rates, strengths or seeds compiles once.
    """
    network = Network(model, path)

    @jax.value_and_grad
    def slope(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        return loss_of(model, network(weights, inputs), targets, mask)

    def omegas(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        """Return Omega's slope along every recurrent kernel; XLA sees that `slope` runs the same loops."""

        def lost(by: Any) -> Any:
            scores, states = network.moved(weights, by, inputs)
            return loss_of(model, scores, targets, mask), states

        nothing = jnp.zeros((*inputs.shape[:2], model.hidden), weights["output.kernel"].dtype)
        totals, states = jax.grad(lost, has_aux=True)([nothing] * model.layers)
        names = [f"layer{layer}.recurrent" for layer in range(model.layers)]
        layers = zip(names, states, totals, strict=True)
        return {name: omega(model.activation, h, d, weights[name]) for name, h, d in layers}

    def step(state: Any, batch: Any, limits: Any) -> Any:
        weights, slots, steps = state
        threshold, rate, strength = limits
        inputs, targets, mask = batch
        loss, gradients = slope(weights, inputs, targets, mask)
        if penalty == "omega":
            slopes = omegas(weights, inputs, targets, mask)
            gradients = gradients | {name: gradients[name] + strength * slope for name, slope in slopes.items()}
        gradients = penalise(penalty, weights, gradients, names=list(weights), strength=strength)
        gradients, before, after, clipped = clip(kind, gradients, threshold)
        steps += 1
        weights, slots = update(optimizer, weights, gradients, slots, steps=steps, learning_rate=rate)
        return (weights, slots, steps), jnp.stack([loss, before, after, clipped])

    @functools.partial(jax.jit, donate_argnums=0)
    def chunk(state: Any, batches: Any, limits: Any, count: Any) -> Any:
        def body(at: Any, carry: Any) -> Any:
            state, figures = carry
            state, row = step(state, tuple(part[at] for part in batches), limits)
            return state, figures.at[at].set(row)

        mask = batches[-1]
        return lax.fori_loop(0, count, body, (state, jnp.zeros((len(mask), 4), mask.dtype)))

    return chunk, jax.jit(network)


class Framework:
    """One model in training, in JAX; see `farreach.frameworks.base.Framework`."""

    def __init__(
        self,
        model: Model,
        training: Training,
        weights: Weights,
        *,
        device: base.Device,
        dtype: base.Precision,
        threads: int,
        path: str,
    ) -> None:
        configure(device, threads)
        if path == "cudnn" and dtype != "float32":
            message = f"JAX's cuDNN LSTM computes in float32 alone: {dtype} runs on path scan"
            raise base.UnsupportedError(message)
        self.model, self.training, self.path = model, training, path
        self.dtype = dtype
        limit: Clip | None = training.clip
        # No clip is a norm clip whose threshold is infinite, so that both share one program.
        kind, threshold = (limit.kind, limit.threshold) if limit else ("norm", float("inf"))
        penalty: Regulariser | None = training.regulariser
        penalty_kind, strength = (penalty.kind, penalty.strength) if penalty else ("none", 0.0)
        self.chunk, self.scores = program(model, training.optimizer, kind=kind, penalty=penalty_kind, path=path)
        self.limits = tuple(jnp.array(limit, dtype) for limit in (threshold, training.learning_rate, strength))
        self.carried: tuple[Tensors, list[Tensors], jax.Array]
        nothing = {name: np.zeros_like(value) for name, value in weights.items()}
        self.restore(base.State(weights, (nothing,) * SLOTS[training.optimizer], steps=0))

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Trace and compile both programs with a chunk of no steps and a prediction thrown away."""
        start = time.perf_counter()
        self.carried, _ = self.chunk(self.carried, self.stacked(batches), self.limits, np.int32(0))
        self.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        start = time.perf_counter()
        count = np.int32(len(batches))
        self.carried, figures = self.chunk(self.carried, self.stacked(batches), self.limits, count)
        rows = np.asarray(figures, np.float64)  # the chunk's only sync point
        loss, before, after, clipped = rows.T
        return base.Trace(loss, before, after, clipped, seconds=time.perf_counter() - start)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        return np.array(self.scores(self.carried[0], self.tensor(inputs.swapaxes(0, 1)))).swapaxes(0, 1)

    def weights(self) -> Weights:
        """Return the current weights in the shared layout."""
        return self._shared(self.carried[0])

    def state(self) -> base.State:
        """Return weights, slots and the number of updates."""
        weights, slots, steps = self.carried
        return base.State(self._shared(weights), tuple(self._shared(slot) for slot in slots), int(steps))

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one; compiled programs stay."""
        slots = [self._native(slot) for slot in state.slots]
        self.carried = self._native(state.weights), slots, jnp.int32(state.steps)

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return {"scan": "lax.scan", "cudnn": "cuDNN"}[self.path]

    @staticmethod
    def facts(device: base.Device) -> dict[str, str]:
        """Return the version, the device's name and the precision of float32 products."""
        found = {"framework_version": jax.__version__, "device_name": "cpu", "precision": "float32, TF32 off"}
        return found if device == "cpu" else found | gpu_facts(base.settings(ENVIRONMENT["cuda"], os.environ))

    def stacked(self, batches: Sequence[Batch]) -> tuple[Array, Array, Array]:
        """Return a chunk time-major, [steps, time, batch, ...]; the compiled chunk copies it to the device at once."""
        stacks = (np.stack([getattr(batch, part) for batch in batches]) for part in ("inputs", "targets", "mask"))
        inputs, targets, mask = (base.time_major(stack.astype(self._type_of(stack), copy=False)) for stack in stacks)
        return inputs, targets, mask

    def tensor(self, array: Array) -> jax.Array:
        """Copy an array to the device: floats in the precision of the case, anything else as integers."""
        return jnp.array(array, self._type_of(array))

    def _type_of(self, array: Array) -> Any:
        return np.dtype(self.dtype if np.issubdtype(array.dtype, np.floating) else np.int32)

    def _native(self, weights: Weights) -> Tensors:
        return {name: self.tensor(value) for name, value in to_native(self.model, weights).items()}

    def _shared(self, native: Tensors) -> Weights:
        return to_shared(self.model, {name: np.array(value) for name, value in native.items()})


def to_native(model: Model, weights: Weights) -> Weights:
    """Return the weights as they are: the shared layout is this file's own."""
    del model
    return weights


def to_shared(model: Model, native: Weights) -> Weights:
    """Return the weights as they are."""
    del model
    return native
