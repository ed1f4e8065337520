"""The recurrent network in NumPy: the cells, one step forward and one step back, the layers and their gradients.

Everything is written out from the equations: slow, plain, float64. Arrays are time-major, [time, batch, ...]; the
shapes are those of `farreach.frameworks.layouts`, whose layout is used as it is. A name that starts with ``d_`` is the
gradient of the loss with respect to what follows: ``d_states[t]`` is dL/dh_t.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from farreach.frameworks.base import Activation, Array, Model, Weights
from farreach.frameworks.layouts import count_gates
from farreach.frameworks.reference.loss import compute_loss
from farreach.tasks.base import Batch

Carry = tuple[Array, ...]
"""What a cell hands to its next step, each [batch, H]: the state h, and the lstm's cell state c."""


class DerivativeClip:
    """Cut derivatives to [-bound, bound], element by element, on their way back; count them.

    Attributes:
        bound: above 0; infinite where nothing is cut.
        changed: how many were cut so far.
        seen: of how many.

    """

    def __init__(self, bound: float = np.inf) -> None:
        self.bound, self.changed, self.seen = bound, 0, 0

    def __call__(self, d_total: Array) -> Array:
        """Return the derivative of the loss with respect to what goes into a sigmoid or tanh, cut."""
        if np.isinf(self.bound):
            return d_total
        self.changed += int((np.abs(d_total) > self.bound).sum())
        self.seen += d_total.size
        return d_total.clip(-self.bound, self.bound)


class Step(Protocol):
    """One step of a cell, from the two sides of its pre-activation, each [batch, G·H].

    ``below`` comes from the layer's input, x W + b; ``before`` from the last state, h U (gru: h U + b_1).
    """

    carries: int

    def forward(self, below: Array, before: Array, carry: Carry) -> tuple[Carry, Carry]:
        """Return the next carry, and the cache: what `backward` needs of this step."""
        ...

    def sum_gradients(self, cache: Carry, d_carry: Carry) -> Carry:
        """Return the whole gradient with respect to this step's carry, from what reaches it from outside the step."""
        ...

    def backward(self, cache: Carry, d_carry: Carry, cut: DerivativeClip) -> tuple[Array, Array, Carry]:
        """Return d_below, d_before, and the gradient with respect to the last carry that bypasses ``before``.

        ``d_carry`` is what `sum_gradients` returned; every derivative with respect to what goes into a sigmoid or tanh
        is `cut`.
        """
        ...


class Rnn:
    """h' = f(below + before)."""

    carries = 1

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    def forward(self, below: Array, before: Array, carry: Carry) -> tuple[Carry, Carry]:
        """Step on, see `Step.forward`."""
        del carry
        total = below + before
        if self.activation == "relu":
            h = np.maximum(total, 0)
        else:
            h = np.tanh(total) if self.activation == "tanh" else sigmoid(total)
        return (h,), (h,)

    def sum_gradients(self, cache: Carry, d_carry: Carry) -> Carry:
        """Return the gradient as it is, see `Step.sum_gradients`."""
        del cache
        return d_carry

    def backward(self, cache: Carry, d_carry: Carry, cut: DerivativeClip) -> tuple[Array, Array, Carry]:
        """Step back, see `Step.backward`."""
        (h,), (d_h,) = cache, d_carry
        d_total = cut(d_h * differentiate_activation(self.activation, h))
        return d_total, d_total, (np.zeros_like(h),)


class Lstm:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    i, f, o = sigmoid, g = tanh of below + before; c' = f c + i g; h' = o tanh(c').
    """

    carries = 2

    def forward(self, below: Array, before: Array, carry: Carry) -> tuple[Carry, Carry]:
        """Step on, see `Step.forward`."""
        _, c = carry
        i, f, g, o = np.split(below + before, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c_next = f * c + i * g
        tanh_c = np.tanh(c_next)
        return (o * tanh_c, c_next), (i, f, g, o, c, tanh_c)

    def sum_gradients(self, cache: Carry, d_carry: Carry) -> Carry:
        """Add what reaches c through this step's own h, see `Step.sum_gradients`."""
        _, _, _, o, _, tanh_c = cache
        d_h, d_c = d_carry
        return d_h, d_c + d_h * o * (1 - tanh_c * tanh_c)

    def backward(self, cache: Carry, d_carry: Carry, cut: DerivativeClip) -> tuple[Array, Array, Carry]:
        """Step back, see `Step.backward`."""
        i, f, g, o, c, tanh_c = cache
        d_h, d_c = d_carry
        d_i, d_f, d_g, d_o = d_c * g, d_c * c, d_c * i, d_h * tanh_c
        d_gates = d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g * g), d_o * o * (1 - o)
        d_total = cut(np.concatenate(d_gates, axis=-1))
        return d_total, d_total, (np.zeros_like(d_h), d_c * f)


