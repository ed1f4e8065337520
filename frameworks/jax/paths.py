"""The programs of JAX's paths: a jitted chunk of training steps and a prediction."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from farreach.frameworks.base import OMEGAS, Model, Optimizer
from farreach.frameworks.jax.clip import clip_gradients
from farreach.frameworks.jax.loss import compute_loss
from farreach.frameworks.jax.networks import find_family
from farreach.frameworks.jax.optimizers import update_weights
from farreach.frameworks.jax.penalties import differentiate_omega, differentiate_omega2, penalise_gradients
from farreach.frameworks.layouts import LAYOUTS

Differentiate = Callable[[Any, Any, Any], tuple[Any, Any, Any, list[Any]]]
"""Of weights, threshold and batch: loss, gradient, share of the derivatives that was cut or None, further figures."""


@functools.cache
def compile_program(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, path: str, decay: float | None
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled chunk and the compiled prediction, shared by every case of this kind.

    State is weights, slots, the steps done and the history of ``autoclip``. State, threshold, learning rate, the
    penalty's strength and the weight decay are run-time inputs, so that a grid of any of them or of seeds compiles
    once; a learning rate for each step is another one.
    """
    network = find_family(model).Network(model, path)
    differentiate = (_prepare_cut_gradient if kind == "backprop" else prepare_gradient)(model, network)
    step = make_step(model, network, optimizer, differentiate, kind=kind, penalty=penalty, decay=decay)
    return jax.jit(make_chunk(step), donate_argnums=0), jax.jit(network)


def make_step(
    model: Model,
    network: Any,
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
    family = find_family(model)

    def compute_omega_gradients(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        """Return the gradient of an Omega with respect to every recurrent kernel, from the same loops, as XLA sees."""

        def run(by: Any) -> Any:
            scores, states = network.run_shifted(weights, by, inputs)
            return compute_loss(model, scores, targets, mask), states

        nothing = jnp.zeros((*inputs.shape[:2], model.hidden), weights["output.kernel"].dtype)
        d_totals, states = jax.grad(run, has_aux=True)([nothing] * model.layers)
        names = [f"layer{layer}.recurrent" for layer in range(model.layers)]
        layers = zip(names, states, d_totals, strict=True)
        differentiate_penalty = differentiate_omega2 if penalty == "omega2" else differentiate_omega
        return {name: differentiate_penalty(model.activation, h, d, weights[name]) for name, h, d in layers}

    def step(state: Any, batch: Any, limits: Any) -> Any:
        weights, slots, steps, history = state
        threshold, rate, strength, weight_decay = limits
        loss, gradients, cut, extra = differentiate(weights, threshold, batch)
        if penalty in OMEGAS:
            added = compute_omega_gradients(weights, *batch)
            gradients = gradients | {name: gradients[name] + strength * addition for name, addition in added.items()}
        gradients = penalise_gradients(penalty, weights, gradients, names=list(weights), strength=strength)
        gradients, before, after, clipped, history = clip_gradients(
            kind, gradients, threshold, weights=weights, names=list(weights), history=history
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
        return (weights, slots, steps, history), jnp.stack([loss, before, after, clipped, *extra])

    return step


def make_chunk(step: Callable[[Any, Any, Any], tuple[Any, Any]], extra: int = 0) -> Callable[..., Any]:
    """Return `count` updates of a chunk: of state, batches, limits and count the state and the figures of each step."""

    def chunk(state: Any, batches: Any, limits: Any, count: Any) -> Any:
        def body(at: Any, carry: Any) -> Any:
            state, figures = carry
            threshold, rates, *others = limits
            now = threshold, rates[at] if rates.ndim else rates, *others
            state, row = step(state, tuple(part[at] for part in batches), now)
            return state, figures.at[at].set(row)

        mask = batches[2]
        return lax.fori_loop(0, count, body, (state, jnp.zeros((len(mask), 4 + extra), mask.dtype)))

    return chunk


def prepare_gradient(model: Model, network: Any) -> Differentiate:
    """Return what gives the loss of a batch and its gradient; nothing is cut on the way back."""

    @jax.value_and_grad
    def differentiate(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        return compute_loss(model, network(weights, inputs), targets, mask)

    return lambda weights, _, batch: (*differentiate(weights, *batch), None, [])


def _prepare_cut_gradient(model: Model, network: Any) -> Differentiate:
    """Return what gives loss, gradient with derivatives cut to a bound on the way back, and the share that was cut."""

    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def differentiate(weights: Any, bound: Any, batch: Any) -> Any:
        inputs, targets, mask = batch
        return compute_loss(model, network.run_shifted(weights, None, inputs, bound)[0], targets, mask)

    def differentiate_cut(weights: Any, bound: Any, batch: Any) -> Any:
        loss, (gradients, cut) = differentiate(weights, bound, batch)
        steps, rows = batch[0].shape[:2]
        share = cut / (model.layers * steps * rows * LAYOUTS[model.cell].cuts * model.hidden)
        return loss, gradients, share, []

    return differentiate_cut


def name_kernel(path: str, cell: str) -> str:
    """Return whose kernel runs on a path of a cell."""
    if LAYOUTS[cell].family == "transformer":
        return "XLA"
    if LAYOUTS[cell].family in {"recurrent", "attention"}:
        return {"scan": "lax.scan", "cudnn": "cuDNN"}[path]
    return {"loop": "lax.scan", "scan": "lax.associative_scan"}[path]
