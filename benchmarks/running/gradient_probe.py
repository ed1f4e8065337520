"""The probe: the gradient through time at chosen points of training, on one fixed batch.

Before the first step and after every evaluation, but not more often than every `EVERY` steps, so that it costs
little; the batch is the first rows of the evaluation set, and its loss counts the last scored group alone.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import numpy as np

from farreach.benchmarks.matrix import registry
from farreach.frameworks.base import Learner, Model, Weights
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.parts import MeasureFlow
from farreach.results.record import FLOW, INPUT, SPECTRA
from farreach.tasks.base import Batch, Task

ROWS = 32
EVERY = 100


class Observer:
    """Who looks at a case while it is trained.

    No framework, or one without a file ``gradient_flow.py``, is not looked at: in mode native, say, whose weights are
    not in the shared layout.

    Attributes:
        flow: columns `farreach.results.record.FLOW` and `INPUT`, one row a training step probed, layer and time step.
        spectra: columns `farreach.results.record.SPECTRA`.

    """

    def __init__(self, framework: str | None, task: Task, model: Model) -> None:
        self.measure_flow: MeasureFlow | None = None
        if framework and registry.has_part(framework, "gradient_flow"):
            self.measure_flow = importlib.import_module(f"farreach.frameworks.{framework}.gradient_flow").measure_flow
        self.model, self.batch = model, make_probe_batch(task)
        self.flow: dict[str, list[Any]] = {name: [] for name in (*FLOW, INPUT)}
        self.spectra: dict[str, list[Any]] = {name: [] for name in SPECTRA}

    def prepare(self, framework: Learner) -> None:
        """Compile the probe: one that is thrown away."""
        if self.measure_flow is not None:
            self.measure_flow(framework, self.batch)

    def look(self, framework: Learner, done: int) -> None:
        """Measure the flow and the spectra after `done` updates."""
        if self.measure_flow is None:
            return
        flow = self.measure_flow(framework, self.batch)
        steps = len(flow.x)
        # Where there is no h_t the input stands for it, as in what the recorder of a loop of one's own writes.
        for layer, h in enumerate(flow.h if len(flow.h) else [flow.x]):
            c = [None] * steps if flow.c is None else flow.c[layer].tolist()
            x = [None] * steps if layer else flow.x.tolist()
            whole = ([done] * steps, [layer] * steps, range(steps), h.tolist(), c, x)
            for name, values in zip((*FLOW, INPUT), whole, strict=True):
                self.flow[name].extend(values)
        for line in measure_spectra(self.model, framework.weights()):
            for name, value in zip(SPECTRA, (done, *line), strict=True):
                self.spectra[name].append(value)


def is_due(done: int, *, last: bool) -> bool:
    """Say whether to look after `done` updates, the `last` ones or not, where an evaluation has just been made."""
    return last or done % EVERY == 0


def count_steps_before(task: Task) -> int:
    """Return how many steps come before the last scored group; it starts at this step, from 0."""
    return task.length - task.recalled


def make_probe_batch(task: Task) -> Batch:
    """Return the first `ROWS` evaluation examples with a mask that counts the last scored group alone."""
    whole = task.evaluation()
    first = Batch(*(getattr(whole, field.name)[:ROWS] for field in dataclasses.fields(Batch)))
    mask = first.mask.copy()
    mask[:, : task.scored - task.recalled] = 0
    return dataclasses.replace(first, mask=mask)


def measure_spectra(model: Model, weights: Weights) -> list[tuple[int, str, float, float]]:
    """Return layer, gate, spectral radius and largest singular value of every recurrent matrix [H, H].

    Of recurrent factors of single units, a diagonal matrix, both are the largest size of a factor, under ``h``. Where
    they depend on what comes in there are none.
    """
    lines: list[tuple[int, str, float, float]] = []
    layout = LAYOUTS[model.cell]
    if layout.find_diagonal:
        wide = {name: value.astype(np.float64) for name, value in weights.items()}
        sizes = (float(layout.find_diagonal(wide, f"layer{layer}").max()) for layer in range(model.layers))
        return [(layer, "h", size, size) for layer, size in enumerate(sizes) if np.isfinite(size)]
    matrices = layout.matrices
    for layer in range(model.layers if matrices else 0):
        whole = weights[f"layer{layer}.recurrent"].astype(np.float64)
        gates = np.stack(np.split(whole, len(matrices), axis=1))
        if not np.isfinite(gates).all():
            continue
        radii = np.abs(np.linalg.eigvals(gates)).max(axis=-1)
        # The largest eigenvalue of U^T U is the square of the largest singular value, and cheaper to have.
        sigmas = np.sqrt(np.linalg.eigvalsh(gates.swapaxes(-1, -2) @ gates)[:, -1])
        lines += [(layer, *line) for line in zip(matrices, radii.tolist(), sigmas.tolist(), strict=True)]
    return lines
