"""The network and the training recipe that a case stands for: what is handed to a framework."""

from __future__ import annotations

from typing import Any, cast

from farreach.frameworks.base import Activation, Cell, Clip, ClipKind, Initial, Model, Optimizer, Regulariser, Training
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.schedule import Schedule
from farreach.results.record import Case
from farreach.tasks.base import Task


def make_model(case: Case, task: Task) -> Model:
    """Return the network of a case that fits its task."""
    layout = LAYOUTS[case.cell]
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
        length=task.length if layout.needs_length else 0,
        heads=case.heads or 0,
        source=task.source_steps if layout.needs_source else 0,
        padding=None if layout.has_states else task.padding,
    )


def list_initial(case: Case) -> dict[str, Any]:
    """Return how the first weights of a case are drawn, as `farreach.frameworks.weights.draw` takes it."""
    return {
        "radius": case.radius,
        "initial": cast("Initial", case.initial),
        "chrono_length": case.chrono_length,
        "forget_bias": case.forget_bias,
    }


def make_training(case: Case) -> Training:
    """Return the recipe of a case: optimizer, learning rate and schedule, clip and regulariser."""
    limit = None if case.threshold is None else Clip(cast("ClipKind", case.clip), case.threshold)
    penalty = None if case.strength is None else Regulariser(cast("Any", case.regulariser), case.strength)
    return Training(
        cast("Optimizer", case.optimizer),
        case.learning_rate,
        limit,
        penalty,
        steps=case.steps,
        decay=case.decay,
        accumulator=case.accumulator,
        weight_decay=case.weight_decay or 0.0,
        schedule=make_schedule(case),
    )


def make_schedule(case: Case) -> Schedule | None:
    """Return the schedule of a case's learning rate over all the steps that it plans, None where that is constant."""
    if case.schedule == "constant":
        return None
    given = {"warmup": case.warmup, "end": case.rate_end, "every": case.rate_every, "factor": case.rate_factor}
    there: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return Schedule(cast("Any", case.schedule), case.steps, **there)
