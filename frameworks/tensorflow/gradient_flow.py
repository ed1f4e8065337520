"""The gradient through time in TensorFlow: loops of its own, one step's gradient at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from farreach.frameworks.base import Flow, Model
from farreach.frameworks.gradient_flow import compute_norms
from farreach.frameworks.tensorflow import Framework
from farreach.frameworks.tensorflow.recurrent import trace_gradients
from farreach.tasks.base import Batch


def measure_flow(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    model, shared = framework.model, framework.weights()
    with tf.device(framework.device):
        weights = [framework.make_tensor(shared[name]) for name in framework.names]
        stacks = [part[0] for part in framework.stack_batches([batch])]
        gradients = _compile_probe(model, path=framework.path)(weights, stacks)
    h, *c = (compute_norms([part.numpy() for part in parts]) for parts in zip(*gradients, strict=True))
    return Flow(h, c[0] if c else None)


@functools.cache
def _compile_probe(model: Model, *, path: str) -> Callable[..., Any]:
    """Return the compiled probe, which gives dL/dh_t of each layer, and dL/dc_t for the lstm: [time, batch, H].

    The path ``cudnn`` has no loop to compile: its probe runs as ``graph`` does.
    """

    @tf.function(jit_compile=path == "xla", reduce_retracing=False)  # type: ignore[untyped-decorator]
    def differentiate(weights: Any, batch: Any) -> Any:
        return [layer.d_states for layer in trace_gradients(model, weights, batch)]

    return differentiate  # type: ignore[no-any-return]
