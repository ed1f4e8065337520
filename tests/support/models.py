"""Small models, batches for them, and a framework to train them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from farreach.frameworks import weights
from farreach.frameworks.base import Framework, Model, Training, Weights
from farreach.frameworks.layouts import LAYOUTS
from farreach.tasks.base import Batch
from tests.support.paths import quickest

CELLS = ("rnn", "lstm", "gru")
OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam")
ROWS, TIME = 8, 12


def make_model(
    cell: str = "lstm", *, tokens: bool = False, layers: int = 1, activation: str = "tanh", length: int = TIME
) -> Model:
    """Return a model of 6 hidden units: regression of a pair of numbers, or 5 classes at the last 4 steps of tokens."""
    kind = {"features": 7, "outputs": 5, "scored": 4} if tokens else {"features": 3, "outputs": 2, "scored": 1}
    loss = "cross_entropy" if tokens else "mse"
    own = list_own(cell, length, kind["scored"], tokens=tokens)
    return Model(cell=cell, hidden=6, loss=loss, tokens=tokens, layers=layers, activation=activation, **kind, **own)


def list_own(cell: str, length: int, scored: int, *, tokens: bool) -> dict[str, Any]:
    """Return what some architectures alone ask of a model: the length, heads, a source, and the token of padding."""
    layout = LAYOUTS[cell]
    return {
        "length": length if layout.needs_length else 0,
        "heads": 2 if layout.needs_heads else 0,
        "source": min(length // 2, length - scored) if layout.needs_source else 0,
        "padding": 0 if tokens and not layout.has_states else None,
    }


def make_batches(model: Model, count: int = 10, seed: int = 0, *, rows: int = ROWS, time: int = TIME) -> list[Batch]:
    """Return random batches, some of whose scored steps are masked."""
    random = np.random.default_rng(seed)

    def make_batch() -> Batch:
        mask = (random.random((rows, model.scored)) < 0.8).astype(np.float32)
        mask[:, 0] = 1
        if model.tokens:
            tokens = random.integers(0, model.features, (rows, time), dtype=np.int32)
            return Batch(tokens, random.integers(0, model.outputs, (rows, model.scored), dtype=np.int32), mask)
        inputs = random.standard_normal((rows, time, model.features), dtype=np.float32)
        return Batch(inputs, random.standard_normal((rows, model.scored, model.outputs), dtype=np.float32), mask)

    return [make_batch() for _ in range(count)]


def build_framework(
    module: ModuleType,
    model: Model,
    training: Training,
    *,
    initial: Weights | None = None,
    dtype: str = "float64",
    path: str | None = None,
) -> Framework:
    """Return a framework on the CPU, by default from the weights of seed 0 on the path that compiles fastest."""
    path = path or quickest(module.__name__.rpartition(".")[2], model.cell)
    initial = weights.draw(model, 0) if initial is None else initial
    return module.Framework(model, training, initial, device="cpu", dtype=dtype, threads=1, path=path)


def measure_distance(one: Weights, other: Weights) -> float:
    """Return the L2 norm of the difference over all weights."""
    return float(np.sqrt(sum(np.square(one[name] - other[name]).sum() for name in one)))
