"""Mixed precision in TensorFlow: Keras' policy and casts, the loss scaled as `torch.amp.GradScaler` does.

Keras' own layers have the policy ``mixed_bfloat16`` or ``mixed_float16``; beside them TensorFlow, which never changes a
type by itself, has all weights and the inputs cast. Keras' `LossScaleOptimizer` is not used: its constants are others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from farreach.frameworks import base, scaling
from farreach.frameworks.base import Array, Model, Optimizer, Training, Weights
from farreach.frameworks.scaling import Half
from farreach.frameworks.tensorflow import Framework as PlainFramework
from farreach.frameworks.tensorflow.loss import compute_loss
from farreach.frameworks.tensorflow.networks import find_family
from farreach.frameworks.tensorflow.paths import COMPILED, make_chunk, make_step

DTYPES: dict[str, Any] = {"bfloat16": tf.bfloat16, "float16": tf.float16}


class Framework(PlainFramework):
    """One model in training in mixed precision; see `farreach.frameworks.scaling`.

    Attributes:
        precision: what its products are of, as it was measured.
        half: what was asked for.
        scaler: the scale, the good steps since it last changed, and the updates left out; nothing without a scale.

    """

    def __init__(
        self,
        model: Model,
        training: Training,
        weights: Weights,
        *,
        device: base.Device,
        dtype: Half,
        threads: int,
        path: str,
    ) -> None:
        scaling.require_whole(training, dtype)
        self.half: Half = dtype
        self.scaler: tuple[Any, ...] = ()
        super().__init__(model, training, weights, device=device, dtype="float32", threads=threads, path=path)
        self.extra = scaling.list_extra(dtype)
        penalty = training.regulariser.kind if training.regulariser else "none"
        self.program, self.scores = compile_program(
            model, training.optimizer, kind=self.kind, penalty=penalty, half=dtype, path=path, decay=training.decay
        )
        self.chunk = self._run_chunk
        self.precision = measure_precision(self)

    def state(self) -> base.State:
        """Return weights, slots and the number of updates, and the scale."""
        plain = super().state()
        if not self.scaler:
            return plain
        scale, good, skipped = (float(part) for part in self.scaler)
        return scaling.ScaledState(
            plain.weights, plain.slots, plain.steps, plain.history, scale, int(good), int(skipped)
        )

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one, at its scale or the first one."""
        super().restore(state)
        if self.half not in scaling.SCALED:
            return
        found = scaling.scale_state(state)
        with tf.device(self.device):
            self.scaler = tuple(tf.constant(value, tf.float32) for value in (found.scale, found.good, found.skipped))

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs, and in what."""
        return f"{super().kernel}, {self.half}"

    def _run_chunk(self, carried: Any, batches: Any, limits: Any, count: Any) -> Any:
        """Run a chunk of updates, the scale beside what is carried without one."""
        (carried, self.scaler), figures = self.program((carried, self.scaler), batches, limits, count)
        return carried, figures

    def _list_limits(self, count: int) -> tuple[Any, ...]:
        """Return the numbers of the next updates; an update that was left out has taken its learning rate with it."""
        if self.training.schedule is None:
            return self.limits
        threshold, _, *others = self.limits
        seen = int(self.carried[2]) + (int(self.scaler[2]) if self.scaler else 0)
        return threshold, self.make_tensor(self.training.list_rates(seen, count)), *others


@functools.cache
def compile_program(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, half: Half, path: str, decay: float | None
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled chunk and the compiled prediction, shared by every case of this kind.

    State is what is carried without a scale, and the scaler, of which nothing is there where nothing is scaled.
    """
    score = _prepare_scores(find_family(model).Network(model, f"mixed_{half}", path), half)

    def step(state: Any, batch: Any, limits: Any) -> Any:
        carried, scaler = state
        differentiate = _prepare_gradient(model, score, scaler)
        update = make_step(model, optimizer, differentiate, kind=kind, penalty=penalty, decay=decay)
        following, figures = update(carried, batch, limits)
        if not scaler:
            return (following, scaler), figures
        finite = figures[-2] == 0
        kept = [
            tf.where(finite, *pair) for pair in zip(tf.nest.flatten(following), tf.nest.flatten(carried), strict=True)
        ]
        return (tf.nest.pack_sequence_as(carried, kept), _change_scale(scaler, finite)), figures

    extra = len(scaling.list_extra(half))
    chunk = tf.function(make_chunk(step, "float32", extra), jit_compile=path in COMPILED, reduce_retracing=False)

    def predict(weights: Any, inputs: Any) -> Any:
        return tf.cast(score(weights, inputs), tf.float32)

    return chunk, tf.function(predict, reduce_retracing=False)


