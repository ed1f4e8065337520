"""Model FLOPs of attention and of a transformer: what `farreach.benchmarks.speed.flops` is for layers of one state."""

from __future__ import annotations

from farreach.frameworks.base import Model
from farreach.frameworks.layouts import WIDER

GATES = 3
"""Of a gru."""


def count_transformer(model: Model, batch: int, length: int) -> int:
    """Return the floating-point operations of one training step of a transformer, in matrix products.

    With B sequences of T steps, H units, S scored steps, O outputs and D features, forward; every product comes again
    in the gradient of each of its two sides, but for the first, whose inputs are not trained:

    ==========================  ==============
    inputs that are no tokens   2 B T D H
    query, key and value        2 B T H 3 H
    queries by keys             2 B T T H
    shares by values            2 B T T H
    projection                  2 B T H H
    inner layer, in and out     2 B T H 4 H each
    output                      2 B S H O
    ==========================  ==============

    All but the first and the last are for each layer. Queries meet all keys, also those that the mask hides; some
    kernels leave out what is hidden, others compute the shares twice.

    Args:
        model: the network.
        batch: B, sequences per step.
        length: T, time steps of a sequence.

    """
    hidden, rows = model.hidden, 2 * batch * length
    inputs = 0 if model.tokens else 2 * rows * model.features * hidden
    layer = rows * hidden * (3 + 1 + 2 * WIDER) * hidden + 2 * rows * length * hidden
    return inputs + 3 * model.layers * layer + 3 * 2 * batch * model.scored * hidden * model.outputs


def count_attention(model: Model, batch: int, length: int) -> int:
    """Return the floating-point operations of one training step of an encoder and decoder, in matrix products.

    With B sequences of P steps of source and R others, H units, S scored steps, O outputs, and D inputs of a gru (2 H
    above an encoder's first layer, H above the decoder's and above an embedding, else the task's features), forward;
    every product comes again in the gradient of each of its sides that is trained:

    ============================  ====================
    encoder, each of two ways     2 B P (D + H) 3 H
    decoder                       2 B R (D + H) 3 H
    score, h A                    2 B S H 2 H
    states asked, states found    2 B S P 2 H each
    combination                   2 B S 3 H H
    output                        2 B S H O
    ============================  ====================

    The first two are for each layer. Nobody wants the gradient of an encoder's first state.

    Args:
        model: the network.
        batch: B, sequences per step.
        length: T = P + R, time steps of a sequence.

    """
    hidden, source, rows = model.hidden, model.source, 2 * batch
    answers = 3 * rows * model.scored
    total = answers * hidden * (2 * hidden + 4 * source + 3 * hidden + model.outputs)
    for layer in range(model.layers):
        below = model.hidden if model.tokens else model.features
        trained = 2 + (layer > 0 or model.tokens)
        for ways, steps, width, unwanted in (
            (2, source, 2 * hidden if layer else below, 1),
            (1, length - source, hidden if layer else below, 0),
        ):
            products = trained * steps * width + (3 * steps - unwanted) * hidden
            total += ways * rows * products * GATES * hidden
    return total


COUNTS = {"attention": count_attention, "transformer": count_transformer}
"""By the family of an architecture."""
