"""Model FLOPs: the floating-point operations that one training step asks for, by formula.

Counted are matrix products alone, 2 m n k for [m, k] @ [k, n], a multiplication and an addition each: the convention
of model FLOPs utilisation (Chowdhery et al. 2022, "PaLM", appendix B). Left out is all that grows with the number
of elements rather than with products of widths: biases, activations, gates, the loss, the penalty, the norm, the clip
and the optimizer. For few hidden units that is a good part of a step's work, so that a share of peak is a lower bound.
"""

from __future__ import annotations

from farreach.benchmarks.speed.flops_attention import COUNTS
from farreach.frameworks.base import Model
from farreach.frameworks.layouts import LAYOUTS, list_weights

PRODUCT = 2
"""The axes of a weight that is multiplied by."""


def count_flops(model: Model, batch: int, length: int) -> int:
    """Return the floating-point operations of one training step, forward and backward, in matrix products.

    With B sequences of T steps, H hidden units, G gates (rnn 1, lstm 4, gru 3, mingru 2, minlstm 3, indrnn 1), S scored
    steps and O outputs, and with D inputs to a layer (H above the first layer and above an embedding, else the task's
    features):

    ==================  ===================  ==============================  ================================
    product             forward              gradient of the weights         gradient of what came in
    ==================  ===================  ==============================  ================================
    input, x W          2 B T D G H          2 B T D G H                     2 B T D G H, see below
    recurrent, h U      2 B T H G H          2 B T H G H                     2 B (T - 1) H G H
    within a layer      2 B T' H H           2 B T' H H                      2 B T' H H
    output, h V         2 B S H O            2 B S H O                       2 B S H O
    ==================  ===================  ==============================  ================================

    The rows above the output's are for each layer. The gradient of a layer's input is asked for where something trained
    lies below: another layer, or an embedding, but not the task's numbers. The first recurrent product meets h_0 = 0
    and is counted, as every framework does it; the gradient of h_0 is wanted by nobody. rnn, lstm and gru alone have a
    recurrent product. An lru has three input products of H columns (both parts of B, and D), and within a layer three
    more (both parts of C, and the gate); T' is T, and S in the last layer, where D is of S steps too. An embedding is a
    look-up, and its gradient a sum of rows: no products. All three recurrent blocks of a gru are whole products, since
    its reset gate comes after the product (`farreach.frameworks.layouts`).

    Attention and a transformer are counted by `farreach.benchmarks.speed.flops_attention`.

    Args:
        model: the network.
        batch: B, sequences per step.
        length: T, time steps of a sequence.

    """
    family = LAYOUTS[model.cell].family
    if family in COUNTS:
        return COUNTS[family](model, batch, length)
    total = 0
    for weight in list_weights(model):
        if len(weight.shape) != PRODUCT or not weight.is_kernel:
            continue
        rows, columns = weight.shape
        layer, _, part = weight.name.partition(".")
        kept = model.scored if layer == f"layer{model.layers - 1}" else length
        if layer == "output":
            times = 3 * model.scored
        elif part == "recurrent":
            times = 3 * length - 1
        elif part.endswith("input") or part == "skip.kernel":
            times = (2 + (layer != "layer0" or model.tokens)) * (kept if part == "skip.kernel" else length)
        else:
            times = 3 * kept
        total += times * 2 * batch * rows * columns
    return total
