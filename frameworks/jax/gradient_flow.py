"""The gradient through time in JAX.

Its scanned layers are widened (`farreach.frameworks.gradient_flow`). The other families add zeros to their states,
whose gradients those of the states are.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from farreach.frameworks.base import Flow, Model
from farreach.frameworks.gradient_flow import WideRun, compute_flow, count_columns, make_flow, widen_weights
from farreach.frameworks.jax import Framework
from farreach.frameworks.jax.loss import compute_loss
from farreach.frameworks.jax.networks import find_family
from farreach.frameworks.jax.recurrent import Network, to_native
from farreach.frameworks.layouts import LAYOUTS, list_shift_widths
from farreach.tasks.base import Batch


def measure_flow(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    model, shared = framework.model, framework.weights()
    if LAYOUTS[model.cell].family != "recurrent":
        return make_flow([np.asarray(part) for part in differentiate_shifts(framework, batch)])
    wide = to_native(model, widen_weights(model, shared))
    stacks = [part[0] for part in framework.stack_batches([batch])]
    runs = _compile_probe(model)({name: framework.make_tensor(value) for name, value in wide.items()}, stacks)
    first, *above = [WideRun(*(np.asarray(part) for part in run)) for run in runs]
    d_inputs = np.asarray(_compile_inputs(model)(framework.carried[0], stacks))
    return compute_flow(model, shared, [dataclasses.replace(first, d_inputs=d_inputs), *above])


def differentiate_shifts(framework: Framework, batch: Batch) -> list[jax.Array]:
    """Return dL/dx_t of the first layer's inputs, then dL/dh_t of every layer, [time, batch, width]."""
    stacks = [part[0] for part in framework.stack_batches([batch])]
    gradients: list[jax.Array] = _compile_shifted(framework.model, framework.path)(framework.carried[0], stacks)
    return gradients


@functools.cache
def _compile_shifted(model: Model, path: str) -> Callable[..., Any]:
    """Return the compiled gradient with respect to the shifts of a network."""
    network = find_family(model).Network(model, path)

    def run(shifts: Any, weights: Any, batch: Any) -> Any:
        inputs, targets, mask = batch
        return compute_loss(model, network.run_shifted(weights, shifts, inputs)[0], targets, mask)

    @jax.jit
    def differentiate(weights: Any, batch: Any) -> Any:
        size, dtype = batch[0].shape[:2], weights["output.kernel"].dtype
        return jax.grad(run)([jnp.zeros((*size, width), dtype) for width in list_shift_widths(model)], weights, batch)

    return differentiate


@functools.cache
def _compile_inputs(model: Model) -> Callable[..., Any]:
    """Return the compiled gradient with respect to the inputs of the first scanned layer, [time, batch, width].

    It is a program of its own: in that of the states it would have XLA round them otherwise.
    """
    network = Network(model)

    def run(below: Any, weights: Any, batch: Any) -> Any:
        _, targets, mask = batch
        for layer in range(model.layers):
            parts = (weights[f"layer{layer}.{part}"] for part in ("input", "recurrent", "bias"))
            below = network.scan_layer(below, *parts, every_step=True)
        scores = below[-model.scored :] @ weights["output.kernel"] + weights["output.bias"]
        return compute_loss(model, scores, targets, mask)

    @jax.jit
    def differentiate(weights: Any, batch: Any) -> Any:
        inputs, *_ = batch
        below = jnp.take(weights["embedding"], inputs, axis=0) if model.tokens else inputs
        return jax.grad(run)(below, weights, batch)

    return differentiate


@functools.cache
def _compile_probe(model: Model) -> Callable[..., Any]:
    """Return the compiled run of the widened layers, which gives for each what `WideRun` holds."""
    network, layers = Network(model), range(model.layers)

    def run(shifts: Any, wide: Any, batch: Any) -> Any:
        """Return the loss, where each layer has its zero columns and an addition to its states, and what they are."""
        inputs, targets, mask = batch
        below = jnp.take(wide["embedding"], inputs, axis=0) if model.tokens else inputs
        runs = []
        for layer, (zeros, addition) in zip(layers, shifts, strict=True):
            parts = (wide[f"layer{layer}.{part}"] for part in ("input", "recurrent", "bias"))
            states = network.scan_layer(jnp.concatenate([below, zeros], axis=-1), *parts, every_step=True) + addition
            runs.append((below, states))
            below = states
        scores = below[-model.scored :] @ wide["output.kernel"] + wide["output.bias"]
        return compute_loss(model, scores, targets, mask), runs

    @jax.jit
    def differentiate(wide: Any, batch: Any) -> Any:
        inputs, *_ = batch
        dtype = wide["output.kernel"].dtype
        widths = (count_columns(model), model.hidden)
        shifts = [tuple(jnp.zeros((*inputs.shape[:2], width), dtype) for width in widths) for _ in layers]
        gradients, runs = jax.grad(run, has_aux=True)(shifts, wide, batch)
        return [(x, h, above, columns) for (x, h), (columns, above) in zip(runs, gradients, strict=True)]

    return differentiate
