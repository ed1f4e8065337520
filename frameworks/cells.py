"""The recurrent cells in NumPy, one step forward and one step back, written out from the equations.

They are the judge's (`farreach.frameworks.reference`): slow, plain, float64. A name that starts with ``d_`` is the
slope of the loss along what follows.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from farreach.frameworks.base import Activation, Array

Carry = tuple[Array, ...]
"""What a cell hands to its next step, each [batch, H]: the state h, and the lstm's cell state c."""


class Step(Protocol):
    """One step of a cell, from the two sides of its pre-activation, each [batch, G·H].

    ``below`` comes from the layer's input, x W + b; ``before`` from the last state, h U (gru: h U + b_1).
    """

    carries: int

    def forward(self, below: Array, before: Array, carry: Carry) -> tuple[Carry, Carry]:
        """Return the next carry, and what `backward` needs to know of this step."""
        ...

    def total(self, known: Carry, d_carry: Carry) -> Carry:
        """Return the whole slope along this step's carry, from the slopes that reach it from outside the step."""
        ...

    def backward(self, known: Carry, d_carry: Carry) -> tuple[Array, Array, Carry]:
        """Return d_below, d_before, and the slope along the last carry that does not go through ``before``.

        ``d_carry`` is what `total` returned.
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

    def total(self, known: Carry, d_carry: Carry) -> Carry:
        """Return the slope as it is, see `Step.total`."""
        del known
        return d_carry

    def backward(self, known: Carry, d_carry: Carry) -> tuple[Array, Array, Carry]:
        """Step back, see `Step.backward`."""
        (h,), (d_h,) = known, d_carry
        d_total = d_h * slope_of(self.activation, h)
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
        shown = np.tanh(c_next)
        return (o * shown, c_next), (i, f, g, o, c, shown)

    def total(self, known: Carry, d_carry: Carry) -> Carry:
        """Add what reaches c through this step's own h, see `Step.total`."""
        _, _, _, o, _, shown = known
        d_h, d_c = d_carry
        return d_h, d_c + d_h * o * (1 - shown * shown)

    def backward(self, known: Carry, d_carry: Carry) -> tuple[Array, Array, Carry]:
        """Step back, see `Step.backward`."""
        i, f, g, o, c, shown = known
        d_h, d_c = d_carry
        d_i, d_f, d_g, d_o = d_c * g, d_c * c, d_c * i, d_h * shown
        d_gates = d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g * g), d_o * o * (1 - o)
        d_total = np.concatenate(d_gates, axis=-1)
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

    def total(self, known: Carry, d_carry: Carry) -> Carry:
        """Return the slope as it is, see `Step.total`."""
        del known
        return d_carry

    def backward(self, known: Carry, d_carry: Carry) -> tuple[Array, Array, Carry]:
        """Step back, see `Step.backward`."""
        r, z, n, h, before_n = known
        (d_h,) = d_carry
        d_n = d_h * (1 - z) * (1 - n * n)
        d_z = d_h * (h - n) * z * (1 - z)
        d_r = d_n * before_n * r * (1 - r)
        d_below, d_before = (np.concatenate([d_r, d_z, last], axis=-1) for last in (d_n, d_n * r))
        return d_below, d_before, (d_h * z,)


def slope_of(activation: Activation, h: Array) -> Array:
    """Return f'(a) from h = f(a)."""
    return np.asarray({"tanh": 1 - h * h, "relu": h > 0, "sigmoid": h * (1 - h)}[activation])


def sigmoid(total: Array) -> Array:
    """1 / (1 + e^-a); where e^-a overflows the quotient is 0, as it should be."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-total)))
