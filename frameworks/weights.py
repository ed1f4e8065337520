"""The initial weights, drawn in NumPy, the same for every framework, in the layout of `farreach.frameworks.layouts`."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farreach.frameworks import layouts
from farreach.frameworks.base import Initial, Model, Weights

KEEPING_GATE = 1
"""The gate whose 1 keeps the state, the lstm's f and the gru's z: the second of each."""

FORGET_BIAS = 1.0

CHRONO_CELLS = ("lstm", "gru")
"""The cells whose biases ``chrono`` sets."""

CHRONO_LENGTHS = (3, 2**31)
"""The smallest and the largest T_max of ``chrono``: of 2 every bias would be log 1 = 0."""

DEVIATIONS: dict[Initial, float] = {"irnn": 0.001, "sigmoid": 0.01, "basic_tanh": 0.1, "smart_tanh": 0.01}
"""Standard deviation of the normal kernels of each initial that has such."""

ACTIVATIONS: dict[Initial, str] = {"sigmoid": "sigmoid", "basic_tanh": "tanh", "smart_tanh": "tanh"}
"""The activation of the networks that an initial is of."""

SMART_NON_ZEROS = 15
SMART_RADIUS = 0.95

_PURPOSE = {"weights": 0, "permutation": 1, "initial": 2}


def draw(
    model: Model,
    seed: int,
    radius: float = 1.0,
    *,
    initial: Initial = "default",
    chrono_length: int | None = None,
    forget_bias: float | None = None,
) -> Weights:
    """Draw the initial weights of a model.

    ``default``: recurrent blocks are orthogonal gate by gate, input and output kernels Glorot uniform gate by gate,
    embeddings normal(0, 1), biases zero but for the lstm's forget gate, which is 1 or `forget_bias`. The others change
    this where they say so, by draws of their own, and leave the rest as the seed drew it.

    An lru has eigenvalues uniform on a ring (`farreach.frameworks.draws.RING`), B and C normal, and gamma the logarithm
    of ``sqrt(1 - |a|²)``; an indrnn has recurrent weights uniform from 0 to their bound.

    ``chrono`` (lstm, gru): with u uniform on (1, chrono_length - 1) for each unit, the lstm has b_f = log u and
    b_i = -b_f. The gru, whose z keeps the state (the paper's has 1 - z there), has b_z = log u in its first row.

    ``irnn`` (rnn, usually relu): the recurrent kernel is `radius` times the identity, the other kernels are normal
    with a standard deviation of 0.001.

    ``sigmoid``, ``basic_tanh``, ``smart_tanh`` (rnn): all kernels are normal, with standard deviations of 0.01, 0.1 and
    0.01. ``smart_tanh`` then leaves each unit 15 recurrent connections to others, and scales the recurrent kernel to a
    spectral radius of 0.95.

    Args:
        model: the network.
        seed: of the weights alone; the batches have theirs.
        radius: the spectral radius of every recurrent block [H, H].
        initial: how they are drawn.
        chrono_length: T_max of ``chrono``, time steps.
        forget_bias: the bias of the lstm's forget gate; None for 1.

    Returns:
        The weights in the shared layout, float64.

    Raises:
        ValueError: where the model has no such weights; see `require_initial`.

    Source: Saxe, McClelland and Ganguli, ICLR 2014 (orthogonal); Glorot and Bengio, AISTATS 2010 (uniform);
    Jozefowicz, Zaremba and Sutskever, ICML 2015 (forget gate); Tallec and Ollivier, ICLR 2018 (chrono); Le, Jaitly and
    Hinton, arXiv 1504.00941 (irnn); Pascanu, Mikolov and Bengio, ICML 2013, and their code (the last three); Orvieto et
    al., ICML 2023, lemma 3.2 and equation 7 (lru); Li et al., CVPR 2018, section 5 (indrnn).

    """
    require_initial(model, radius=radius, initial=initial, chrono_length=chrono_length, forget_bias=forget_bias)
    random = _make_generator("weights", seed)
    weights: Weights = {}
    for weight in layouts.list_weights(model):
        *others, last = weight.axes
        shape = (*(axis.size * axis.blocks for axis in others), last.size)
        drawn = weight.draw(random, shape, last.blocks)
        weights[weight.name] = radius * drawn if weight.is_scaled else drawn
    if model.cell == "lstm":
        for layer in range(model.layers):
            gate = _find_gate(weights[f"layer{layer}.bias"], KEEPING_GATE, model.hidden)
            gate[:] = FORGET_BIAS if forget_bias is None else forget_bias
    if model.cell == "lru":
        for layer in range(model.layers):
            weights[f"layer{layer}.gamma"] = _find_gamma(weights[f"layer{layer}.nu"])
    own = _make_generator("initial", seed)
    if initial in DEVIATIONS:
        _redraw_kernels(own, weights, initial, radius)
    if chrono_length is not None:
        for layer in range(model.layers):
            _set_chrono(own, weights[f"layer{layer}.bias"], model, chrono_length)
    return weights


def require_initial(
    model: Model, *, radius: float, initial: Initial, chrono_length: int | None, forget_bias: float | None
) -> None:
    """Raise `ValueError`, in one line, where `draw` has no such weights for this model."""
    chrono, least, most = initial == "chrono", *CHRONO_LENGTHS
    activation = ACTIVATIONS.get(initial, model.activation)
    is_scaled = any(weight.is_scaled for weight in layouts.list_weights(model))
    faults = (
        (
            chrono and model.cell not in CHRONO_CELLS,
            f"initial chrono sets biases of gates, for cell lstm or gru, not for {model.cell}",
        ),
        (radius != 1 and not is_scaled, f"radius scales recurrent kernels, of which cell {model.cell} has none"),
        (initial in DEVIATIONS and model.cell != "rnn", f"initial {initial} is for cell rnn, not for {model.cell}"),
        (activation != model.activation, f"initial {initial} is for activation {activation}, not {model.activation}"),
        (
            initial in ACTIVATIONS and radius != 1,
            f"initial {initial} takes no radius: its recurrent kernel has its own",
        ),
        (chrono and chrono_length is None, "initial chrono needs a chrono_length"),
        (not chrono and chrono_length is not None, f"initial {initial} takes no chrono_length"),
        (
            chrono and not (isinstance(chrono_length, int) and least <= chrono_length <= most),
            f"chrono_length must be a whole number from {least} to {most}, not {chrono_length}",
        ),
        (chrono and forget_bias is not None, "initial chrono takes no forget_bias: it draws the biases itself"),
        (forget_bias is not None and model.cell != "lstm", f"forget_bias is for cell lstm, not for {model.cell}"),
        (not math.isfinite(forget_bias or 0), f"forget_bias must be a finite number, not {forget_bias}"),
    )
    for wrong, reason in faults:
        if wrong:
            raise ValueError(reason)


def permute_hidden(model: Model, weights: Weights, replicate: int) -> Weights:
    """Permute the hidden units of every layer: the same function, other rounding errors.

    What two permuted replicates in one framework differ by is what rounding alone does to a run, and the yardstick
    for what two frameworks differ by.

    Args:
        model: the network.
        weights: in the shared layout.
        replicate: the number of the permutation; 0 leaves the model as it was drawn.

    Returns:
        The weights of the permuted model; arrays that do not change are the same objects.

    """
    if replicate == 0:
        return weights
    random = _make_generator("permutation", replicate)
    orders: dict[str, NDArray[Any]] = {}
    permuted = dict(weights)
    for weight in layouts.list_weights(model):
        for at, axis in enumerate(weight.axes):
            if not axis.units:
                continue
            if axis.units not in orders:
                orders[axis.units] = random.permutation(axis.size)
            places = np.concatenate([block * axis.size + orders[axis.units] for block in range(axis.blocks)])
            permuted[weight.name] = permuted[weight.name].take(places, axis=at)
    return permuted


def digest(weights: Weights) -> str:
    """Return the SHA-256 of all weights, bytes in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode())
        total.update(np.ascontiguousarray(weights[name]).tobytes())
    return total.hexdigest()


