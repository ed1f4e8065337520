"""TensorFlow: Keras' native recurrent layers, a chunk of steps in one graph, with XLA or without.

Read it beside `pytorch.py`: the same names in the same order, so that a diff shows what differs. On a GPU the path
``cudnn`` has Keras take cuDNN's LSTM and GRU, which XLA cannot compile; Keras has no cuDNN kernel for its rnn.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from farreach.frameworks import base
from farreach.frameworks.base import Array, Clip, Model, Optimizer, Regulariser, Training, Weights
from farreach.frameworks.tensorflow.device import gpu_facts
from farreach.frameworks.tensorflow.loops import Tensors, follow
from farreach.tasks.base import Batch

NEEDS = ("tensorflow",)
PATHS = {
    "cpu": {"rnn": ("xla", "graph"), "lstm": ("xla", "graph"), "gru": ("xla", "graph")},
    "cuda": {"rnn": ("xla", "graph"), "lstm": ("cudnn", "xla", "graph"), "gru": ("cudnn", "xla", "graph")},
}
ENVIRONMENT = {
    "cuda": {
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuDNN's products might otherwise be done another way from run to run
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # and not the whole memory at once, which others share
    },
}

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2}
LAYERS = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


@functools.cache
def configure(device: str, threads: int) -> None:
    """Set the threads and the precision, once a process; float32 products are full float32."""
    tf.get_logger().setLevel("ERROR")  # it counts our programs, which share names, as needless retracing
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    if device == "cuda":
        if not tf.config.list_physical_devices("GPU"):
            message = "TensorFlow finds no CUDA GPU on this machine"
            raise base.UnsupportedError(message)
        tf.config.experimental.enable_op_determinism()


class Network:
    """An embedding for tokens, the native recurrent layers, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, dtype: str, path: str) -> None:
        self.model = model
        activation = {"activation": model.activation} if model.cell == "rnn" else {"use_cudnn": path == "cudnn"}
        self.recurrent = []
        for layer in range(model.layers):
            every_step = layer < model.layers - 1 or model.scored > 1
            width = model.hidden if layer or model.tokens else model.features
            built = LAYERS[model.cell](model.hidden, return_sequences=every_step, dtype=dtype, **activation)
            built.build((None, None, width))
            self.recurrent.append(built)

    def __call__(self, weights: Tensors, inputs: Any) -> Any:
        """Map inputs [batch, time, ...] to scores [batch, S, outputs]."""
        *recurrent, kernel, bias = weights
        if self.model.tokens:
            inputs = tf.gather(recurrent.pop(0), inputs)
        states = inputs
        for layer, built in enumerate(self.recurrent):
            fixed = [variable.value for variable in built.non_trainable_variables]
            states, _ = built.stateless_call(recurrent[3 * layer : 3 * layer + 3], fixed, states)
        states = states[:, tf.newaxis] if self.model.scored == 1 else states[:, -self.model.scored :]
        return tf.matmul(states, kernel) + bias


def loss_of(model: Model, scores: Any, targets: Any, mask: Any) -> Any:
    """Average the loss over the positions that count; scores [batch, S, outputs], mask [batch, S]."""
    if model.loss == "cross_entropy":
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, scores)
    else:
        each = tf.reduce_mean(tf.square(scores - targets), axis=-1)
    return tf.reduce_sum(each * mask) / tf.reduce_sum(mask)


def penalise(kind: str, weights: Tensors, gradients: Tensors, *, names: Sequence[str], strength: Any) -> Tensors:
    """Add the penalty's slope to the gradients of the kernels; biases and embeddings are free."""
    if kind in {"none", "omega"}:
        return gradients
    penalised = [name.endswith((".input", ".recurrent", ".kernel")) for name in names]
    pairs = zip(weights, gradients, penalised, strict=True)
    if kind == "l1":
        return [g + strength * tf.sign(w) if is_kernel else g for w, g, is_kernel in pairs]
    return [g + 2 * strength * w if is_kernel else g for w, g, is_kernel in pairs]


def omega(activation: base.Activation, states: Any, slopes: Any, recurrent: Any) -> Any:
    """Return the immediate slope of Omega along U [H, H], see `base.Regulariser`.

    States h_k and slopes d_k along the pre-activations are [time, batch, H].
    """
    h, following = states[:-1], slopes[1:]
    flat = {"tanh": 1 - h * h, "relu": tf.cast(h > 0, h.dtype), "sigmoid": h * (1 - h)}[activation]
    back = tf.matmul(following, recurrent, transpose_b=True) * flat
    norms, whole = (tf.sqrt(tf.reduce_sum(tf.square(one), axis=-1)) for one in (back, following))
    there = (norms > 0) & (whole > 0)
    norms, whole = (tf.where(there, one, tf.ones_like(one)) for one in (norms, whole))
    factor = tf.where(there, 2 * (norms / whole - 1) / (norms * whole), tf.zeros_like(norms)) / states.shape[1]
    return tf.einsum("tbi,tbj->ij", back * flat * factor[..., tf.newaxis], following)