class Gru:
    """Gated recurrent unit (Cho et al. 2014), the reset gate after the product.

    r, z = sigmoid of below + before; n = tanh(below + r before); h' = (1 - z) n + z h.
    """

    carries = 1

    def forward(self, below: Array, before: Array, carry: Carry) -> tuple[Carry, Carry]:
        """Step on, see `Step.forward`."""
        (h,) = carry
        below_r, below_z, below_n = np.split(below, 3, axis=-1)
        before_r, before_z, before_n = np.split(before, 3, axis=-1)
        r, z = sigmoid(below_r + before_r), sigmoid(below_z + before_z)
        n = np.tanh(below_n + r * before_n)
        return ((1 - z) * n + z * h,), (r, z, n, h, before_n)

    def sum_gradients(self, cache: Carry, d_carry: Carry) -> Carry:
        """Return the gradient as it is, see `Step.sum_gradients`."""
        del cache
        return d_carry

    def backward(self, cache: Carry, d_carry: Carry, cut: DerivativeClip) -> tuple[Array, Array, Carry]:
        """Step back, see `Step.backward`."""
        r, z, n, h, before_n = cache
        (d_h,) = d_carry
        d_n = cut(d_h * (1 - z) * (1 - n * n))
        d_z = cut(d_h * (h - n) * z * (1 - z))
        d_r = cut(d_n * before_n * r * (1 - r))
        d_below, d_before = (np.concatenate([d_r, d_z, last], axis=-1) for last in (d_n, d_n * r))
        return d_below, d_before, (d_h * z,)


def differentiate_activation(activation: Activation, h: Array) -> Array:
    """Return f'(a) from h = f(a)."""
    return np.asarray({"tanh": 1 - h * h, "relu": h > 0, "sigmoid": h * (1 - h)}[activation])


