"""Recurrent layers in TensorFlow as loops of our own, whose gradient is followed one step at a time.

They hand out the slope of the loss along every state and every pre-activation, which Keras' layers keep to
themselves. TensorFlow could differentiate through a Keras layer along its inputs, but for a loop that costs
it the square of the number of steps; here it is linear.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from farreach.frameworks.base import Model

ACTIVATIONS = {"tanh": tf.tanh, "relu": tf.nn.relu, "sigmoid": tf.sigmoid}

Tensors = list[Any]
"""Tensors of one framework, which publishes no types."""

Loss = Callable[[Model, Any, Any, Any], Any]
"""Maps a model, scores, targets and mask to the loss."""


@dataclasses.dataclass(frozen=True)
class Followed:
    """What one layer's way back hands out, each [time, batch, ...].

    Attributes:
        states: h_t, and c_t for the lstm.
        whole: the whole slope of the loss along each of them.
        totals: the slope along the pre-activations that come from the layer's inputs, [time, batch, G·H].

    """

    states: Tensors
    whole: Tensors
    totals: Any


def follow(model: Model, loss_of: Loss, weights: Tensors, batch: Any) -> list[Followed]:
    """Run forward and back; weights in the order of `names_of`, gates as in the shared layout."""
    inputs, targets, mask = batch
    *recurrent, kernel, bias = weights
    below = tf.gather(recurrent.pop(0), inputs) if model.tokens else inputs
    layers = [recurrent[3 * layer : 3 * layer + 3] for layer in range(model.layers)]
    below, passed = tf.transpose(below, [1, 0, 2]), []
    for part in layers:
        passed.append(forward(model, below, part))
        below = passed[-1][1][0]
    with tf.GradientTape() as tape:
        tape.watch(below)
        scores = tf.matmul(tf.transpose(below[-model.scored :], [1, 0, 2]), kernel) + bias
        loss = loss_of(model, scores, targets, mask)
    above = tape.gradient(loss, below)
    found: list[Followed] = []
    for part, (x, states) in zip(reversed(layers), reversed(passed), strict=True):
        whole, totals = backward(model, x, states, weights=part, above=above)
        above = tf.matmul(totals, part[0], transpose_b=True)
        found.insert(0, Followed(states, whole, totals))
    return found


def forward(model: Model, inputs: Any, weights: Tensors) -> tuple[Any, Tensors]:
    """Return a layer's projected inputs [time, batch, G·H] and its states."""
    kernel, recurrent, bias = weights
    x = tf.matmul(inputs, kernel) + (bias[0] if model.cell == "gru" else bias)
    nothing = [tf.zeros([inputs.shape[1], model.hidden], x.dtype)] * (1 + (model.cell == "lstm"))

    def body(t: Any, carry: Tensors) -> Any:
        carry = cell_step(model, x[t], carry, recurrent=recurrent, bias=_before(model, bias))
        return carry, carry

    return x, looped(tf.range(x.shape[0]), body, nothing, nothing)


def backward(model: Model, x: Any, states: Tensors, *, weights: Tensors, above: Any) -> tuple[Tensors, Any]:
    """Return the whole slopes along a layer's states, and those along its projected inputs."""
    _, recurrent, bias = weights
    befores = [tf.concat([tf.zeros_like(state[:1]), state[:-1]], axis=0) for state in states]
    nothing = [tf.zeros_like(state[0]) for state in states]

    def body(t: Any, slopes: Tensors) -> Any:
        slopes = [slopes[0] + above[t], *slopes[1:]]
        carry, now = [before[t] for before in befores], x[t]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([now, carry])
            following = cell_step(model, now, carry, recurrent=recurrent, bias=_before(model, bias))
        d_now, d_carry = tape.gradient(following, [now, carry], output_gradients=slopes)
        # c reaches the loss through its own h too: the slope of h along c, as an intermediate of the step.
        through = [tape.gradient(following[0], c, output_gradients=slopes[0]) for c in following[1:]]
        whole = [slopes[0], *(slope + more for slope, more in zip(slopes[1:], through, strict=True))]
        return d_carry, [*whole, d_now]

    *whole, totals = looped(tf.range(x.shape[0])[::-1], body, nothing, [*nothing, x[0]])
    return whole, totals


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


def _before(model: Model, bias: Any) -> Any:
    """Return the bias beside h U, which the gru alone has."""
    return bias[1] if model.cell == "gru" else tf.zeros_like(bias)
