"""The gradient through time in TensorFlow.

Of its native layers by loops of its own, one step's gradient at a time. The other families add zeros to their states,
whose gradients those of the states are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from farreach.frameworks.base import Flow, Model
from farreach.frameworks.gradient_flow import compute_norms, make_flow
from farreach.frameworks.layouts import LAYOUTS, list_shift_widths
from farreach.frameworks.tensorflow import Framework
from farreach.frameworks.tensorflow.loss import compute_loss
from farreach.frameworks.tensorflow.networks import find_family
from farreach.frameworks.tensorflow.paths import COMPILED
from farreach.frameworks.tensorflow.recurrent import trace_gradients
from farreach.tasks.base import Batch


def measure_flow(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    model, shared = framework.model, framework.weights()
    if LAYOUTS[model.cell].family != "recurrent":
        return make_flow([part.numpy() for part in differentiate_shifts(framework, batch)])
    with tf.device(framework.device):
        weights = [framework.make_tensor(shared[name]) for name in framework.names]
        stacks = [part[0] for part in framework.stack_batches([batch])]
        gradients, d_inputs = _compile_probe(model, path=framework.path)(weights, stacks)
    h, *c = (compute_norms([part.numpy() for part in parts]) for parts in zip(*gradients, strict=True))
    return Flow(h, c[0] if c else None, compute_norms([d_inputs.numpy()])[0])


def differentiate_shifts(framework: Framework, batch: Batch) -> list[Any]:
    """Return dL/dx_t of the first layer's inputs, then dL/dh_t of every layer, [time, batch, width]."""
    with tf.device(framework.device):
        stacks = [part[0] for part in framework.stack_batches([batch])]
        gradients: list[Any] = _compile_shifted(framework.model, framework.dtype, framework.path)(
            framework.carried[0], stacks
        )
    return gradients


@functools.cache
def _compile_shifted(model: Model, dtype: str, path: str) -> Callable[..., Any]:
    """Return the compiled gradient with respect to the shifts of a network."""
    network = find_family(model).Network(model, dtype, path)

    @tf.function(jit_compile=path in COMPILED, reduce_retracing=False)  # type: ignore[untyped-decorator]
    def differentiate(weights: Any, batch: Any) -> Any:
        inputs, targets, mask = batch
        steps = inputs.shape[1], inputs.shape[0]
        shifts = [tf.zeros([*steps, width], dtype) for width in list_shift_widths(model)]
        with tf.GradientTape() as tape:
            tape.watch(shifts)
            loss = compute_loss(model, network.run_shifted(weights, shifts, inputs), targets, mask)
        return tape.gradient(loss, shifts)

    return differentiate  # type: ignore[no-any-return]


@functools.cache
def _compile_probe(model: Model, *, path: str) -> Callable[..., Any]:
    """Return the compiled probe: dL/dh_t of each layer, and dL/dc_t for the lstm, [time, batch, H]; and dL/dx_t.

    The path ``cudnn`` has no loop to compile: its probe runs as ``graph`` does.
    """

    @tf.function(jit_compile=path == "xla", reduce_retracing=False)  # type: ignore[untyped-decorator]
    def differentiate(weights: Any, batch: Any) -> Any:
        traces = trace_gradients(model, weights, batch)
        return [layer.d_states for layer in traces], traces[0].d_inputs

    return differentiate  # type: ignore[no-any-return]
