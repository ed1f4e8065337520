"""The programs of TensorFlow's paths: a chunk of training steps and a prediction, with XLA or without."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from farreach.frameworks.base import Model, Optimizer
from farreach.frameworks.tensorflow.clip import clip_gradients
from farreach.frameworks.tensorflow.loss import compute_loss
from farreach.frameworks.tensorflow.optimizers import update_weights
from farreach.frameworks.tensorflow.penalties import differentiate_omega, penalise_gradients
from farreach.frameworks.tensorflow.recurrent import Network, list_names, trace_gradients


@functools.cache
def compile_program(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, dtype: str, path: str
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled chunk and the compiled prediction, shared by every case of this kind.

    State is weights, slots and the steps done. State, threshold, learning rate and the penalty's strength
    are run-time inputs, so that a grid of thresholds, rates, strengths or seeds compiles once.
    """
    network, names = Network(model, dtype, path), list_names(model)

    def step(state: Any, batch: Any, limits: Any) -> Any:
        weights, slots, steps = state
        threshold, rate, strength = limits
        inputs, targets, mask = batch
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = compute_loss(model, network(weights, inputs), targets, mask)
        # An embedding's gradient comes as slices, in which a token that occurs twice has two rows.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]
        gradients = penalise_gradients(penalty, weights, gradients, names=names, strength=strength)
        if penalty == "omega":
            for layer, traced in enumerate(trace_gradients(model, weights, batch)):
                at, (h, *_) = names.index(f"layer{layer}.recurrent"), traced.states
                gradients[at] += strength * differentiate_omega(model.activation, h, traced.d_totals, weights[at])
        gradients, before, after, clipped = clip_gradients(kind, gradients, threshold)
        steps += 1
        weights, slots = update_weights(optimizer, weights, gradients, slots, steps=steps, learning_rate=rate)
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


def name_kernel(path: str) -> str:
    """Return whose recurrent kernel runs on a path."""
    return {"cudnn": "cuDNN", "xla": "Keras loop, XLA", "graph": "Keras loop"}[path]
