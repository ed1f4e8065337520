"""The recurrent network in TensorFlow: Keras' native layers; beside them loops of our own.

Those hand out the gradient of the loss with respect to every state and every pre-activation, which Keras' layers keep
to themselves. TensorFlow could differentiate through a Keras layer with respect to its inputs, but for a loop that
costs it the square of the number of steps; here it is linear.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.layouts import list_names
from farreach.frameworks.tensorflow.loss import compute_loss

LAYERS = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
ACTIVATIONS = {"tanh": tf.tanh, "relu": tf.nn.relu, "sigmoid": tf.sigmoid}

Tensors = list[Any]
"""Tensors of TensorFlow, which publishes no types."""


class Network:
    """An embedding for tokens, the native recurrent layers, a linear output on the last S steps.

    The weights are arguments, not state: one compiled program serves every case of its shape.
    """

    def __init__(self, model: Model, dtype: str, path: str) -> None:
        self.model = model
        activation = {"activation": model.activation} if model.cell == "rnn" else {"use_cudnn": path == "cudnn"}
        self.recurrent = []
        for layer in range(model.layers):
            every_step = layer < model.layers - 1 or model.scored > 1
            width = model.hidden if layer or model.tokens else model.features
            built = LAYERS[model.cell](model.hidden, return_sequences=every_step, dtype=dtype, **activation)
            built.build((None, None, width))
            self.recurrent.append(built)

    def __call__(self, weights: Tensors, inputs: Any) -> Any:
        """Map inputs [batch, time, ...] to scores [batch, S, outputs]."""
        *recurrent, kernel, bias = weights
        if self.model.tokens:
            inputs = tf.gather(recurrent.pop(0), inputs)
        states = inputs
        for layer, built in enumerate(self.recurrent):
            fixed = [variable.value for variable in built.non_trainable_variables]
            states, _ = built.stateless_call(recurrent[3 * layer : 3 * layer + 3], fixed, states)
        states = states[:, tf.newaxis] if self.model.scored == 1 else states[:, -self.model.scored :]
        return tf.matmul(states, kernel) + bias


@dataclasses.dataclass(frozen=True)
class LayerTrace:
    """What one layer's way back hands out, each [time, batch, ...].

    Attributes:
        states: h_t, and c_t for the lstm.
        d_states: the whole gradient of the loss with respect to each of them.
        d_totals: its gradient with respect to the pre-activations that come from the layer's inputs, [..., G·H].
        x: those pre-activations.
        d_inputs: its gradient with respect to the layer's inputs.
        cut: how many derivatives were cut, [time], under a bound.

    """

    states: Tensors
    d_states: Tensors
    d_totals: Any
    x: Any
    d_inputs: Any
    cut: Any


def trace_gradients(model: Model, weights: Tensors, batch: Any, bound: Any = None) -> list[LayerTrace]:
    """Run forward and back; weights in the order of `layouts.list_names`.

    The gates are as in the shared layout; under a bound, to which derivatives are cut on their way back, as in Keras.
    """
    inputs, targets, mask = batch
    *recurrent, kernel, bias = weights
    below = tf.gather(recurrent.pop(0), inputs) if model.tokens else inputs
    layers = [recurrent[3 * layer : 3 * layer + 3] for layer in range(model.layers)]
    below, runs = tf.transpose(below, [1, 0, 2]), []
    for part in layers:
        runs.append(_run_layer(model, below, part, bound))
        below = runs[-1][1][0]
    with tf.GradientTape() as tape:
        tape.watch(below)
        loss = compute_loss(model, _score_states(model, below, kernel, bias), targets, mask)
    d_above = tape.gradient(loss, below)
    traces: list[LayerTrace] = []
    for part, (x, states) in zip(reversed(layers), reversed(runs), strict=True):
        d_states, d_totals, cut = _trace_layer(model, x, states, weights=part, d_above=d_above, bound=bound)
        d_above = tf.matmul(d_totals, part[0], transpose_b=True)
        traces.insert(0, LayerTrace(states, d_states, d_totals, x, d_above, cut))
    return traces


def differentiate_cut(model: Model, weights: Tensors, batch: Any, bound: Any) -> tuple[Any, Tensors, Any]:
    """Return the loss, the gradient of every weight with derivatives cut to a bound, and the share that was cut."""
    traces = trace_gradients(model, weights, batch, bound)
    inputs, targets, mask = batch
    *recurrent, kernel, bias = weights
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(weights)
        below = tf.gather(recurrent[0], inputs) if model.tokens else inputs
        loss = compute_loss(model, _score_states(model, traces[-1].states[0], kernel, bias), targets, mask)
    d_inputs = tf.transpose(traces[0].d_inputs, [1, 0, 2])
    gradients = [tape.gradient(below, recurrent[0], output_gradients=d_inputs)] if model.tokens else []
    below = tf.transpose(below, [1, 0, 2])
    for layer, trace in enumerate(traces):
        at = 3 * layer + model.tokens
        gradients += _sum_layer(model, below, trace, weights=recurrent[at : at + 3])
        below = trace.states[0]
    count = sum(trace.x.shape.num_elements() for trace in traces)
    share = tf.add_n([tf.reduce_sum(trace.cut) for trace in traces]) / count
    return loss, [*gradients, *tape.gradient(loss, [kernel, bias])], share


def _sum_layer(model: Model, inputs: Any, trace: LayerTrace, *, weights: Tensors) -> Tensors:
    """Return the gradients of a layer's weights, the gates as in Keras, from those at every step."""
    (h, *_), d_totals = trace.states, trace.d_totals
    before = tf.concat([tf.zeros_like(h[:1]), h[:-1]], axis=0)
    d_before = d_totals
    if model.cell == "gru":  # what goes into the candidate's tanh is h U + b times the reset gate
        _, recurrent, bias = weights
        gates = slice(model.hidden, 2 * model.hidden)
        reset = tf.sigmoid(trace.x[..., gates] + tf.matmul(before, recurrent[:, gates]) + bias[1, gates])
        d_before = tf.concat([d_totals[..., : gates.stop], d_totals[..., gates.stop :] * reset], axis=-1)
    d_biases = [tf.reduce_sum(side, axis=[0, 1]) for side in (d_totals, d_before)]
    return [
        tf.tensordot(inputs, d_totals, [[0, 1], [0, 1]]),
        tf.tensordot(before, d_before, [[0, 1], [0, 1]]),
        tf.stack(d_biases) if model.cell == "gru" else d_biases[0],
    ]