def _prepare_scores(network: Any, half: Half) -> Callable[..., Any]:
    """Return the network on weights and inputs that are cast to half precision; the scores are in what it returns."""

    def score(weights: Any, inputs: Any) -> Any:
        cast = [tf.cast(weight, DTYPES[half]) for weight in weights]
        return network(cast, tf.cast(inputs, DTYPES[half]) if inputs.dtype.is_floating else inputs)

    return score


def _prepare_gradient(model: Model, score: Callable[..., Any], scaler: tuple[Any, ...]) -> Callable[..., Any]:
    """Return what gives the loss of a batch, its gradient, no longer scaled, and what a scaled step says beside."""

    def differentiate(weights: Any, _: Any, batch: Any) -> Any:
        inputs, targets, mask = batch
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = compute_loss(model, tf.cast(score(weights, inputs), tf.float32), targets, mask)
            scaled = loss * scaler[0] if scaler else loss
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(scaled, weights)]
        if not scaler:
            return loss, gradients, None, []
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        back = tf.cast(1 / tf.cast(scaler[0], tf.float64), tf.float32)
        return loss, [gradient * back for gradient in gradients], None, [tf.where(finite, 0.0, 1.0), scaler[0]]

    return differentiate


def _change_scale(scaler: tuple[Any, ...], finite: Any) -> tuple[Any, ...]:
    """Return the scaler after a step whose gradient was finite or not."""
    scale, good, skipped = scaler
    following = tf.where(finite, good + 1, 0.0)
    is_due, grown = following >= scaling.GOOD_STEPS, scale * scaling.GROWTH
    kept = tf.where(is_due & tf.math.is_finite(grown), grown, scale)
    scale = tf.where(finite, kept, scale * scaling.BACKOFF)
    return scale, tf.where(is_due, 0.0, following), skipped + tf.where(finite, 0.0, 1.0)


def measure_precision(framework: Framework) -> str:
    """Return the precision of a model's products, from real calls forward and back; refuse what stays float32."""
    model, before = framework.model, framework.weights()

    def measure() -> tuple[set[str], list[Array], list[Array]]:
        returned: set[str] = set()
        run = _compile_probe(model, framework.path, framework.half)
        batch = [part[0] for part in framework.stack_batches([scaling.make_probe(model)])]

        def differentiate(weights: Weights) -> list[Array]:
            native = [framework.make_tensor(w) for w in framework.family.to_native(model, weights).values()]
            scores, gradients = run(native, *batch)
            returned.add(scores.dtype.name)
            return [gradient.numpy() for gradient in gradients]

        def round_values(values: Array) -> Array:
            return np.asarray(values.astype(DTYPES[framework.half].as_numpy_dtype).astype(np.float32))

        with tf.device(framework.device):
            plain = differentiate(before)
            return returned, plain, differentiate(scaling.round_kernels(before, round_values))

    return scaling.require_precision(framework, "TensorFlow", measure)


@functools.cache
def _compile_probe(model: Model, path: str, half: Half) -> Callable[..., Any]:
    """Return what gives the scores as the network returns them, and the gradient of every weight."""
    score = _prepare_scores(find_family(model).Network(model, f"mixed_{half}", path), half)

    def differentiate(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            scores = score(weights, inputs)
            loss = compute_loss(model, tf.cast(scores, tf.float32), targets, mask)
        return scores, [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]

    run: Callable[..., Any] = tf.function(differentiate, jit_compile=path in COMPILED, reduce_retracing=False)
    return run
