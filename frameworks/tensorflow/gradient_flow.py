"""The gradient through time in TensorFlow: loops of its own, one step's gradient at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from farreach.frameworks import gradient_flow
from farreach.frameworks.base import Flow, Model
from farreach.frameworks.tensorflow import Framework, loss_of
from farreach.frameworks.tensorflow.loops import follow
from farreach.tasks.base import Batch


def probe(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    model, shared = framework.model, framework.weights()
    with tf.device(framework.device):
        weights = [framework.tensor(shared[name]) for name in framework.names]
        slopes = compiled(model, path=framework.path)(weights, [part[0] for part in framework.stacked([batch])])
    h, *c = (gradient_flow.norms([part.numpy() for part in parts]) for parts in zip(*slopes, strict=True))
    return Flow(h, c[0] if c else None)


@functools.cache
def compiled(model: Model, *, path: str) -> Callable[..., Any]:
    """Return the compiled probe, which gives dL/dh_t of each layer, and dL/dc_t for the lstm: [time, batch, H].

    The path ``cudnn`` has no loop to compile: its probe runs as ``graph`` does.
    """

    @tf.function(jit_compile=path == "xla", reduce_retracing=False)  # type: ignore[untyped-decorator]
    def slopes(weights: Any, batch: Any) -> Any:
        return [layer.whole for layer in follow(model, loss_of, weights, batch)]

    return slopes  # type: ignore[no-any-return]
