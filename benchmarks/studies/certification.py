"""The certificate: each framework is verified against the reference, step by step, before it is compared.

Two correct programs drift apart when they run freely: rounding grows like any perturbation. So
equivalence is proved from the reference's own state. At each of `STEPS` steps the framework is
given the weights and the optimizer's memory of `farreach.frameworks.reference`, both do one update on the same batch,
and the loss, the two gradient norms and the updated weights must agree within `TOLERANCE`, relative, in
float64. Then both run freely, and their drift is measured beside that of a permuted replicate of the
reference: where the replicate stays below `TAME`, the framework must stay below `TOLERANCE`.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from typing import Any

import numpy as np

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.training import train
from farreach.frameworks import reference, weights
from farreach.frameworks.base import (
    Activation,
    Array,
    Cell,
    Clip,
    Device,
    Framework,
    Model,
    Optimizer,
    Regulariser,
    Training,
)
from farreach.tasks.base import Batch

STEPS = 200
TOLERANCE = 1e-10
TAME = 1e-12

ROWS, TIME, HIDDEN = 4, 10, 8
RATES: dict[Optimizer, float] = {"sgd": 0.05, "momentum": 0.01, "rmsprop": 1e-3, "adam": 3e-3}
CLIPS = {"none": None, "norm": Clip("norm", 0.2), "value": Clip("value", 0.02)}
PENALTIES = {
    "none": None,
    "l1": Regulariser("l1", 1e-3),
    "l2": Regulariser("l2", 1e-3),
    "omega": Regulariser("omega", 0.1),
}
CELLS: tuple[tuple[Cell, Activation], ...] = (
    ("rnn", "tanh"),
    ("rnn", "relu"),
    ("rnn", "sigmoid"),
    ("lstm", "tanh"),
    ("gru", "tanh"),
)

COMPARED = ("loss", "norm_before", "norm_after", "weights")


@dataclasses.dataclass(frozen=True)
class Check:
    """One framework against the reference, on one kind of model and one kind of update."""

    framework: str
    path: str
    cell: Cell
    activation: Activation
    layers: int
    inputs: str  # vectors, or tokens: an embedding, with tokens that repeat within a batch
    optimizer: Optimizer
    clip: str
    regulariser: str
    device: Device = "cpu"

    def model(self) -> Model:
        """Return the model: regression at the last step of vectors, 5 classes at the last 4 steps of tokens."""
        tokens = self.inputs == "tokens"
        return Model(
            cell=self.cell,
            activation=self.activation,
            layers=self.layers,
            hidden=HIDDEN,
            tokens=tokens,
            features=6 if tokens else 2,
            outputs=5 if tokens else 1,
            scored=4 if tokens else 1,
            loss="cross_entropy" if tokens else "mse",
        )

    def training(self) -> Training:
        """Return the recipe."""
        return Training(self.optimizer, RATES[self.optimizer], CLIPS[self.clip], PENALTIES[self.regulariser])


def list_checks(framework: str, device: Device = "cpu") -> list[Check]:
    """Return every check of a framework on its default paths on a device.

    Every cell x optimizer x clip x one and two layers on vectors; every cell x optimizer on tokens, under the
    norm clip; every cell under each penalty; and the rnn under Omega.
    """
    kinds = [kind for kind in CELLS if kind[0] in registry.list_cells(framework, device)]
    plain = itertools.product(kinds, (1, 2), ("vectors",), RATES, CLIPS, ("none",))
    tokens = itertools.product(kinds, (1,), ("tokens",), RATES, ("norm",), ("none",))
    penalised = itertools.product(kinds, (1,), ("vectors",), ("adam",), ("norm",), ("l1", "l2"))
    rnns = [kind for kind in kinds if kind[0] == "rnn"]
    omega = itertools.product(rnns, (1, 2), ("vectors",), ("sgd",), ("norm",), ("omega",))
    return [
        Check(
            framework=framework,
            path=registry.list_paths(framework, device, cell)[0],
            cell=cell,
            activation=activation,
            layers=layers,
            inputs=inputs,
            optimizer=optimizer,  # type: ignore[arg-type]
            clip=clip,
            regulariser=regulariser,
            device=device,
        )
        for (cell, activation), layers, inputs, optimizer, clip, regulariser in (*plain, *tokens, *penalised, *omega)
    ]


def measure_differences(check: Check, steps: int = STEPS) -> dict[str, float]:
    """Return the worst relative differences of one check: `COMPARED`, then ``drift`` and ``copy_drift``."""
    model, training = check.model(), check.training()
    batches = draw_batches(model, steps)
    right = _build_reference(model, training)
    checked = importlib.import_module(f"farreach.frameworks.{check.framework}").Framework(
        model,
        training,
        weights.draw(model, 0),
        device=check.device,
        dtype="float64",
        threads=1,
        path=check.path,
    )
    checked.prepare(batches[:1], batches[0].inputs)
    start = right.state()
    worst = dict.fromkeys(COMPARED, 0.0)
    for batch in batches:
        checked.restore(right.state())
        ours, theirs = right.train([batch]), checked.train([batch])
        for part in ("loss", "norm_before", "norm_after"):
            difference = _compare_values(getattr(theirs, part)[0], getattr(ours, part)[0])
            worst[part] = max(worst[part], difference)
        worst["weights"] = max(worst["weights"], _compare_weights(checked, right))
    right.restore(start)
    checked.restore(start)
    replicate = _build_reference(model, training, replicate=1)
    free, drifted, permuted = (_train_freely(one, batches) for one in (right, checked, replicate))
    return worst | {"drift": _measure_drift(drifted, free), "copy_drift": _measure_drift(permuted, free)}


def is_within_tolerance(result: dict[str, float]) -> bool:
    """Say whether a check stays within the tolerance; a NaN never does."""
    in_step = all(result[part] <= TOLERANCE for part in COMPARED)
    return in_step and (result["copy_drift"] >= TAME or result["drift"] <= TOLERANCE)


def draw_batches(model: Model, steps: int) -> list[Batch]:
    """Draw the batches: standard normal vectors, or so few different tokens that each repeats."""
    random = np.random.default_rng(np.random.SeedSequence(entropy=20_260_103))

    def one() -> Batch:
        mask = (random.random((ROWS, model.scored)) < 0.8).astype(np.float32)  # noqa: PLR2004
        mask[:, 0] = 1
        if model.tokens:
            tokens = random.integers(0, model.features, (ROWS, TIME), dtype=np.int32)
            return Batch(tokens, random.integers(0, model.outputs, (ROWS, model.scored), dtype=np.int32), mask)
        inputs = random.standard_normal((ROWS, TIME, model.features), dtype=np.float32)
        return Batch(inputs, random.standard_normal((ROWS, model.scored, model.outputs), dtype=np.float32), mask)

    return [one() for _ in range(steps)]


def _build_reference(model: Model, training: Training, replicate: int = 0) -> reference.Framework:
    initial = weights.permute_hidden(model, weights.draw(model, 0), replicate)
    return reference.Framework(model, training, initial, device="cpu", dtype="float64", threads=1, path="numpy")


def _train_freely(framework: Framework, batches: list[Batch]) -> Array:
    """Return the losses of a free run, one batch per call so that no further shape is compiled."""
    return np.array([framework.train([batch]).loss[0] for batch in batches])


def _compare_values(value: float, right: float) -> float:
    """Return the relative difference; 0 where both are equal, infinity where one alone is not finite."""
    if value == right or (np.isnan(value) and np.isnan(right)):
        return 0.0
    difference = abs(value - right) / abs(right)
    return float(difference) if np.isfinite(difference) else float("inf")


def _compare_weights(checked: Framework, right: Framework) -> float:
    """Return the L2 norm of the difference over the L2 norm of the reference's weights."""
    theirs, ours = checked.weights(), right.weights()
    difference = np.sqrt(sum(np.square(theirs[name] - ours[name]).sum() for name in ours))
    relative = float(difference / np.sqrt(sum(np.square(value).sum() for value in ours.values())))
    return relative if np.isfinite(relative) else float("inf")


