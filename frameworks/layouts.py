"""What every architecture is made of: one table, from which the rest of the house has names, weights and their shapes.

For a model of hidden size H whose cell has G gates side by side in each kernel:

    embedding           [vocabulary, H]            where inputs are tokens
    layer{k}.input      [inputs of layer k, G·H]   x @ input
    layer{k}.recurrent  [H, G·H]                   h @ recurrent
    layer{k}.bias       [G·H]; gru [2, 3·H]        gru: one row beside x @ input, one beside h @ recurrent
    output.kernel       [H, outputs]
    output.bias         [outputs]

Gates lie side by side in the order of the equations: lstm i f g o (input, forget, candidate,
output), gru r z n (reset, update, candidate). The candidate of the gru is
n = tanh(x W + b_0 + r * (h U + b_1)): both rows of its bias are needed and trained.
mingru z n (update, candidate) and minlstm f i n (forget, input, candidate) have no recurrent
kernel; that of indrnn is a vector [H]. The layers of lru, whose state is complex:

    layer{k}.nu, .theta, .gamma                 [H]             the eigenvalues and the scale of what comes in
    layer{k}.real.input, .imaginary.input       [inputs, H]     B
    layer{k}.real.kernel, .imaginary.kernel     [H, H]          C
    layer{k}.skip.kernel                        [inputs, H]     D
    layer{k}.gate.kernel, layer{k}.bias         [H, H], [H]     of the gated output

attention has an encoder beside the decoder, whose weights have a gru's names and shapes:

    encoder{k}.forward.input    [inputs, 3·H]      and so on; above the first layer its inputs are [h, h'], 2·H
    encoder{k}.backward.input   [inputs, 3·H]
    score.kernel                [H, 2·H]           h @ kernel is what a state of the source is multiplied by
    combine.kernel              [3·H, H]           [c, h] @ kernel

and transformer, whose norms have a scale [H] and a bias [H], and whose kernels each a bias beside them but for that of
query, key and value, since a bias of the keys would change nothing:

    input.kernel                [features, H]      where inputs are not tokens
    positions                   [time, H]
    layer{k}.norm1, layer{k}.norm2, norm
    layer{k}.attention.kernel   [H, 3·H]           query, key and value side by side, in each head after head
    layer{k}.project.kernel     [H, H]
    layer{k}.expand.kernel      [H, 4·H]
    layer{k}.contract.kernel    [4·H, H]

The last word of a name says what the weight is: ``input``, ``recurrent`` and ``kernel`` are kernels, which the
penalties l1 and l2 are of; ``bias`` is a bias; any other is a vector of its own.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from farreach.frameworks.draws import (
    Array,
    Draw,
    draw_glorot,
    draw_half,
    draw_normal,
    draw_ones,
    draw_orthogonal,
    draw_phases,
    draw_positions,
    draw_ring,
    draw_uniform,
    draw_zeros,
)

if TYPE_CHECKING:
    from farreach.frameworks.base import Model

WIDER = 4
"""How many times as wide as H the inner layer of a transformer is."""

KERNELS = ("input", "recurrent", "kernel")
"""The last words of the names of kernels."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a weight: `blocks` side by side, each of `size` places.

    Attributes:
        size: places of a block.
        units: whose units the places are, by a name of the model's own such as ``layer0``; "" where nothing is
            permuted along the axis.
        blocks: how many lie side by side, each in the order of the same units.

    """

    size: int
    units: str = ""
    blocks: int = 1


@dataclasses.dataclass(frozen=True)
class Weight:
    """One array of the shared layout.

    Attributes:
        name: in the shared layout.
        axes: from the first to the last.
        draw: how it is drawn at first, by ``default``.
        is_scaled: whether the radius of the first weights scales it.

    """

    name: str
    axes: tuple[Axis, ...]
    draw: Draw = draw_zeros
    is_scaled: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return tuple(axis.size * axis.blocks for axis in self.axes)

    @property
    def is_kernel(self) -> bool:
        """Whether the penalties l1 and l2 are of it."""
        return self.name.rpartition(".")[-1] in KERNELS


@dataclasses.dataclass(frozen=True)
class Layout:
    """One architecture.

    Attributes:
        title: what it is and who had it first, in a line.
        family: the file of each framework's folder that runs it.
        list_weights: returns the weights of a model, in the order in which they are drawn.
        gates: the blocks of a layer's input kernel, in their order.
        activations: those that it takes; the first is its own.
        matrices: the blocks of the recurrent kernel [H, H] whose spectra are measured, in their order.
        cuts: the gates of a unit at whose pre-activations clip ``backprop`` cuts at every step; 0 where it is not
            defined.
        parts: numbers of a unit's state: 2 where it is complex, the real ones first.
        is_projected: whether every update is followed by the family's ``project_weights``.
        find_diagonal: returns the sizes of a layer's recurrent factors, [H], from the weights and the layer's name,
            where its units do not see each other's states and the factors do not depend on what comes in.
        has_states: whether there is a state h_t at each step that all later ones are reached through.
        needs_length: whether a model must know the time steps of its sequences.
        shortest: the fewest that it takes, where it must know them.
        needs_source: whether the first steps of a task must be a source that is read whole before the others.
        needs_heads: whether a model has heads, which divide its units; it then takes the padding, as with a source.

    """

    title: str
    family: str
    list_weights: Callable[[Model], list[Weight]]
    gates: tuple[str, ...]
    activations: tuple[str, ...] = ("tanh",)
    matrices: tuple[str, ...] = ()
    cuts: int = 0
    parts: int = 1
    is_projected: bool = False
    find_diagonal: Callable[[Mapping[str, Array], str], Array] | None = None
    has_states: bool = True
    needs_length: bool = False
    shortest: int = 1
    needs_source: bool = False
    needs_heads: bool = False


def list_stacked(model: Model, list_layer: Callable[[Model, str, Axis], list[Weight]]) -> list[Weight]:
    """Return the weights of an embedding where inputs are tokens, of layers upon each other, and of a linear output.

    Args:
        model: the network.
        list_layer: returns the weights of a layer from the model, the layer's name and the axis of its inputs.

    """
    hidden = model.hidden
    listed = [Weight("embedding", (Axis(model.features), Axis(hidden)), draw_normal)] if model.tokens else []
    below = Axis(hidden if model.tokens else model.features)
    for layer in range(model.layers):
        name = f"layer{layer}"
        listed += list_layer(model, name, below)
        below = Axis(hidden, name)
    outputs = Axis(model.outputs)
    return [*listed, Weight("output.kernel", (below, outputs), draw_glorot), Weight("output.bias", (outputs,))]


def list_weights(model: Model) -> list[Weight]:
    """Return the weights of a model, in the order in which they are drawn."""
    return LAYOUTS[model.cell].list_weights(model)


def list_names(model: Model) -> list[str]:
    """Return the names of a model's weights, in the order in which they are drawn."""
    return [weight.name for weight in list_weights(model)]