def _score_states(model: Model, states: Any, kernel: Any, bias: Any) -> Any:
    return tf.matmul(tf.transpose(states[-model.scored :], [1, 0, 2]), kernel) + bias


def _run_layer(model: Model, inputs: Any, weights: Tensors, bound: Any) -> tuple[Any, Tensors]:
    """Return a layer's projected inputs [time, batch, G·H] and its states."""
    kernel, recurrent, bias = weights
    x = tf.matmul(inputs, kernel) + (bias[0] if model.cell == "gru" else bias)
    nothing = [tf.zeros([inputs.shape[1], model.hidden], x.dtype)] * (1 + (model.cell == "lstm"))

    def body(t: Any, carry: Tensors) -> Any:
        carry = _step_cell(model, x[t], carry, recurrent=recurrent, bias=_get_bias_before(model, bias), bound=bound)
        return carry, carry

    return x, _loop(tf.range(x.shape[0]), body, nothing, nothing)


def _trace_layer(
    model: Model, x: Any, states: Tensors, *, weights: Tensors, d_above: Any, bound: Any
) -> tuple[Tensors, Any, Any]:
    """Return the whole gradients with respect to a layer's states, those with respect to x, and how many were cut."""
    _, recurrent, bias = weights
    befores = [tf.concat([tf.zeros_like(state[:1]), state[:-1]], axis=0) for state in states]
    nothing = [tf.zeros_like(state[0]) for state in states]
    bounds = [] if bound is None else [bound]

    def body(t: Any, d_later: Tensors) -> Any:
        d_later = [d_later[0] + d_above[t], *d_later[1:]]
        carry, now = [before[t] for before in befores], x[t]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([now, carry, *bounds])
            before = _get_bias_before(model, bias)
            following = _step_cell(model, now, carry, recurrent=recurrent, bias=before, bound=bound)
        d_now, d_carry, cut = tape.gradient(following, [now, carry, bounds], output_gradients=d_later)
        # c reaches the loss through its own h too: c is an intermediate of the step.
        through = [tape.gradient(following[0], c, output_gradients=d_later[0]) for c in following[1:]]
        d_states = [d_later[0], *(later + own for later, own in zip(d_later[1:], through, strict=True))]
        return d_carry, [*d_states, d_now, *cut]

    kept = _loop(tf.range(x.shape[0])[::-1], body, nothing, [*nothing, x[0], *bounds])
    return kept[: len(states)], kept[len(states)], kept[-1] if bounds else None


