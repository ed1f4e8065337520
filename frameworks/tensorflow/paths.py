"""The programs of TensorFlow's paths: a chunk of training steps and a prediction, with XLA or without."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from farreach.frameworks.base import OMEGAS, Model, Optimizer
from farreach.frameworks.layouts import LAYOUTS, list_names
from farreach.frameworks.tensorflow.clip import clip_gradients
from farreach.frameworks.tensorflow.loss import compute_loss
from farreach.frameworks.tensorflow.networks import find_family
from farreach.frameworks.tensorflow.optimizers import update_weights
from farreach.frameworks.tensorflow.penalties import differentiate_omega, differentiate_omega2, penalise_gradients
from farreach.frameworks.tensorflow.recurrent import trace_gradients

COMPILED = ("xla", "loop", "scan")
"""The paths whose training step is compiled by XLA."""


@functools.cache
def compile_program(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, dtype: str, path: str, decay: float | None
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled chunk and the compiled prediction, shared by every case of this kind.

    State is weights, slots, the steps done and the history of ``autoclip``. State, threshold, learning rate, the
    penalty's strength and the weight decay are run-time inputs, so that a grid of any of them or of seeds compiles
    once; a learning rate for each step is another one.
    """
    family, names = find_family(model), list_names(model)
    network = family.Network(model, dtype, path)

    def step(state: Any, batch: Any, limits: Any) -> Any:
        weights, slots, steps, history = state
        threshold, rate, strength, weight_decay = limits
        inputs, targets, mask = batch
        if kind == "backprop":
            loss, gradients, cut = family.differentiate_cut(model, weights, batch, threshold)
        else:
            with tf.GradientTape() as tape:
                tape.watch(weights)
                loss = compute_loss(model, network(weights, inputs), targets, mask)
            gradients = tape.gradient(loss, weights)
        # An embedding's gradient comes as slices, in which a token that occurs twice has two rows.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        gradients = penalise_gradients(penalty, weights, gradients, names=names, strength=strength)
        if penalty in OMEGAS:
            differentiate = differentiate_omega2 if penalty == "omega2" else differentiate_omega
            for layer, traced in enumerate(trace_gradients(model, weights, batch)):
                at, (h, *_) = names.index(f"layer{layer}.recurrent"), traced.states
                gradients[at] += strength * differentiate(model.activation, h, traced.d_totals, weights[at])
        gradients, before, after, clipped, history = clip_gradients(
            kind, gradients, threshold, weights=weights, names=names, history=history
        )
        clipped = cut if kind == "backprop" else clipped
        steps += 1
        weights, slots = update_weights(
            optimizer,
            weights,
            gradients,
            slots,
            steps=steps,
            learning_rate=rate,
            decay=decay,
            weight_decay=weight_decay,
        )
        if LAYOUTS[model.cell].is_projected:
            weights = family.project_weights(model, weights)
        return (weights, slots, steps, history), tf.stack([loss, before, after, clipped])

    @tf.function(jit_compile=path in COMPILED, reduce_retracing=False)  # type: ignore[untyped-decorator]
    def chunk(state: Any, batches: Any, limits: Any, count: Any) -> Any:
        inputs, targets, mask = batches
        threshold, rates, *others = limits

        def body(at: Any, state: Any, figures: Any) -> Any:
            now = threshold, rates[at] if rates.shape.rank else rates, *others
            state, row = step(state, (inputs[at], targets[at], mask[at]), now)
            return at + 1, state, figures.write(at, row)

        figures = tf.TensorArray(dtype, inputs.shape[0], element_shape=[4])
        start = (tf.constant(0), state, figures)
        _, state, figures = tf.while_loop(lambda at, *_: at < count, body, start, parallel_iterations=1)
        return state, figures.stack()

    # Prediction is rare and forward only: compiling it with XLA would cost more than it saves.
    return chunk, tf.function(network, reduce_retracing=False)


def name_kernel(path: str, cell: str, kind: str = "norm") -> str:
    """Return whose kernel runs on a path of a cell, under a kind of clip."""
    if LAYOUTS[cell].family == "transformer":
        return {"xla": "XLA", "graph": "TensorFlow's graph"}[path]
    names = {"cudnn": "cuDNN", "xla": "Keras loop, XLA", "graph": "Keras loop"}
    names |= {"loop": "hand-written loop, XLA", "scan": "hand-written scan, XLA"}
    return names[path].replace("Keras", "hand-written") if kind == "backprop" else names[path]
