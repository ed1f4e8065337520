"""The LSTM of cuDNN in JAX (`jax.experimental.rnn`), its arrays brought to the shared layout.

cuDNN has two bias vectors where one is enough: the second is a constant zero here, so that one is trained, as
everywhere. Its gates are i f g o, as ours. The kernel is float32 alone, which is why no certificate, whose arithmetic
is float64, can cover it; the products are full float32, by a precision that is passed and not inherited.
"""

from __future__ import annotations

import jax
from jax import lax
from jax import numpy as jnp
from jax.experimental import rnn


def lstm(inputs: jax.Array, kernel: jax.Array, recurrent: jax.Array, bias: jax.Array, *, every_step: bool) -> jax.Array:
    """Run one layer on inputs [time, batch, D]; return its states [time, batch, H], or the last alone [1, batch, H]."""
    steps, rows, width = inputs.shape
    nothing = jnp.zeros((1, rows, recurrent.shape[0]), inputs.dtype)
    states, last, _ = rnn.lstm(
        inputs.swapaxes(0, 1),
        nothing,
        nothing,
        packed(kernel, recurrent, bias),
        jnp.full((rows,), steps, jnp.int32),
        width,
        recurrent.shape[0],
        1,  # layer
        0.0,  # dropout
        False,  # noqa: FBT003 - bidirectional; a custom derivative takes its arguments by position
        lax.Precision.HIGHEST,
    )
    return states.swapaxes(0, 1) if every_step else last


def packed(kernel: jax.Array, recurrent: jax.Array, bias: jax.Array) -> jax.Array:
    """Return the weights as cuDNN keeps them, flat: both kernels transposed, then the bias, then the second bias."""
    return jnp.concatenate([kernel.T.ravel(), recurrent.T.ravel(), bias, jnp.zeros_like(bias)])
