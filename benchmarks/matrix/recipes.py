"""The network and the training recipe that a case stands for: what is handed to a framework."""

from __future__ import annotations

from typing import Any, cast

from farreach.frameworks.base import Activation, Cell, Clip, ClipKind, Model, Optimizer, Regulariser, Training
from farreach.results.record import Case
from farreach.tasks.base import Task


def make_model(case: Case, task: Task) -> Model:
    """Return the network of a case that fits its task."""
    return Model(
        cell=cast("Cell", case.cell),
        activation=cast("Activation", case.activation),
        layers=case.layers,
        hidden=case.hidden,
        features=task.features,
        tokens=task.tokens,
        outputs=task.outputs,
        scored=task.scored,
        loss=task.loss,
    )


def make_training(case: Case) -> Training:
    """Return the recipe of a case: optimizer, learning rate, clip and regulariser."""
    limit = None if case.threshold is None else Clip(cast("ClipKind", case.clip), case.threshold)
    penalty = None if case.strength is None else Regulariser(cast("Any", case.regulariser), case.strength)
    return Training(cast("Optimizer", case.optimizer), case.learning_rate, limit, penalty)
