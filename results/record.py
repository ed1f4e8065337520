"""The record of one case: a flat, versioned row; and the curves that lie beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

SCHEMA = 1
"""Version of the row; raised when a column changes its meaning."""

METRIC = "metric."
"""Prefix of the columns that hold a task's own metrics at the end of training."""

TIMES = ("imports", "compile", "data", "training", "evaluation", "probes", "other")
"""The kinds of wall time that a run is divided into; useful are training and evaluation."""

POINTS = ("start", "middle", "end")
"""The points of training at which a record says how far the gradient reached."""

FLOW = ("step", "layer", "time", "h", "c")
"""Columns of a flow: training step (updates done), layer and time step from 0, norms of dL/dh_t and dL/dc_t (lstm)."""

SPECTRA = ("step", "layer", "gate", "radius", "sigma")
"""Columns of the spectra: spectral radius and largest singular value of each gate's recurrent matrix."""

FIRST_NAMES = {"replicate": "renumbering"}
"""Columns that once had another name: a key stays a hash with that name, and a file that has it is still read."""

Status = Literal["finished", "diverged"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What one case gave, and everything that one needs to know to believe it or repeat it.

    Identity (the case): task to path. Result: status to weights_sha256. Times in seconds of wall
    time. Environment: the rest. None stands for "does not apply", and for a non-finite figure.
    """

    key: str
    suite: str
    schema: int = SCHEMA
    # The case.
    task: str
    parameters: str  # the task's parameters as JSON, keys sorted
    task_version: int
    metric_version: int = 1  # of what the task's evaluation says
    framework: str
    cell: str
    activation: str
    layers: int
    radius: float = 1.0  # spectral radius of the initial recurrent blocks
    hidden: int
    clip: str  # none, norm, value
    threshold: float | None
    regulariser: str = "none"  # none, l1, l2, omega: a penalty in what is differentiated
    strength: float | None = None
    optimizer: str
    learning_rate: float
    batch: int
    steps: int
    evaluate_every: int
    seed: int
    replicate: int  # 0: as drawn; k > 0: the hidden units permuted by permutation k
    device: str
    dtype: str
    mode: str
    path: str
    threads: int
    # The result.
    status: Status
    diverged_at: int | None  # first step (from 1) with a non-finite loss or gradient norm
    loss: float | None  # on the evaluation set, at the end
    floor: float
    unit: str = ""  # of loss and floor, as the task names it
    metric: str  # the headline metric's name
    score: float | None  # and its value at the end
    solved: bool | None  # None where the task has no criterion
    steps_to_solve: int | None
    clip_fraction: float  # share of the steps on which the clip changed the gradient
    clipped_elements: float  # mean share of the gradient's elements that it changed
    norm_before_median: float | None
    norm_before_max: float | None
    steps_done: int  # less than steps where the case diverged
    metrics: dict[str, float | None]
    weights_sha256: str
    # How far the gradient reached on the probe; see results/flow.py. None where it was not looked at.
    steps_before: int | None = None  # steps before the last scored group
    reach_start: float | None = None  # share of them that dL/dh_t of the first layer reaches, 0 to 1
    reach_middle: float | None = None
    reach_end: float | None = None
    cell_reach_start: float | None = None  # the same of the lstm's dL/dc_t
    cell_reach_middle: float | None = None
    cell_reach_end: float | None = None
    growth_start: float | None = None  # change of ln norm a step back in time, with its 95 % interval
    growth_start_low: float | None = None
    growth_start_high: float | None = None
    growth_middle: float | None = None
    growth_middle_low: float | None = None
    growth_middle_high: float | None = None
    growth_end: float | None = None
    growth_end_low: float | None = None
    growth_end_high: float | None = None
    # What a diagnosis rests on beside that; see results/diagnosis.py.
    scale_median: float | None = None  # norm after the clip over norm before it, median over steps
    moved: float | None = None  # |weights at the end - at the start| / |weights at the start|, L2 over all
    gain_late: float | None = None  # mean training loss of the middle third minus that of the last third
    # Times.
    step_seconds: float  # median over chunks of a chunk's wall time divided by its steps
    seconds_compile: float
    seconds_data: float
    seconds_training: float
    seconds_evaluation: float
    seconds_probes: float | None = None
    seconds_other: float
    cpu_to_wall: float  # processor time over wall time while training
    # The environment.
    framework_version: str
    kernel: str  # the recurrent kernel that ran
    precision: str  # what float32 products really use (TF32 or not)
    numerics: int  # version of our own numerical code
    certificate: str | None = None  # the certificate under which the row is comparable, if there is one
    device_name: str
    device_software: str = ""  # versions of an accelerator's libraries; empty on the CPU
    device_settings: str = ""  # what was set so that it repeats itself bit for bit; the CPU needs nothing
    processor: str
    cores: int
    jobs: int  # worker processes that ran at the same time
    python: str
    numpy: str
    platform: str
    commit: str
    command: str
    started: str  # ISO 8601, UTC

    @property
    def skill(self) -> float | None:
        """1 - loss / floor: 0 is trivial, 1 is perfect, None where the case diverged."""
        return None if self.loss is None else 1 - self.loss / self.floor

    def row(self) -> dict[str, Any]:
        """Return the flat row: every field, each metric under its prefix, and the skill."""
        row = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "metrics"}
        return row | {"skill": self.skill} | {METRIC + name: value for name, value in self.metrics.items()}


def use_first_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields under their `FIRST_NAMES`, as every key hashes them."""
    return {FIRST_NAMES.get(name, name): value for name, value in fields.items()}


def use_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a file, which may be older, under the names of today."""
    names = {first: name for name, first in FIRST_NAMES.items() if name not in fields}
    return {names.get(name, name): value for name, value in fields.items()}


def number(value: float) -> float | None:
    """Return a finite number as it is, anything else as None."""
    return float(value) if math.isfinite(value) else None