def count_gates(model: Model) -> int:
    """Return G, the blocks of a layer's input kernel."""
    return len(LAYOUTS[model.cell].gates)


def list_shift_widths(model: Model) -> list[int]:
    """Return the widths of what a gradient through time is taken of: the first layer's inputs, each layer's states."""
    layout, below = LAYOUTS[model.cell], model.hidden if model.tokens else model.features
    return [below, *[layout.parts * model.hidden] * (model.layers if layout.has_states else 0)]


def count_kept(model: Model, layer: int, steps: int) -> int:
    """Return how many of a layer's last states are used: S of the last layer's, all of any other's."""
    return model.scored if layer == model.layers - 1 else steps


def list_activated() -> list[str]:
    """Return the cells that take more than one activation."""
    return [cell for cell, layout in LAYOUTS.items() if len(layout.activations) > 1]


def _list_recurrent(model: Model) -> list[Weight]:
    """Return the weights of an rnn, lstm or gru."""

    def list_layer(model: Model, name: str, below: Axis) -> list[Weight]:
        gates = Axis(model.hidden, name, count_gates(model))
        rows = (Axis(2), gates) if model.cell == "gru" else (gates,)
        return [
            Weight(f"{name}.input", (below, gates), draw_glorot),
            Weight(f"{name}.recurrent", (Axis(model.hidden, name), gates), draw_orthogonal, is_scaled=True),
            Weight(f"{name}.bias", rows),
        ]

    return list_stacked(model, list_layer)