def _make_generator(purpose: str, seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(entropy=20_260_102, spawn_key=(_PURPOSE[purpose], seed)))


def _find_gate(bias: NDArray[Any], gate: int, hidden: int) -> NDArray[Any]:
    """Return a view of what a gate has of a bias; of the gru, beside x @ input."""
    return (bias[0] if bias.ndim > 1 else bias)[gate * hidden : (gate + 1) * hidden]


def _find_gamma(nu: NDArray[Any]) -> NDArray[Any]:
    """Return log sqrt(1 - |a|²) of the eigenvalues a of an lru, so that noise that comes in keeps its size."""
    return np.asarray(0.5 * np.log1p(-np.exp(-2 * np.exp(nu))))


def _set_chrono(random: np.random.Generator, bias: NDArray[Any], model: Model, length: int) -> None:
    """Set the biases of a layer by ``chrono``."""
    keeping = np.log(random.uniform(1, length - 1, model.hidden))
    _find_gate(bias, KEEPING_GATE, model.hidden)[:] = keeping
    if model.cell == "lstm":
        _find_gate(bias, 0, model.hidden)[:] = -keeping


def _redraw_kernels(random: np.random.Generator, weights: Weights, initial: Initial, radius: float) -> None:
    """Draw every kernel of an rnn anew, as `DEVIATIONS` has it."""
    for name, kernel in weights.items():
        if name.endswith(("input", "recurrent", "kernel")):
            weights[name] = random.normal(0, DEVIATIONS[initial], kernel.shape)
        if name.endswith("recurrent") and initial == "irnn":
            weights[name] = radius * np.eye(len(kernel))
        if name.endswith("recurrent") and initial == "smart_tanh":
            weights[name] = _make_sparse(random, weights[name])


def _make_sparse(random: np.random.Generator, kernel: NDArray[Any]) -> NDArray[Any]:
    """Keep `SMART_NON_ZEROS` entries of each row, and scale what is left to `SMART_RADIUS`."""
    sparse = np.zeros_like(kernel)
    for unit, row in enumerate(kernel):
        kept = random.permutation(len(row))[:SMART_NON_ZEROS]
        sparse[unit, kept] = row[kept]
    return np.asarray(SMART_RADIUS * sparse / np.abs(np.linalg.eigvals(sparse)).max())