def clip(kind: str, gradients: Tensors, threshold: Any) -> tuple[Tensors, Any, Any, Any]:
    """Clip the gradient; return it with the norm before, the norm after and the share clipped.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not.
    """
    before = norm_of(gradients)
    poison = tf.where(tf.math.is_finite(before), tf.ones_like(before), tf.cast(np.nan, before.dtype))
    if kind == "value":
        count = sum(gradient.shape.num_elements() for gradient in gradients)
        beyond = [tf.reduce_sum(tf.cast(tf.abs(gradient) > threshold, before.dtype)) for gradient in gradients]
        clipped = tf.add_n(beyond) / count
        gradients = [tf.clip_by_value(gradient, -threshold, threshold) * poison for gradient in gradients]
        return gradients, before, norm_of(gradients), clipped
    scale = tf.minimum(tf.ones_like(before), threshold / before) * poison
    clipped = tf.cast(before > threshold, before.dtype)
    return [gradient * scale for gradient in gradients], before, before * scale, clipped


def norm_of(gradients: Tensors) -> Any:
    """Return the global norm: the root of the plain sum of squares."""
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]))


def update(
    optimizer: Optimizer,
    weights: Tensors,
    gradients: Tensors,
    slots: list[Tensors],
    *,
    steps: Any,
    learning_rate: Any,
) -> tuple[Tensors, list[Tensors]]:
    """Return updated weights and slots, by PyTorch's algebra written out."""
    if optimizer == "sgd":
        changes = gradients
    elif optimizer == "momentum":
        changes = [base.MOMENTUM * v + g for v, g in zip(slots[0], gradients, strict=True)]
        slots = [changes]
    elif optimizer == "rmsprop":
        decay, epsilon = base.RMSPROP_DECAY, base.RMSPROP_EPSILON
        squares = [decay * s + (1 - decay) * g * g for s, g in zip(slots[0], gradients, strict=True)]
        changes = [g / (tf.sqrt(s) + epsilon) for g, s in zip(gradients, squares, strict=True)]
        slots = [squares]
    else:
        (first, second), epsilon = base.ADAM_DECAYS, base.ADAM_EPSILON
        means = [first * m + (1 - first) * g for m, g in zip(slots[0], gradients, strict=True)]
        squares = [second * v + (1 - second) * g * g for v, g in zip(slots[1], gradients, strict=True)]
        # In float32, 1 - 0.999 would lose four digits: the corrections are float64 scalars.
        power = tf.cast(steps, tf.float64)
        shrink = tf.cast(1 - tf.constant(first, tf.float64) ** power, learning_rate.dtype)
        spread = tf.cast(tf.sqrt(1 - tf.constant(second, tf.float64) ** power), learning_rate.dtype)
        changes = [m / shrink / (tf.sqrt(v) / spread + epsilon) for m, v in zip(means, squares, strict=True)]
        slots = [means, squares]
    return [w - learning_rate * c for w, c in zip(weights, changes, strict=True)], slots