def _list_gated(model: Model) -> list[Weight]:
    """Return the weights of a mingru or minlstm."""

    def list_layer(model: Model, name: str, below: Axis) -> list[Weight]:
        gates = Axis(model.hidden, name, count_gates(model))
        return [Weight(f"{name}.input", (below, gates), draw_glorot), Weight(f"{name}.bias", (gates,))]

    return list_stacked(model, list_layer)


def _list_independent(model: Model) -> list[Weight]:
    """Return the weights of an indrnn, whose recurrent kernel is a vector."""
    draw = functools.partial(draw_uniform, most=2 ** (1 / model.length))

    def list_layer(model: Model, name: str, below: Axis) -> list[Weight]:
        units = Axis(model.hidden, name)
        return [
            Weight(f"{name}.input", (below, units), draw_glorot),
            Weight(f"{name}.recurrent", (units,), draw),
            Weight(f"{name}.bias", (units,)),
        ]

    return list_stacked(model, list_layer)


def _list_lru(model: Model) -> list[Weight]:
    """Return the weights of an lru; its outputs are the units that the layer above sees."""

    def list_layer(model: Model, name: str, below: Axis) -> list[Weight]:
        states, units = Axis(model.hidden, f"{name}.states"), Axis(model.hidden, name)
        sides = ("real", "imaginary")
        return [
            Weight(f"{name}.nu", (states,), draw_ring),
            Weight(f"{name}.theta", (states,), draw_phases),
            Weight(f"{name}.gamma", (states,), draw_zeros),
            *(Weight(f"{name}.{side}.input", (below, states), draw_half) for side in sides),
            *(Weight(f"{name}.{side}.kernel", (states, units), draw_half) for side in sides),
            Weight(f"{name}.skip.kernel", (below, units), draw_glorot),
            Weight(f"{name}.gate.kernel", (units, units), draw_glorot),
            Weight(f"{name}.bias", (units,)),
        ]

    return list_stacked(model, list_layer)


def _list_attention(model: Model) -> list[Weight]:
    """Return the weights of an encoder and decoder with attention; the three grus of a layer have the same units."""
    hidden = model.hidden
    listed = [Weight("embedding", (Axis(model.features), Axis(hidden)), draw_normal)] if model.tokens else []
    encoded = below = Axis(hidden if model.tokens else model.features)
    for layer in range(model.layers):
        units = f"layer{layer}"
        for name, inputs in (
            (f"encoder{layer}.forward", encoded),
            (f"encoder{layer}.backward", encoded),
            (units, below),
        ):
            gates = Axis(hidden, units, 3)
            listed += [
                Weight(f"{name}.input", (inputs, gates), draw_glorot),
                Weight(f"{name}.recurrent", (Axis(hidden, units), gates), draw_orthogonal, is_scaled=True),
                Weight(f"{name}.bias", (Axis(2), gates)),
            ]
        encoded, below = Axis(hidden, units, 2), Axis(hidden, units)
    joined, outputs = Axis(hidden, "joined"), Axis(model.outputs)
    return [
        *listed,
        Weight("score.kernel", (below, encoded), draw_glorot),
        Weight("combine.kernel", (Axis(hidden, below.units, 3), joined), draw_glorot),
        Weight("output.kernel", (joined, outputs), draw_glorot),
        Weight("output.bias", (outputs,)),
    ]


def _list_transformer(model: Model) -> list[Weight]:
    """Return the weights of a transformer."""
    stream, outputs = Axis(model.hidden, "stream"), Axis(model.outputs)
    listed = [Weight("embedding", (Axis(model.features), stream), draw_normal)]
    if not model.tokens:
        listed = [Weight("input.kernel", (Axis(model.features), stream), draw_glorot), Weight("input.bias", (stream,))]
    listed.append(Weight("positions", (Axis(model.length), stream), draw_positions))
    for layer in range(model.layers):
        name, heads, inner = f"layer{layer}", Axis(model.hidden), Axis(WIDER * model.hidden, f"layer{layer}")
        three = Axis(model.hidden, blocks=3)
        listed += [
            Weight(f"{name}.norm1.scale", (stream,), draw_ones),
            Weight(f"{name}.norm1.bias", (stream,)),
            Weight(f"{name}.attention.kernel", (stream, three), draw_glorot),
            Weight(f"{name}.project.kernel", (heads, stream), draw_glorot),
            Weight(f"{name}.project.bias", (stream,)),
            Weight(f"{name}.norm2.scale", (stream,), draw_ones),
            Weight(f"{name}.norm2.bias", (stream,)),
            Weight(f"{name}.expand.kernel", (stream, inner), draw_glorot),
            Weight(f"{name}.expand.bias", (inner,)),
            Weight(f"{name}.contract.kernel", (inner, stream), draw_glorot),
            Weight(f"{name}.contract.bias", (stream,)),
        ]
    listed += [Weight("norm.scale", (stream,), draw_ones), Weight("norm.bias", (stream,))]
    return [*listed, Weight("output.kernel", (stream, outputs), draw_glorot), Weight("output.bias", (outputs,))]


