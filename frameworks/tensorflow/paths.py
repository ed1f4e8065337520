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

Differentiate = Callable[[Any, Any, Any], tuple[Any, Any, Any, list[Any]]]
"""Of weights, threshold and batch: loss, gradients, share of the derivatives that was cut or None, further figures."""

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
    network = find_family(model).Network(model, dtype, path)
    differentiate = (_prepare_cut_gradient if kind == "backprop" else prepare_gradient)(model, network)
    step = make_step(model, optimizer, differentiate, kind=kind, penalty=penalty, decay=decay)
    chunk = tf.function(make_chunk(step, dtype), jit_compile=path in COMPILED, reduce_retracing=False)
    # Prediction is rare and forward only: compiling it with XLA would cost more than it saves.
    return chunk, tf.function(network, reduce_retracing=False)


def make_step(
    model: Model,
    optimizer: Optimizer,
    differentiate: Differentiate,
    *,
    kind: str,
    penalty: str,
    decay: float | None,
) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """Return one update: of state, batch and limits the next state and the figures, [4 + extra].

    `differentiate` gives of weights, threshold and batch the loss, the gradient, the share of the derivatives that was
    cut (None: the clip says what was clipped), and a list of further figures.
    """
    family, names = find_family(model), list_names(model)

    def step(state: Any, batch: Any, limits: Any) -> Any:
        weights, slots, steps, history = state
        threshold, rate, strength, weight_decay = limits
        loss, gradients, cut, extra = differentiate(weights, threshold, batch)
        gradients = penalise_gradients(penalty, weights, gradients, names=names, strength=strength)
        if penalty in OMEGAS:
            differentiate_penalty = differentiate_omega2 if penalty == "omega2" else differentiate_omega
            for layer, traced in enumerate(trace_gradients(model, weights, batch)):
                at, (h, *_) = names.index(f"layer{layer}.recurrent"), traced.states
                gradients[at] += strength * differentiate_penalty(model.activation, h, traced.d_totals, weights[at])
        gradients, before, after, clipped, history = clip_gradients(
            kind, gradients, threshold, weights=weights, names=names, history=history
        )
        clipped = clipped if cut is None else cut
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
        return (weights, slots, steps, history), tf.stack([loss, before, after, clipped, *extra])

    return step


def make_chunk(step: Callable[[Any, Any, Any], tuple[Any, Any]], dtype: str, extra: int = 0) -> Callable[..., Any]:
    """Return `count` updates of a chunk: of state, batches, limits and count the state and the figures of each step."""

    def chunk(state: Any, batches: Any, limits: Any, count: Any) -> Any:
        threshold, rates, *others = limits

        def body(at: Any, state: Any, figures: Any) -> Any:
            now = threshold, rates[at] if rates.shape.rank else rates, *others
            state, row = step(state, tuple(part[at] for part in batches), now)
            return at + 1, state, figures.write(at, row)

        figures = tf.TensorArray(dtype, batches[0].shape[0], element_shape=[4 + extra])
        start = (tf.constant(0), state, figures)
        _, state, figures = tf.while_loop(lambda at, *_: at < count, body, start, parallel_iterations=1)
        return state, figures.stack()

    return chunk


def prepare_gradient(model: Model, network: Any) -> Differentiate:
    """Return what gives the loss of a batch and its gradient; nothing is cut on the way back."""

    def differentiate(weights: Any, _: Any, batch: Any) -> Any:
        inputs, targets, mask = batch
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = compute_loss(model, network(weights, inputs), targets, mask)
        return loss, _join_slices(tape.gradient(loss, weights)), None, []

    return differentiate


def _prepare_cut_gradient(model: Model, _: Any) -> Differentiate:
    """Return what gives loss, gradient with derivatives cut to a bound on the way back, and the share that was cut."""
    family = find_family(model)

    def differentiate_cut(weights: Any, bound: Any, batch: Any) -> Any:
        loss, gradients, cut = family.differentiate_cut(model, weights, batch, bound)
        return loss, _join_slices(gradients), cut, []

    return differentiate_cut


def _join_slices(gradients: Any) -> list[Any]:
    """Return dense gradients: an embedding's comes as slices, in which a token that occurs twice has two rows."""
    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def name_kernel(path: str, cell: str, kind: str = "norm") -> str:
    """Return whose kernel runs on a path of a cell, under a kind of clip."""
    if LAYOUTS[cell].family == "transformer":
        return {"xla": "XLA", "graph": "TensorFlow's graph"}[path]
    names = {"cudnn": "cuDNN", "xla": "Keras loop, XLA", "graph": "Keras loop"}
    names |= {"loop": "hand-written loop, XLA", "scan": "hand-written scan, XLA"}
    return names[path].replace("Keras", "hand-written") if kind == "backprop" else names[path]