@functools.cache
def program(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, dtype: str, path: str
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled chunk and the compiled prediction, shared by every case of this kind.

    State is weights, slots and the steps done. State, threshold, learning rate and the penalty's strength
    are run-time inputs, so that a ladder of thresholds, rates, strengths or seeds compiles once.
    """
    network, names = Network(model, dtype, path), names_of(model)

    def step(state: Any, batch: Any, limits: Any) -> Any:
        weights, slots, steps = state
        threshold, rate, strength = limits
        inputs, targets, mask = batch
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = loss_of(model, network(weights, inputs), targets, mask)
        # An embedding's gradient comes as slices, in which a token that occurs twice has two rows.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]
        gradients = penalise(penalty, weights, gradients, names=names, strength=strength)
        if penalty == "omega":
            for layer, found in enumerate(follow(model, loss_of, weights, batch)):
                at = names.index(f"layer{layer}.recurrent")
                gradients[at] += strength * omega(model.activation, found.states[0], found.totals, weights[at])
        gradients, before, after, clipped = clip(kind, gradients, threshold)
        steps += 1
        weights, slots = update(optimizer, weights, gradients, slots, steps=steps, learning_rate=rate)
        return (weights, slots, steps), tf.stack([loss, before, after, clipped])

    @tf.function(jit_compile=path == "xla", reduce_retracing=False)  # type: ignore[untyped-decorator]
    def chunk(state: Any, batches: Any, limits: Any, count: Any) -> Any:
        inputs, targets, mask = batches

        def body(at: Any, state: Any, figures: Any) -> Any:
            state, row = step(state, (inputs[at], targets[at], mask[at]), limits)
            return at + 1, state, figures.write(at, row)

        figures = tf.TensorArray(dtype, inputs.shape[0], element_shape=[4])
        start = (tf.constant(0), state, figures)
        _, state, figures = tf.while_loop(lambda at, *_: at < count, body, start, parallel_iterations=1)
        return state, figures.stack()

    # Prediction is rare and forward only: compiling it with XLA would cost more than it saves.
    return chunk, tf.function(network, reduce_retracing=False)


class Framework:
    """One model in training, in TensorFlow; see `farreach.frameworks.base.Framework`."""

    carried: tuple[Tensors, list[Tensors], Any]  # weights, slots, updates done

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
        self.model, self.training, self.path = model, training, path
        self.device, self.dtype = "/GPU:0" if device == "cuda" else "/CPU:0", dtype
        limit: Clip | None = training.clip
        # No clip is a norm clip whose threshold is infinite, so that both share one program.
        kind, threshold = (limit.kind, limit.threshold) if limit else ("norm", float("inf"))
        penalty: Regulariser | None = training.regulariser
        penalty_kind, strength = (penalty.kind, penalty.strength) if penalty else ("none", 0.0)
        self.chunk, self.scores = program(
            model, training.optimizer, kind=kind, penalty=penalty_kind, dtype=dtype, path=path
        )
        self.names = names_of(model)
        with tf.device(self.device):
            self.limits = tuple(tf.constant(limit, dtype) for limit in (threshold, training.learning_rate, strength))
        nothing = {name: np.zeros_like(value) for name, value in weights.items()}
        self.restore(base.State(weights, (nothing,) * SLOTS[training.optimizer], steps=0))

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Trace and compile both programs with a chunk of no steps and a prediction thrown away."""
        start = time.perf_counter()
        with tf.device(self.device):
            self.chunk(self.carried, self.stacked(batches), self.limits, tf.constant(0))[1].numpy()
        self.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        start = time.perf_counter()
        with tf.device(self.device):
            count = tf.constant(len(batches))
            self.carried, figures = self.chunk(self.carried, self.stacked(batches), self.limits, count)
        rows = figures.numpy().astype(np.float64)  # the chunk's only sync point
        if self.device != "/CPU:0":
            tf.test.experimental.sync_devices()  # the figures do not wait for the last update
        loss, before, after, clipped = rows.T
        return base.Trace(loss, before, after, clipped, seconds=time.perf_counter() - start)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        with tf.device(self.device):
            return np.asarray(self.scores(self.carried[0], self.tensor(inputs)).numpy())

    def weights(self) -> Weights:
        """Return the current weights in the shared layout."""
        return self._shared(self.carried[0])

    def state(self) -> base.State:
        """Return weights, slots and the number of updates."""
        _, slots, steps = self.carried
        return base.State(self.weights(), tuple(self._shared(slot) for slot in slots), int(steps))

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one; compiled programs stay."""
        with tf.device(self.device):
            trained, *slots = (
                [self.tensor(value) for value in to_native(self.model, values).values()]
                for values in (state.weights, *state.slots)
            )
            self.carried = trained, slots, tf.constant(state.steps)

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return {"cudnn": "cuDNN", "xla": "Keras loop, XLA", "graph": "Keras loop"}[self.path]

    @staticmethod
    def facts(device: base.Device) -> dict[str, str]:
        """Return the version, the device's name and the precision of float32 products."""
        found = {"framework_version": tf.__version__, "device_name": "cpu", "precision": "float32, TF32 off"}
        return found if device == "cpu" else found | gpu_facts(base.settings(ENVIRONMENT["cuda"], os.environ))

    def _shared(self, tensors: Iterable[Any]) -> Weights:
        native = {name: value.numpy() for name, value in zip(self.names, tensors, strict=True)}
        return to_shared(self.model, native)

    def stacked(self, batches: Sequence[Batch]) -> tuple[Any, Any, Any]:
        """Copy a chunk to the device at once, batch-major: [steps, batch, time, ...]."""
        stacks = (np.stack([getattr(batch, part) for batch in batches]) for part in ("inputs", "targets", "mask"))
        inputs, targets, mask = (self.tensor(stack) for stack in stacks)
        return inputs, targets, mask

    def tensor(self, array: Array) -> Any:
        """Copy an array to the device: floats in the precision of the case, anything else as integers."""
        return tf.constant(array, self.dtype if np.issubdtype(array.dtype, np.floating) else tf.int32)


def to_native(model: Model, weights: Weights) -> Weights:
    """Name and order shared weights as Keras does: the gru's gates are z r n."""
    return {
        name: _swapped(model, weights[name]) if name.startswith("layer") else weights[name] for name in names_of(model)
    }


def to_shared(model: Model, native: Weights) -> Weights:
    """Bring Keras' weights back to the shared layout."""
    return {name: _swapped(model, value) if name.startswith("layer") else value for name, value in native.items()}


def names_of(model: Model) -> list[str]:
    """Return the names of the weights, in the order of `to_native`."""
    layers = [f"layer{layer}.{part}" for layer in range(model.layers) for part in ("input", "recurrent", "bias")]
    return [*(["embedding"] if model.tokens else []), *layers, "output.kernel", "output.bias"]


def _swapped(model: Model, value: Array) -> Array:
    """Exchange the first two of the gru's three gate blocks, which is its own inverse."""
    if model.cell != "gru":
        return value
    first, second, third = np.split(value, 3, axis=-1)
    return np.concatenate([second, first, third], axis=-1)
