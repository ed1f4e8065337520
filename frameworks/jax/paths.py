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


@functools.cache
def compile_program(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, path: str, decay: float | None
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled chunk and the compiled prediction, shared by every case of this kind.

    State is weights, slots, the steps done and the history of ``autoclip``. State, threshold, learning rate, the
    penalty's strength and the weight decay are run-time inputs, so that a grid of any of them or of seeds compiles
    once; a learning rate for each step is another one.
    """
    family = find_family(model)
    network = family.Network(model, path)

    differentiate = (_prepare_cut_gradient if kind == "backprop" else _prepare_gradient)(model, network)

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
        inputs, targets, mask = batch
        loss, gradients, cut = differentiate(weights, threshold, batch)
        if penalty in OMEGAS:
            added = compute_omega_gradients(weights, inputs, targets, mask)
            gradients = gradients | {name: gradients[name] + strength * addition for name, addition in added.items()}
        gradients = penalise_gradients(penalty, weights, gradients, names=list(weights), strength=strength)
        gradients, before, after, clipped, history = clip_gradients(
            kind, gradients, threshold, weights=weights, names=list(weights), history=history
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
        return (weights, slots, steps, history), jnp.stack([loss, before, after, clipped])

    @functools.partial(jax.jit, donate_argnums=0)
    def chunk(state: Any, batches: Any, limits: Any, count: Any) -> Any:
        def body(at: Any, carry: Any) -> Any:
            state, figures = carry
            threshold, rates, *others = limits
            now = threshold, rates[at] if rates.ndim else rates, *others
            state, row = step(state, tuple(part[at] for part in batches), now)
            return state, figures.at[at].set(row)

        mask = batches[-1]
        return lax.fori_loop(0, count, body, (state, jnp.zeros((len(mask), 4), mask.dtype)))

    return chunk, jax.jit(network)


def _prepare_gradient(model: Model, network: Any) -> Callable[..., Any]:
    """Return what gives the loss of a batch and its gradient; nothing is cut on the way back."""

    @jax.value_and_grad
    def differentiate(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        return compute_loss(model, network(weights, inputs), targets, mask)

    return lambda weights, _, batch: (*differentiate(weights, *batch), 0.0)


def _prepare_cut_gradient(model: Model, network: Any) -> Callable[..., Any]:
    """Return what gives loss, gradient with derivatives cut to a bound on the way back, and the share that was cut."""

    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def differentiate(weights: Any, bound: Any, batch: Any) -> Any:
        inputs, targets, mask = batch
        return compute_loss(model, network.run_shifted(weights, None, inputs, bound)[0], targets, mask)

    def differentiate_cut(weights: Any, bound: Any, batch: Any) -> Any:
        loss, (gradients, cut) = differentiate(weights, bound, batch)
        steps, rows = batch[0].shape[:2]
        return loss, gradients, cut / (model.layers * steps * rows * LAYOUTS[model.cell].cuts * model.hidden)

    return differentiate_cut


def name_kernel(path: str, cell: str) -> str:
    """Return whose kernel runs on a path of a cell."""
    if LAYOUTS[cell].family == "transformer":
        return "XLA"
    if LAYOUTS[cell].family in {"recurrent", "attention"}:
        return {"scan": "lax.scan", "cudnn": "cuDNN"}[path]
    return {"loop": "lax.scan", "scan": "lax.associative_scan"}[path]
