"""The programs of JAX's paths: a jitted chunk of training steps and a prediction."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from farreach.frameworks.base import Model, Optimizer
from farreach.frameworks.jax.clip import clip_gradients
from farreach.frameworks.jax.loss import compute_loss
from farreach.frameworks.jax.optimizers import update_weights
from farreach.frameworks.jax.penalties import differentiate_omega, penalise_gradients
from farreach.frameworks.jax.recurrent import Network


@functools.cache
def compile_program(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, path: str
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled chunk and the compiled prediction, shared by every case of this kind.

    State is weights, slots and the steps done. State, threshold, learning rate and the penalty's strength
    are run-time inputs, so that a grid of thresholds, rates, strengths or seeds compiles once.
    """
    network = Network(model, path)

    @jax.value_and_grad
    def differentiate(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        return compute_loss(model, network(weights, inputs), targets, mask)

    def compute_omega_gradients(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        """Return Omega's gradient with respect to every recurrent kernel, from the same loops, as XLA sees."""

        def run(by: Any) -> Any:
            scores, states = network.run_shifted(weights, by, inputs)
            return compute_loss(model, scores, targets, mask), states

        nothing = jnp.zeros((*inputs.shape[:2], model.hidden), weights["output.kernel"].dtype)
        d_totals, states = jax.grad(run, has_aux=True)([nothing] * model.layers)
        names = [f"layer{layer}.recurrent" for layer in range(model.layers)]
        layers = zip(names, states, d_totals, strict=True)
        return {name: differentiate_omega(model.activation, h, d, weights[name]) for name, h, d in layers}

    def step(state: Any, batch: Any, limits: Any) -> Any:
        weights, slots, steps = state
        threshold, rate, strength = limits
        inputs, targets, mask = batch
        loss, gradients = differentiate(weights, inputs, targets, mask)
        if penalty == "omega":
            added = compute_omega_gradients(weights, inputs, targets, mask)
            gradients = gradients | {name: gradients[name] + strength * addition for name, addition in added.items()}
        gradients = penalise_gradients(penalty, weights, gradients, names=list(weights), strength=strength)
        gradients, before, after, clipped = clip_gradients(kind, gradients, threshold)
        steps += 1
        weights, slots = update_weights(optimizer, weights, gradients, slots, steps=steps, learning_rate=rate)
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


def name_kernel(path: str) -> str:
    """Return whose recurrent kernel runs on a path."""
    return {"scan": "lax.scan", "cudnn": "cuDNN"}[path]
