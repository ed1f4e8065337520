"""The gradient through time in TensorFlow: loops of its own, one step's gradient at a time.

A widened Keras layer (`frameworks.flow`) would do too, but the gradient of a loop along its inputs costs
TensorFlow the square of the number of steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from frameworks import flow
from frameworks.base import Flow, Model
from frameworks.tensorflow import Framework, Tensors, loss_of
from tasks.base import Batch

ACTIVATIONS = {"tanh": tf.tanh, "relu": tf.nn.relu, "sigmoid": tf.sigmoid}


def probe(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    model, shared = framework.model, framework.weights()
    with tf.device(framework.device):
        weights = [framework.tensor(shared[name]) for name in framework.names]
        slopes = compiled(model, path=framework.path)(weights, [part[0] for part in framework.stacked([batch])])
    h, *c = (flow.norms([part.numpy() for part in parts]) for parts in zip(*slopes, strict=True))
    return Flow(h, c[0] if c else None)


@functools.cache
def compiled(model: Model, *, path: str) -> Callable[..., Any]:
    """Return the compiled probe, which gives dL/dh_t of each layer, and dL/dc_t for the lstm: [time, batch, H].

    The path ``cudnn`` has no loop to compile: its probe runs as ``graph`` does.
    """

    def forward(inputs: Any, weights: Tensors) -> tuple[Any, Tensors]:
        kernel, recurrent, bias = weights
        x = tf.matmul(inputs, kernel) + (bias[0] if model.cell == "gru" else bias)
        nothing = [tf.zeros([inputs.shape[1], model.hidden], x.dtype)] * (1 + (model.cell == "lstm"))

        def body(t: Any, carry: Tensors) -> Any:
            carry = cell_step(model, x[t], carry, recurrent=recurrent, bias=before_bias(bias))
            return carry, carry

        return x, looped(tf.range(x.shape[0]), body, nothing, nothing)

    def before_bias(bias: Any) -> Any:
        return bias[1] if model.cell == "gru" else tf.zeros_like(bias)

    def backward(x: Any, states: Tensors, weights: Tensors, above: Any) -> tuple[Tensors, Any]:
        kernel, recurrent, bias = weights
        befores = [tf.concat([tf.zeros_like(state[:1]), state[:-1]], axis=0) for state in states]
        nothing = [tf.zeros_like(state[0]) for state in states]

        def body(t: Any, slopes: Tensors) -> Any:
            slopes = [slopes[0] + above[t], *slopes[1:]]
            carry, now = [before[t] for before in befores], x[t]
            with tf.GradientTape(persistent=True) as tape:
                tape.watch([now, carry])
                following = cell_step(model, now, carry, recurrent=recurrent, bias=before_bias(bias))
            d_now, d_carry = tape.gradient(following, [now, carry], output_gradients=slopes)
            # c reaches the loss through its own h too: the slope of h along c, as an intermediate of the step.
            through = [tape.gradient(following[0], c, output_gradients=slopes[0]) for c in following[1:]]
            whole = [slopes[0], *(slope + more for slope, more in zip(slopes[1:], through, strict=True))]
            return d_carry, [*whole, d_now]

        *whole, d_x = looped(tf.range(x.shape[0])[::-1], body, nothing, [*nothing, x[0]])
        return whole, tf.matmul(d_x, kernel, transpose_b=True)

    @tf.function(jit_compile=path == "xla", reduce_retracing=False)  # type: ignore[untyped-decorator]
    def slopes(weights: Any, batch: Any) -> Any:
        inputs, targets, mask = batch
        *recurrent, kernel, bias = weights
        below = tf.gather(recurrent.pop(0), inputs) if model.tokens else inputs
        layers = [recurrent[3 * layer : 3 * layer + 3] for layer in range(model.layers)]
        below, passed = tf.transpose(below, [1, 0, 2]), []
        for part in layers:
            passed.append(forward(below, part))
            below = passed[-1][1][0]
        with tf.GradientTape() as tape:
            tape.watch(below)
            scores = tf.matmul(tf.transpose(below[-model.scored :], [1, 0, 2]), kernel) + bias
            loss = loss_of(model, scores, targets, mask)
        above = tape.gradient(loss, below)
        found: list[Tensors] = []
        for part, (x, states) in zip(reversed(layers), reversed(passed), strict=True):
            whole, above = backward(x, states, part, above)
            found.insert(0, whole)
        return found

    return slopes  # type: ignore[no-any-return]


def cell_step(model: Model, x: Any, carry: Tensors, *, recurrent: Any, bias: Any) -> Tensors:
    """Return the next h, and c for the lstm, from a projected input [batch, G·H]; the gates as in the shared layout."""
    before = tf.matmul(carry[0], recurrent) + bias
    if model.cell == "rnn":
        return [ACTIVATIONS[model.activation](x + before)]
    if model.cell == "lstm":
        i, f, g, o = tf.split(x + before, 4, axis=-1)
        c = tf.sigmoid(f) * carry[1] + tf.sigmoid(i) * tf.tanh(g)
        return [tf.sigmoid(o) * tf.tanh(c), c]
    (r, z, n), (hr, hz, hn) = (tf.split(part, 3, axis=-1) for part in (x, before))
    z = tf.sigmoid(z + hz)
    return [(1 - z) * tf.tanh(n + tf.sigmoid(r + hr) * hn) + z * carry[0]]


def looped(steps: Any, body: Callable[..., tuple[Tensors, Tensors]], carry: Tensors, like: Tensors) -> Tensors:
    """Run `body(t, carry)`, which returns the next carry and what to keep; return what was kept, each [time, ...]."""
    kept = [tf.TensorArray(one.dtype, steps.shape[0], element_shape=one.shape) for one in like]

    def once(at: Any, carry: Tensors, kept: Tensors) -> Any:
        carry, found = body(steps[at], carry)
        return at + 1, carry, [array.write(steps[at], one) for array, one in zip(kept, found, strict=True)]

    _, _, kept = tf.while_loop(lambda at, *_: at < steps.shape[0], once, (0, carry, kept), parallel_iterations=1)
    return [array.stack() for array in kept]