def _measure_drift(losses: Array, right: Array) -> float:
    return max(_compare_values(value, expected) for value, expected in zip(losses, right, strict=True))


HORIZON_STEPS = 1_000
HORIZON = 0.01
"""Two curves have parted at the first step at which they differ by more than 1 %."""


def find_horizon(framework: str, cell: Cell, device: Device = "cpu") -> dict[str, Any]:
    """Return the steps at which float32 curves part by more than 1 %, None where they never do.

    The adding problem, T = 50, clip norm 0.1: the framework in float32 against the reference in float64, and
    against its own permuted replicate, which shows what rounding alone does.
    """
    case = Case(
        task="adding",
        parameters=(("T", 50),),
        framework=framework,
        cell=cell,
        clip="norm",
        threshold=0.1,
        steps=HORIZON_STEPS,
        device=device,
        path=registry.list_paths(framework, device, cell)[0],
    )
    right = dataclasses.replace(case, framework=registry.REFERENCE, device="cpu", path="numpy", dtype="float64")
    replicate = dataclasses.replace(case, replicate=1)
    runs = (train(one, lambda _: None) for one in (case, right, replicate))
    single, exact, permuted = (np.array(run.curves["loss"]) for run in runs)
    return {"cell": cell, "judge": _find_parting(single, exact), "copy": _find_parting(single, permuted)}


def _find_parting(one: Array, other: Array) -> int | None:
    steps = min(len(one), len(other))
    apart = ~(np.abs(one[:steps] - other[:steps]) <= HORIZON * np.abs(other[:steps]))
    return int(np.argmax(apart)) + 1 if apart.any() else None
