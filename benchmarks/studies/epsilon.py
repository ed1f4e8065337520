"""How far one misplaced epsilon moves a training run: an adaptive optimizer's, under the root instead of beside it.

Both runs are the reference implementation's, in float64, from the same weights, on the same batches, under the same
clip. They differ in where the optimizer adds its epsilon: beside the root, as in PyTorch and in mode matched, or where
Keras adds it. What rounding alone does is shown by a permuted replicate beside them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from farreach.benchmarks.matrix.case import Case
from farreach.frameworks import base, weights
from farreach.frameworks.base import Array, Cell, Model, Optimizer, Weights
from farreach.frameworks.reference.clip import clip_gradients
from farreach.frameworks.reference.optimizers import SLOTS, update_weights
from farreach.frameworks.reference.recurrent import compute_gradients
from farreach.tasks.base import Batch

Update = Callable[..., tuple[Weights, tuple[Weights, ...]]]

STEPS, LENGTH, HIDDEN, BATCH, RATE, THRESHOLD = 200, 20, 32, 32, 3e-3, 0.5
CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")
OPTIMIZERS: tuple[Optimizer, ...] = ("rmsprop", "adam")

TITLE = "What one misplaced epsilon does"
SENTENCE = (
    f"The adding problem, T = {LENGTH}, {HIDDEN} hidden units, batch {BATCH}, learning rate {RATE:g}, clip norm "
    f"{THRESHOLD:g}, {STEPS} steps, seed 0, float64, the reference implementation. The one run adds the optimizer's "
    "epsilon beside the root, as PyTorch does, the other where Keras does: rmsprop under the root, adam before the "
    "correction of the bias. *apart* is the largest factor between the two losses of a step, *at step* where that is, "
    "and *median apart* the median factor over all steps. *replicate apart* is the largest factor where nothing "
    "differs but the order of the hidden units: what rounding does."
)


def measure_epsilons() -> pd.DataFrame:
    """Return a line for each optimizer and cell: how far apart the losses are."""
    return pd.DataFrame([_compare_runs(optimizer, cell) for optimizer in OPTIMIZERS for cell in CELLS])


def misplace_epsilon(
    optimizer: Optimizer,
    weights: Weights,
    gradients: Weights,
    slots: tuple[Weights, ...],
    *,
    steps: int,
    learning_rate: float,
) -> tuple[Weights, tuple[Weights, ...]]:
    """Return updated weights and slots as `update_weights` does, with the epsilon where Keras adds it.

    Source: `keras.optimizers.RMSprop` and `keras.optimizers.Adam`, whose documentation names it "epsilon hat".
    """
    _, slots = update_weights(optimizer, weights, gradients, slots, steps=steps, learning_rate=learning_rate)
    if optimizer == "rmsprop":
        (s,) = slots
        changes = {name: g / np.sqrt(s[name] + base.RMSPROP_EPSILON) for name, g in gradients.items()}
    else:
        (m, v), (first, second) = slots, base.ADAM_DECAYS
        rate = np.sqrt(1 - second**steps) / (1 - first**steps)
        changes = {name: rate * m[name] / (np.sqrt(v[name]) + base.ADAM_EPSILON) for name in m}
    return {name: w - learning_rate * changes[name] for name, w in weights.items()}, slots


def train_freely(
    model: Model, batches: list[Batch], optimizer: Optimizer, update: Update, *, replicate: int = 0
) -> Array:
    """Return the loss of each step of a run of the reference implementation with an update of one's own."""
    trained = weights.permute_hidden(model, weights.draw(model, 0), replicate)
    slots: tuple[Weights, ...] = ({name: np.zeros_like(value) for name, value in trained.items()},) * SLOTS[optimizer]
    losses = []
    for step, batch in enumerate(batches, 1):
        loss, gradients, _ = compute_gradients(model, trained, batch)
        gradients, *_ = clip_gradients(
            "norm", gradients, THRESHOLD, weights=trained, names=[*trained], history=np.zeros(0)
        )
        trained, slots = update(optimizer, trained, gradients, slots, steps=step, learning_rate=RATE)
        losses.append(loss)
    return np.array(losses)


def _compare_runs(optimizer: Optimizer, cell: Cell) -> dict[str, Any]:
    case = Case(
        task="adding",
        parameters=(("T", LENGTH),),
        framework="reference",
        path="numpy",
        cell=cell,
        hidden=HIDDEN,
        clip="norm",
        threshold=THRESHOLD,
        optimizer=optimizer,
        learning_rate=RATE,
    )
    model, batches = case.model(), list(itertools.islice(case.load().batches(0, BATCH), STEPS))
    beside, misplaced, replicate = (
        train_freely(model, batches, optimizer, update, replicate=at)
        for update, at in ((update_weights, 0), (misplace_epsilon, 0), (update_weights, 1))
    )
    apart, rounding = (np.exp(np.abs(np.log(run / beside))) for run in (misplaced, replicate))
    return {
        "optimizer": optimizer,
        "cell": cell,
        "apart": f"{apart.max():.4g}",
        "at step": int(apart.argmax()) + 1,
        "median apart": f"{np.median(apart):.6g}",
        "replicate apart": f"{rounding.max():.7g}",
    }
