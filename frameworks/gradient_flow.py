"""The gradient through time: dL/dh_t of every layer, from layers that keep it to themselves.

A native layer hands out the gradient of the loss with respect to its inputs, its weights and, from above, its states;
what comes back to a state from later steps stays inside. A wider input brings it out: `widen_weights` appends
columns whose inputs are zero, so that nothing changes, and whose kernel is the one that the last state goes
through. The gradient with respect to those zeros at step t + 1 is then what comes back to h_t through that step.

For h' = f(x W + h U + b) that is all: dL/dh_t = above_t + back_{t+1}. The gru (`n = tanh(x W_n + r * (h U_n))`,
`h' = (1 - z) n + z h`) needs its reset gate between the candidate and U_n, and the direct way through z:

    dL/dh_t = above_t + back_{t+1} U_rz + (back_{t+1} for n * r_{t+1}) U_n + z_{t+1} * dL/dh_{t+1}

and the lstm's cell state (`c' = f c + i g`, `h' = o tanh(c')`) has a recursion of its own:

    dL/dc_t = dL/dh_t * o_t * (1 - tanh² c_t) + f_{t+1} * dL/dc_{t+1}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from farreach.frameworks.base import Array, Flow, Model, Weights


@dataclasses.dataclass(frozen=True, eq=False)
class WideRun:
    """What one widened layer hands out for one batch, time-major.

    Attributes:
        inputs: [time, batch, width], without the zero columns.
        states: h_t, [time, batch, H].
        d_above: gradient of the loss with respect to h_t that does not come from later steps, [time, batch, H].
        d_columns: gradient with respect to the zero columns, [time, batch, `count_columns`].
        d_inputs: gradient with respect to the inputs, of the first layer; of others None.

    """

    inputs: Array
    states: Array
    d_above: Array
    d_columns: Array
    d_inputs: Array | None = None


def count_columns(model: Model) -> int:
    """Return the number of zero columns: H, for the gru 2 H."""
    return model.hidden * (2 if model.cell == "gru" else 1)


def widen_weights(model: Model, weights: Weights) -> Weights:
    """Return the weights with wider input kernels: the recurrent kernel stands below the input's.

    Args:
        model: the network.
        weights: in the shared layout.

    Returns:
        The weights, whose input kernels are [width + `count_columns`, G·H].

    """
    wide = dict(weights)
    for layer in range(model.layers):
        kernel, recurrent = weights[f"layer{layer}.input"], weights[f"layer{layer}.recurrent"]
        if model.cell == "gru":
            gates, _ = np.split(recurrent, [2 * model.hidden], axis=1)
            nothing, one = np.zeros((model.hidden, model.hidden)), np.eye(model.hidden)
            below = np.block([[gates, nothing], [np.zeros_like(gates), one]])
        else:
            below = recurrent
        wide[f"layer{layer}.input"] = np.vstack([kernel, below]).astype(kernel.dtype)
    return wide


def compute_flow(model: Model, weights: Weights, runs: Sequence[WideRun]) -> Flow:
    """Return the gradient through time from what the widened layers handed out.

    Args:
        model: the network.
        weights: in the shared layout, not widened.
        runs: one for each layer, from the inputs up.

    Returns:
        The norms of dL/dh_t, of dL/dc_t for the lstm, and of dL/dx_t.

    Raises:
        ValueError: where the first run has no gradient of its inputs.

    """
    if runs[0].d_inputs is None:
        message = "the first layer's run must have the gradient with respect to its inputs"
        raise ValueError(message)
    gradients = [_find_state_gradients(model, weights, layer, run) for layer, run in enumerate(runs)]
    h = compute_norms([d_h for d_h, _ in gradients])
    c = [d_c for _, d_c in gradients if d_c is not None]
    return Flow(h, compute_norms(c) if c else None, compute_norms([runs[0].d_inputs])[0])


def make_flow(shifts: Sequence[Array]) -> Flow:
    """Return the gradient through time of a network with shifts: of its inputs, then of its layers' states, if any.

    Args:
        shifts: dL/dx_t and dL/dh_t of each layer, each [time, batch, width].

    """
    first, *states = shifts
    x = compute_norms([first])
    return Flow(compute_norms(states) if states else x[:0], None, x[0])


def compute_norms(gradients: Sequence[Array]) -> Array:
    """Return the norms over batch and units, [layers, time], of each layer's gradients [time, batch, H].

    They are taken in float64, since the square of what float32 holds may vanish in float32.
    """
    wide = [part.astype(np.float64) for part in gradients]
    return np.stack([np.sqrt(np.einsum("tbh,tbh->t", part, part)) for part in wide])


def _find_state_gradients(model: Model, weights: Weights, layer: int, run: WideRun) -> tuple[Array, Array | None]:
    """Return dL/dh_t and, for the lstm, dL/dc_t, each [time, batch, H]."""
    d_h = run.d_above.copy()
    if model.cell == "rnn":
        d_h[:-1] += run.d_columns[1:]
        return d_h, None
    before = np.concatenate([np.zeros_like(run.states[:1]), run.states[:-1]])
    kernel, recurrent, bias = (
        weights[f"layer{layer}.{part}"].astype(d_h.dtype) for part in ("input", "recurrent", "bias")
    )
    if model.cell == "lstm":
        d_h[:-1] += run.d_columns[1:]
        return d_h, _find_cell_gradients(run.inputs @ kernel + before @ recurrent + bias, d_h)
    gates, candidate = np.split(recurrent, [2 * model.hidden], axis=1)
    kernel, bias = kernel[:, : gates.shape[1]], bias[:, : gates.shape[1]]  # r and z; n itself is not asked for
    total = run.inputs @ kernel + bias[0] + before @ gates + bias[1]
    r, z = np.split(_sigmoid(total), 2, axis=-1)
    through_gates, through_candidate = np.split(run.d_columns, 2, axis=-1)
    back = through_gates + (through_candidate * r) @ candidate.T
    for t in reversed(range(len(d_h) - 1)):
        d_h[t] += back[t + 1] + z[t + 1] * d_h[t + 1]
    return d_h, None


def _find_cell_gradients(total: Array, d_h: Array) -> Array:
    """Return dL/dc_t from the gates' pre-activations [time, batch, 4 H] and dL/dh_t [time, batch, H]."""
    i, f, g, o = np.split(total, 4, axis=-1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    c = i * g
    for t in range(1, len(c)):
        c[t] += f[t] * c[t - 1]
    d_c = d_h * o * (1 - np.tanh(c) ** 2)
    for t in reversed(range(len(d_c) - 1)):
        d_c[t] += f[t + 1] * d_c[t + 1]
    return np.asarray(d_c)


def _sigmoid(total: Array) -> Array:
    with np.errstate(over="ignore"):  # where e^-a overflows the quotient is 0, as it should be
        return np.asarray(1 / (1 + np.exp(-total)))