def _find_eigenvalues(weights: Mapping[str, Array], layer: str) -> Array:
    """Return the sizes of the eigenvalues of an lru."""
    return np.asarray(np.exp(-np.exp(weights[f"{layer}.nu"])))


def _find_recurrent(weights: Mapping[str, Array], layer: str) -> Array:
    """Return the sizes of the recurrent weights of an indrnn."""
    return np.asarray(np.abs(weights[f"{layer}.recurrent"]))


class Layouts(dict[str, Layout]):
    """The table; a cell of a plug-in has the layout of an rnn until its framework has put its own here."""

    def __missing__(self, cell: str) -> Layout:
        """Return the layout of an rnn that takes no other activation."""
        return dataclasses.replace(self["rnn"], title=cell, activations=("tanh",))


LAYOUTS = Layouts()
LAYOUTS |= {
    "rnn": Layout(
        title="simple recurrent network (Elman 1990)",
        family="recurrent",
        list_weights=_list_recurrent,
        gates=("h",),
        activations=("tanh", "relu", "sigmoid"),
        matrices=("h",),
        cuts=1,
    ),
    "lstm": Layout(
        title="long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000)",
        family="recurrent",
        list_weights=_list_recurrent,
        gates=("i", "f", "g", "o"),
        matrices=("i", "f", "g", "o"),
        cuts=4,
    ),
    "gru": Layout(
        title="gated recurrent unit (Cho et al. 2014), the reset gate after the product",
        family="recurrent",
        list_weights=_list_recurrent,
        gates=("r", "z", "n"),
        matrices=("r", "z", "n"),
        cuts=3,
    ),
    "mingru": Layout(
        title="minimal gated recurrent unit, linear in its state (Feng et al. 2024)",
        family="linear",
        list_weights=_list_gated,
        gates=("z", "n"),
        cuts=1,
    ),
    "minlstm": Layout(
        title="minimal long short-term memory, linear in its state (Feng et al. 2024)",
        family="linear",
        list_weights=_list_gated,
        gates=("f", "i", "n"),
        cuts=2,
    ),
    "indrnn": Layout(
        title="independently recurrent network, each unit with one bounded weight to itself (Li et al. 2018)",
        family="independent",
        list_weights=_list_independent,
        gates=("h",),
        activations=("relu", "tanh"),
        cuts=1,
        is_projected=True,
        find_diagonal=_find_recurrent,
        needs_length=True,
        shortest=2,
    ),
    "lru": Layout(
        title="linear recurrent unit of complex states (Orvieto et al. 2023)",
        family="linear",
        list_weights=_list_lru,
        gates=("real", "imaginary"),
        parts=2,
        find_diagonal=_find_eigenvalues,
    ),
    "attention": Layout(
        title="encoder of two directions and a decoder that attends to it (Bahdanau et al. 2015; Luong et al. 2015)",
        family="attention",
        list_weights=_list_attention,
        gates=("r", "z", "n"),
        matrices=("r", "z", "n"),
        has_states=False,
        needs_length=True,
        needs_source=True,
    ),
    "transformer": Layout(
        title="causal transformer, the norms before its parts (Vaswani et al. 2017; Xiong et al. 2020)",
        family="transformer",
        list_weights=_list_transformer,
        gates=("q", "k", "v"),
        has_states=False,
        needs_length=True,
        needs_heads=True,
    ),
}
"""Every architecture by its name, which `farreach.frameworks.base.Cell` lists for the type checker."""