def sigmoid(total: Array) -> Array:
    """1 / (1 + e^-a); where e^-a overflows the quotient is 0, as it should be."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-total)))


@dataclasses.dataclass(frozen=True, eq=False)
class LayerRun:
    """What a forward pass through one layer leaves for the way back."""

    inputs: Array  # [time, batch, width]
    before: Array  # [time, batch, H]: h_0 to h_{time-1}, the state that each step starts from
    states: Array  # [time, batch, H]: h_1 to h_time, the state that each step ends in
    cache: list[Carry]  # of each step


class Network:
    """An embedding for tokens, recurrent layers, a linear output on the last S steps."""

    def __init__(self, model: Model) -> None:
        self.model = model
        cells: dict[str, Step] = {"rnn": Rnn(model.activation), "lstm": Lstm(), "gru": Gru()}
        self.step = cells[model.cell]

    def __call__(self, weights: Weights, inputs: Array) -> tuple[Array, list[LayerRun]]:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs], and keep what the way back needs."""
        states = weights["embedding"][inputs] if self.model.tokens else inputs.astype(np.float64)
        runs = []
        for layer in range(self.model.layers):
            runs.append(self._forward(weights, layer, states))
            states = runs[-1].states
        return states[-self.model.scored :] @ weights["output.kernel"] + weights["output.bias"], runs

    def backward(
        self, weights: Weights, inputs: Array, runs: list[LayerRun], d_scores: Array, *, cut: DerivativeClip
    ) -> tuple[Weights, list[Carry], Array]:
        """Return the gradient of every weight, for each layer dL/dh_t (lstm: and dL/dc_t), and dL/dx_t of the first.

        Each of the last two is [time, batch, width].
        """
        scored, kernel = self.model.scored, weights["output.kernel"]
        gradients = {
            "output.kernel": sum_outer_products(runs[-1].states[-scored:], d_scores),
            "output.bias": d_scores.sum(axis=(0, 1)),
        }
        d_above = np.zeros_like(runs[-1].states)  # what reaches the states from above, not from later steps
        d_above[-scored:] = d_scores @ kernel.T
        d_carries_by_layer: list[Carry] = []
        for layer in reversed(range(self.model.layers)):
            layer_gradients, d_carries, d_above = self._backward(weights, layer, runs[layer], d_above, cut=cut)
            gradients |= layer_gradients
            d_carries_by_layer.insert(0, d_carries)
        if self.model.tokens:
            gradients["embedding"] = np.zeros_like(weights["embedding"])
            np.add.at(gradients["embedding"], inputs, d_above)  # a token that occurs twice collects twice
        return {name: gradients[name] for name in weights}, d_carries_by_layer, d_above

    def _forward(self, weights: Weights, layer: int, inputs: Array) -> LayerRun:
        recurrent, (bias, bias_before) = weights[f"layer{layer}.recurrent"], self._get_biases(weights, layer)
        below = inputs @ weights[f"layer{layer}.input"] + bias
        carry = tuple(np.zeros((inputs.shape[1], self.model.hidden)) for _ in range(self.step.carries))
        states, cache = [carry[0]], []
        for now in below:
            carry, step = self.step.forward(now, carry[0] @ recurrent + bias_before, carry)
            states.append(carry[0])
            cache.append(step)
        return LayerRun(inputs, np.stack(states[:-1]), np.stack(states[1:]), cache)

    def _backward(
        self, weights: Weights, layer: int, run: LayerRun, d_above: Array, *, cut: DerivativeClip
    ) -> tuple[Weights, Carry, Array]:
        """Go back through time; return the layer's gradients, dL/dh_t (and dL/dc_t), and d_inputs."""
        name, recurrent = f"layer{layer}", weights[f"layer{layer}.recurrent"]
        d_carries = tuple(np.empty_like(d_above) for _ in range(self.step.carries))
        d_below = np.empty((*d_above.shape[:2], count_gates(self.model) * self.model.hidden))
        d_before = np.empty_like(d_below)
        d_carry = tuple(np.zeros(d_above.shape[1:]) for _ in range(self.step.carries))
        for t in reversed(range(len(d_above))):
            d_total = self.step.sum_gradients(run.cache[t], (d_above[t] + d_carry[0], *d_carry[1:]))
            for whole, part in zip(d_carries, d_total, strict=True):
                whole[t] = part
            d_below[t], d_before[t], d_last = self.step.backward(run.cache[t], d_total, cut)
            d_carry = (d_last[0] + d_before[t] @ recurrent.T, *d_last[1:])
        d_biases = [side.sum(axis=(0, 1)) for side in (d_below, d_before)]
        gradients = {
            f"{name}.input": sum_outer_products(run.inputs, d_below),
            f"{name}.recurrent": sum_outer_products(run.before, d_before),
            f"{name}.bias": np.stack(d_biases) if self.model.cell == "gru" else d_biases[0],
        }
        return gradients, d_carries, d_below @ weights[f"{name}.input"].T

    def _get_biases(self, weights: Weights, layer: int) -> tuple[Array, Array]:
        """Return the bias beside x W and the bias beside h U, which the gru alone has."""
        bias = weights[f"layer{layer}.bias"]
        return (bias[0], bias[1]) if self.model.cell == "gru" else (bias, np.zeros_like(bias))


def sum_outer_products(left: Array, right: Array) -> Array:
    """Sum of the outer products over time and batch: [time, batch, m] and [time, batch, n] give [m, n]."""
    return np.asarray(np.tensordot(left, right, axes=((0, 1), (0, 1))))


def compute_gradients(
    model: Model, weights: Weights, batch: Batch, cut: DerivativeClip | None = None
) -> tuple[float, Weights, list[Carry]]:
    """Return the loss of a batch, the gradient of every weight, and for each layer dL/dh_t, [time, batch, H].

    dL/dh_t counts every way from the state after step t to the loss: the output, the layer above, later steps.
    Beside it stands dL/dc_t for the lstm, whose ways lead through h_t as well.

    Args:
        model: the network.
        weights: in the shared layout, float64.
        batch: as a task gives it, [batch, time, ...].
        cut: what is done to derivatives on their way back; None for nothing.

    Returns:
        The loss, the gradients by the names of the weights, and for each layer a tuple of one or two arrays.

    """
    loss, gradients, _, d_carries, _ = run_batch(model, weights, batch, cut)
    return loss, gradients, d_carries


def run_batch(
    model: Model, weights: Weights, batch: Batch, cut: DerivativeClip | None = None
) -> tuple[float, Weights, list[LayerRun], list[Carry], Array]:
    """Return what `compute_gradients` does, with what each layer's forward pass left before the last, and dL/dx_t."""
    network = Network(model)
    inputs, targets, mask = (part.swapaxes(0, 1) for part in (batch.inputs, batch.targets, batch.mask))
    scores, runs = network(weights, inputs)
    loss, d_scores = compute_loss(model, scores, targets, mask.astype(np.float64))
    gradients, d_carries, d_inputs = network.backward(weights, inputs, runs, d_scores, cut=cut or DerivativeClip())
    return loss, gradients, runs, d_carries, d_inputs