def _step_cell(model: Model, x: Any, carry: Tensors, *, recurrent: Any, bias: Any, bound: Any) -> Tensors:
    """Return the next h, and c for the lstm, from a projected input [batch, G·H].

    The gates are as in the shared layout; under a bound, see `cut_derivative`, as in Keras.
    """

    def cut(total: Any) -> Any:
        return total if bound is None else cut_derivative(total, bound)

    before = tf.matmul(carry[0], recurrent) + bias
    if model.cell == "rnn":
        return [ACTIVATIONS[model.activation](cut(x + before))]
    if model.cell == "lstm":
        i, f, g, o = tf.split(cut(x + before), 4, axis=-1)
        c = tf.sigmoid(f) * carry[1] + tf.sigmoid(i) * tf.tanh(g)
        return [tf.sigmoid(o) * tf.tanh(c), c]
    (r, z, n), (hr, hz, hn) = (tf.split(part, 3, axis=-1) for part in (x, before))
    if bound is not None:
        r, z, hr, hz = z, r, hz, hr
    z = tf.sigmoid(cut(z + hz))
    return [(1 - z) * tf.tanh(cut(n + tf.sigmoid(cut(r + hr)) * hn)) + z * carry[0]]


@tf.custom_gradient  # type: ignore[untyped-decorator]
def cut_derivative(total: Any, bound: Any) -> Any:
    """Return what goes into a sigmoid or tanh as it is; on the way back its derivative is cut to [-bound, bound].

    What comes back for the bound is no derivative: it is the number of elements that were cut.
    """

    def cut_back(derivative: Any) -> Any:
        count = tf.reduce_sum(tf.cast(tf.abs(derivative) > bound, bound.dtype))
        return tf.clip_by_value(derivative, -bound, bound), count

    return tf.identity(total), cut_back


def _loop(steps: Any, body: Callable[..., tuple[Tensors, Tensors]], carry: Tensors, like: Tensors) -> Tensors:
    """Run `body(t, carry)`, which returns the next carry and what to keep; return that, each [time, ...]."""
    arrays = [tf.TensorArray(tensor.dtype, steps.shape[0], element_shape=tensor.shape) for tensor in like]

    def once(at: Any, carry: Tensors, arrays: Tensors) -> Any:
        carry, values = body(steps[at], carry)
        return at + 1, carry, [array.write(steps[at], value) for array, value in zip(arrays, values, strict=True)]

    _, _, arrays = tf.while_loop(lambda at, *_: at < steps.shape[0], once, (0, carry, arrays), parallel_iterations=1)
    return [array.stack() for array in arrays]


def _get_bias_before(model: Model, bias: Any) -> Any:
    """Return the bias beside h U, which the gru alone has."""
    return bias[1] if model.cell == "gru" else tf.zeros_like(bias)


def to_native(model: Model, weights: Weights) -> Weights:
    """Name and order shared weights as Keras does: the gru's gates are z r n."""
    return {
        name: _swap_gates(model, weights[name]) if name.startswith("layer") else weights[name]
        for name in list_names(model)
    }


def to_shared(model: Model, native: Weights) -> Weights:
    """Bring Keras' weights back to the shared layout."""
    return {name: _swap_gates(model, value) if name.startswith("layer") else value for name, value in native.items()}


def _swap_gates(model: Model, value: Array) -> Array:
    """Exchange the first two of the gru's three gate blocks, which is its own inverse."""
    if model.cell != "gru":
        return value
    first, second, third = np.split(value, 3, axis=-1)
    return np.concatenate([second, first, third], axis=-1)
