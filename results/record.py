"""The record of one case, composed of the case, its result, its times and its environment; and the names beside it.

Every field is declared once, here: its name, its type and a `Fact`, which says in a line what it is. The columns of a
row, the check of a row, the JSON Schema, what a suite file may set and what ``--only`` narrows are made from them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import Annotated, Any, Literal, Self

SCHEMA = 1
"""Version of the row; raised when a column changes its meaning."""

METRIC = "metric."
"""Prefix of the columns that hold a task's own metrics at the end of training."""

TIMES = ("imports", "compile", "data", "training", "evaluation", "probes", "other")
"""The kinds of wall time that a run is divided into; useful are training and evaluation."""

CONFIRMATIONS = 3
"""A case is solved when its criterion is met at this many consecutive evaluations."""

POINTS = ("start", "middle", "end")
"""The points of training at which a record says how far the gradient reached."""

FLOW = ("step", "layer", "time", "h", "c")
"""Columns of a flow: training step (updates done), layer and time step from 0, norms of dL/dh_t and dL/dc_t (lstm).

Where there is no state h_t at each step, as in attention and a transformer, dL/dx_t of the input stands for dL/dh_t.
"""

INPUT = "x"
"""One more column, which older flows lack: the norm of dL/dx_t of the model's input, beside the first layer."""

SPECTRA = ("step", "layer", "gate", "radius", "sigma")
"""Columns of the spectra: spectral radius and largest singular value of each gate's recurrent matrix."""

LATER: set[tuple[str, Any]] = {
    *(("radius", 1.0), ("metric_version", 1), ("initial", "default"), ("until", "steps")),
    *(("chrono_length", None), ("forget_bias", None), ("heads", None)),
    *(("decay", None), ("accumulator", 0.0), ("weight_decay", None)),
    *(("replicas", 1), ("microbatches", 1), ("clip_at", "after")),
    *(("schedule", "constant"), ("warmup", 0), ("rate_end", 0.0), ("rate_every", None), ("rate_factor", None)),
}
"""Facts that joined later, and the value that every case before them had: with it a key stays what it was."""

MADE_WITH = ("task_version", "metric_version", "framework_version", "schema")
"""Columns that the key of a case is a hash of beside the case: the versions that made it."""

ALL_NUMERICS = range(1, 10)
"""What else a key is a hash of, as ``numerics``: 1, or what a row of before there was a digest no longer says."""

STRENGTHS = {"clip": "threshold", "regulariser": "strength"}
"""The column that says how strong another is: a positive number, and None where that is ``none``."""

STANDS_FOR = {"forget_bias": 1.0, "decay": 0.99}
"""What None stands for in columns where it is a number of its own: the setting is None, however it is asked for."""

BELONGS_TO: dict[str, tuple[str, tuple[str, ...]]] = {
    "heads": ("cell", ("transformer",)),
    "decay": ("optimizer", ("rmsprop",)),
    "accumulator": ("optimizer", ("rmsprop", "adagrad")),
    "weight_decay": ("optimizer", ("adamw",)),
    "warmup": ("schedule", ("cosine",)),
    "rate_end": ("schedule", ("cosine",)),
    "rate_every": ("schedule", ("step",)),
    "rate_factor": ("schedule", ("step",)),
}
"""Numbers that belong to some words of another column: under any other word they have their default."""

NEEDED = ("weight_decay", "rate_every", "rate_factor")
"""Those of them that their words cannot do without: positive numbers."""

FIRST_NAMES = {"replicate": "renumbering"}
"""Columns that once had another name: a key stays a hash with that name, and a file that has it is still read."""

FORMER = ("numerics", "certificate")
"""Columns that rows once had: a version raised by hand and a name, for which `digest` stands now; left out."""

Scalar = int | float | str | bool | None
Status = Literal["finished", "diverged"]
ContrastOutcome = Literal["solved", "diverged", "metric"]
"""What a contrast may be about."""


@dataclasses.dataclass(frozen=True)
class Fact:
    """What is declared of a field beside its name and its type.

    Attributes:
        doc: what the field is, in one line.
        least: the smallest value that a row may have, whatever ran; a whole number is never below 0.
        most: the largest.
        before: what a row says that was written before the field was there; ``...`` where every row has it.
        always: whether a run of the user's own has a value too; in its other columns None stands for "not known".

    """

    doc: str
    least: float | None = None
    most: float | None = None
    before: float | str | EllipsisType | None = ...
    always: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained, by whom, and how."""

    task: Annotated[str, Fact("The task: a file in tasks/.", always=True)]
    parameters: Annotated[
        tuple[tuple[str, Scalar], ...],
        Fact("The task's parameters, sorted by name; in a row a JSON object of plain values.", always=True),
    ] = ()
    framework: Annotated[str, Fact("The framework: a folder in frameworks/.", always=True)]
    cell: Annotated[str, Fact("The architecture of every layer, as `list architectures` names it.", always=True)]
    activation: Annotated[str, Fact("The activation of an rnn or indrnn; other cells have tanh.")] = "tanh"
    layers: Annotated[int, Fact("Recurrent layers.")] = 1
    heads: Annotated[int | None, Fact("Heads of a transformer; None for other cells and only then.", before=None)] = (
        None
    )
    radius: Annotated[
        float,
        Fact(
            "Spectral radius that the initial recurrent blocks are scaled to; 1 for an initial with its own.",
            0,
            before=1.0,
        ),
    ] = 1.0
    initial: Annotated[
        str,
        Fact(
            "How the first weights are drawn: default, chrono, irnn, sigmoid, basic_tanh or smart_tanh.",
            before="default",
        ),
    ] = "default"
    chrono_length: Annotated[
        int | None, Fact("T_max of initial chrono, in time steps, above 2; None for others.", before=None)
    ] = None
    forget_bias: Annotated[
        float | None, Fact("First bias of an lstm's forget gate; None stands for 1, or for chrono's.", before=None)
    ] = None
    hidden: Annotated[int, Fact("Hidden units of each layer.")] = 64
    clip: Annotated[str, Fact("The clip: none, norm, value, variable, agc, autoclip or backprop.", always=True)] = (
        "none"
    )
    threshold: Annotated[
        float | None, Fact("The clip's threshold (of autoclip a percentile); None for clip none and only then.", 0)
    ] = None
    regulariser: Annotated[
        str, Fact("The penalty in what is differentiated: none, l1, l2, omega or omega2 (rnn alone).", before="none")
    ] = "none"
    strength: Annotated[
        float | None, Fact("The penalty's factor; None for regulariser none and only then.", 0, before=None)
    ] = None
    optimizer: Annotated[str, Fact("The optimizer: sgd, momentum, rmsprop, adam, adagrad or adamw.")] = "adam"
    decay: Annotated[float | None, Fact("Decay of rmsprop's mean square; None stands for 0.99.", 0, 1, before=None)] = (
        None
    )
    accumulator: Annotated[
        float, Fact("What the squares of rmsprop and adagrad are added to at first; 0 for others.", 0, before=0.0)
    ] = 0.0
    weight_decay: Annotated[
        float | None, Fact("Weight decay of adamw; None for other optimizers and only then.", 0, before=None)
    ] = None
    learning_rate: Annotated[float, Fact("The learning rate; under a schedule the whole one.", 0)] = 3e-3
    schedule: Annotated[
        str,
        Fact("What the learning rate does: constant, cosine (after a linear warm-up) or step.", before="constant"),
    ] = "constant"
    warmup: Annotated[int, Fact("Updates of the warm-up of schedule cosine; 0 for others.", before=0)] = 0
    rate_end: Annotated[
        float, Fact("Share of the learning rate that schedule cosine falls to; 0 for others.", 0, 1, before=0.0)
    ] = 0.0
    rate_every: Annotated[
        int | None, Fact("Updates between two changes of schedule step; None for others and only then.", before=None)
    ] = None
    rate_factor: Annotated[
        float | None,
        Fact("What schedule step multiplies the rate by; None for others and only then.", 0, 1, before=None),
    ] = None
    batch: Annotated[int, Fact("Examples of a training batch, over all replicas and microbatches.")] = 32
    replicas: Annotated[int, Fact("Processes that each train on a part of every batch.", 1, before=1)] = 1
    microbatches: Annotated[
        int, Fact("Parts that each replica's part is divided into, one after another.", 1, before=1)
    ] = 1
    clip_at: Annotated[
        str,
        Fact(
            "What is clipped: the sum of the parts' gradients (after), or each before the sum (before).", before="after"
        ),
    ] = "after"
    steps: Annotated[int, Fact("Training steps, a multiple of evaluate_every.")] = 1_000
    until: Annotated[
        str,
        Fact(
            "When training ends: steps (after all of them), or solved (at the third evaluation that confirms it).",
            before="steps",
        ),
    ] = "steps"
    evaluate_every: Annotated[int, Fact("Steps between two evaluations.")] = 100
    seed: Annotated[int, Fact("Seed of the initial weights and of the training data.")] = 0
    replicate: Annotated[int, Fact("0: hidden units as drawn; k > 0: permuted replicate k.")] = 0
    device: Annotated[str, Fact("The device: cpu or cuda.")] = "cpu"
    dtype: Annotated[
        str, Fact("The precision: float32, float64, or with weights in float32 a mixed one, bfloat16 or float16.")
    ] = "float32"
    mode: Annotated[
        str,
        Fact(
            "matched: the same arithmetic everywhere; native: the framework's defaults; own: a user's run.", always=True
        ),
    ] = "matched"
    path: Annotated[str, Fact("One of the paths that the framework offers.")]
    threads: Annotated[int, Fact("Processor threads of the framework.")] = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What came out; None stands for "does not apply", and for a figure that is not finite."""

    task_version: Annotated[int, Fact("Version of the task's data.")]
    metric_version: Annotated[int, Fact("Version of what the task's evaluation says.", before=1)]
    status: Annotated[Status, Fact("finished, or diverged.")]
    diverged_at: Annotated[int | None, Fact("First step (from 1) with a non-finite loss or gradient norm.")]
    loss: Annotated[float | None, Fact("Loss on the evaluation set, at the end.")]
    floor: Annotated[float, Fact("Loss of the best answer that ignores the inputs.", 0)]
    unit: Annotated[str, Fact("Unit of loss and floor, as the task names it.", before="")]
    metric: Annotated[str, Fact("Name of the task's headline metric.")]
    score: Annotated[float | None, Fact("Value of the headline metric, at the end.")]
    solved: Annotated[bool | None, Fact("Criterion met at three evaluations in a row; None without a criterion.")]
    steps_to_solve: Annotated[int | None, Fact("Step of the first of those three evaluations.")]
    clip_fraction: Annotated[float, Fact("Share of the steps on which the clip changed the gradient.", 0, 1)]
    clipped_elements: Annotated[
        float, Fact("Mean share of the elements that the clip changed: of the gradient (backprop: derivatives).", 0, 1)
    ]
    norm_before_median: Annotated[
        float | None, Fact("Median of the global gradient norm before the clip (backprop: that came out).", 0)
    ]
    norm_before_max: Annotated[float | None, Fact("Largest global gradient norm before the clip.", 0)]
    steps_done: Annotated[
        int, Fact("Steps done; less than steps where the case diverged, or ended because it was solved.")
    ]
    metrics: Annotated[dict[str, float | None], Fact("The task's own metrics at the end, each a column metric.NAME.")]
    weights_sha256: Annotated[str, Fact("SHA-256 of the weights at the end.")]
    steps_before: Annotated[int | None, Fact("Steps before the last scored group.", before=None)] = None
    reach_start: Annotated[
        float | None,
        Fact("Reach of dL/dh_t of the first layer before training, as a share of steps_before.", 0, 1, before=None),
    ] = None
    reach_middle: Annotated[float | None, Fact("The same in the middle of training.", 0, 1, before=None)] = None
    reach_end: Annotated[float | None, Fact("The same at the end of training.", 0, 1, before=None)] = None
    cell_reach_start: Annotated[
        float | None, Fact("Reach of dL/dc_t of an lstm's first layer before training.", 0, 1, before=None)
    ] = None
    cell_reach_middle: Annotated[float | None, Fact("The same in the middle of training.", 0, 1, before=None)] = None
    cell_reach_end: Annotated[float | None, Fact("The same at the end of training.", 0, 1, before=None)] = None
    input_reach_start: Annotated[
        float | None, Fact("Reach of dL/dx_t of the model's input before training.", 0, 1, before=None)
    ] = None
    input_reach_middle: Annotated[float | None, Fact("The same in the middle of training.", 0, 1, before=None)] = None
    input_reach_end: Annotated[float | None, Fact("The same at the end of training.", 0, 1, before=None)] = None
    growth_start: Annotated[
        float | None, Fact("Growth before training: change of ln |dL/dh_t| per step back in time.", before=None)
    ] = None
    growth_start_low: Annotated[float | None, Fact("Lower end of its 95 % interval.", before=None)] = None
    growth_start_high: Annotated[float | None, Fact("Upper end of its 95 % interval.", before=None)] = None
    growth_middle: Annotated[float | None, Fact("Growth in the middle of training.", before=None)] = None
    growth_middle_low: Annotated[float | None, Fact("Lower end of its 95 % interval.", before=None)] = None
    growth_middle_high: Annotated[float | None, Fact("Upper end of its 95 % interval.", before=None)] = None
    growth_end: Annotated[float | None, Fact("Growth at the end of training.", before=None)] = None
    growth_end_low: Annotated[float | None, Fact("Lower end of its 95 % interval.", before=None)] = None
    growth_end_high: Annotated[float | None, Fact("Upper end of its 95 % interval.", before=None)] = None
    scale_median: Annotated[
        float | None,
        Fact("Median over steps of the norm after the clip over that before; None for backprop.", 0, before=None),
    ] = None
    moved: Annotated[
        float | None, Fact("L2 norm of the weights' change in training over that of the first weights.", 0, before=None)
    ] = None
    gain_late: Annotated[
        float | None, Fact("Mean training loss of the middle third of the steps minus that of the last.", before=None)
    ] = None
    steps_skipped: Annotated[
        int | None, Fact("Of steps_done, those whose update a loss scaler left out; None without one.", before=None)
    ] = None
    warnings: Annotated[
        str | None, Fact("What the recorder of a user's run warned of, a JSON list of texts.", before=None)
    ] = None

    @property
    def skill(self) -> float | None:
        """1 - loss / floor: 0 is trivial, 1 is perfect, None where the case diverged."""
        return None if self.loss is None else 1 - self.loss / self.floor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Times:
    """Where the wall time went, in seconds."""

    step_seconds: Annotated[float, Fact("Median over chunks of a chunk's wall time divided by its steps.", 0, 1e12)]
    seconds_compile: Annotated[float, Fact("Seconds of compiling.", 0, 1e12)]
    seconds_data: Annotated[float, Fact("Seconds of loading and drawing the data.", 0, 1e12)]
    seconds_training: Annotated[float, Fact("Seconds of training steps.", 0, 1e12)]
    seconds_evaluation: Annotated[float, Fact("Seconds of evaluations.", 0, 1e12)]
    seconds_probes: Annotated[
        float | None, Fact("Seconds of measuring the gradient through time.", 0, 1e12, before=None)
    ] = None
    seconds_other: Annotated[float, Fact("Seconds of everything else.", 0, 1e12)]
    cpu_to_wall: Annotated[float, Fact("Processor time over wall time of the training steps.", 0)]

    def by_kind(self) -> dict[str, float]:
        """Return the seconds by their kind: those of `TIMES` that a case has."""
        names = (field.name for field in dataclasses.fields(self) if field.name.startswith("seconds_"))
        return {name.removeprefix("seconds_"): getattr(self, name) or 0.0 for name in names}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """Where it ran, and everything else that one needs to know to believe it or to repeat it."""

    framework_version: Annotated[str, Fact("Version of the framework.")]
    kernel: Annotated[str, Fact("The recurrent kernel that ran.")]
    precision: Annotated[str, Fact("What products really use: TF32 or not; in mixed precision what was measured.")]
    digest: Annotated[
        str, Fact("Digest of the code and the settings that can move a number: names its certificate.", before="")
    ] = ""
    device_name: Annotated[str, Fact("Name of the device.")]
    device_software: Annotated[str, Fact("Versions of an accelerator's libraries; empty on the CPU.", before="")] = ""
    device_settings: Annotated[
        str, Fact("What was set on an accelerator so that it repeats itself bit for bit.", before="")
    ] = ""
    variables: Annotated[
        str,
        Fact("Environment variables of the worker that can move a bit, a JSON object; empty: not recorded.", before=""),
    ] = ""
    variables_idle: Annotated[
        str, Fact("Those of the same libraries that are known to move none, a JSON object.", before="")
    ] = ""
    processor: Annotated[str, Fact("The processor's model name.")]
    cores: Annotated[int, Fact("Processor cores of the machine.")]
    jobs: Annotated[int, Fact("Worker processes that ran at the same time.")]
    python: Annotated[str, Fact("Version of Python.")]
    numpy: Annotated[str, Fact("Version of NumPy.")]
    platform: Annotated[str, Fact("The operating system, as Python names it.")]
    commit: Annotated[str, Fact("Commit of the suite that ran.")]
    command: Annotated[str, Fact("The command that ran.", always=True)]
    started: Annotated[str, Fact("When the case began: ISO 8601, UTC.", always=True)]
    cores_granted: Annotated[
        int | None, Fact("Cores that the run might use: of its affinity and its control groups.", before=None)
    ] = None
    contrast: Annotated[
        str | None, Fact("Outcome of the contrast that the suite had declared of the case when it began.", before=None)
    ] = None
    side: Annotated[int | None, Fact("The side of that contrast: 1 or 2.", most=2, before=None)] = None
    study: Annotated[
        int | None, Fact("The study that drew the case's recipe, from 1; None where none was drawn.", before=None)
    ] = None
    recipe: Annotated[int | None, Fact("The number of that recipe in its study, from 1.", before=None)] = None
    plugins: Annotated[
        str | None,
        Fact(
            "Where task and framework come from that the suite has not: source and digest, a JSON object.", before=None
        ),
    ] = None


PARTS = {"case": Case, "result": Result, "times": Times, "environment": Environment}
"""What a record is composed of."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What one case gave. On the disk it is one flat row: see `to_row`."""

    key: Annotated[str, Fact("Name of the row: a hash of everything that can change the result.", always=True)]
    suite: Annotated[str, Fact("The suite that the case is of.", always=True)]
    schema: Annotated[int, Fact("Version of the row.", most=SCHEMA, always=True)] = SCHEMA
    case: Case
    result: Result
    times: Times
    environment: Environment

    def to_row(self) -> dict[str, Any]:
        """Return the flat row: every field, each metric under its prefix, and the skill."""
        row: dict[str, Any] = {"key": self.key, "suite": self.suite, "schema": self.schema}
        for part in PARTS:
            row |= {field.name: getattr(getattr(self, part), field.name) for field in _fields(part)}
        row["parameters"] = render_parameters(self.case.parameters)
        return row | {"skill": self.result.skill} | {METRIC + name: one for name, one in self.result.metrics.items()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the record that a flat row is of."""
        parts: dict[str, Any] = {}
        for part, kind in PARTS.items():
            parts[part] = {field.name: row[field.name] for field in _fields(part) if field.name in row}
            if part == "case":
                parts[part]["parameters"] = tuple(sorted(json.loads(row["parameters"]).items()))
            if part == "result":
                metrics = {name: value for name, value in row.items() if name.startswith(METRIC)}
                parts[part]["metrics"] = {name.removeprefix(METRIC): value for name, value in metrics.items()}
            parts[part] = kind(**parts[part])
        return cls(key=row["key"], suite=row["suite"], schema=row.get("schema", SCHEMA), **parts)


def _fields(part: str) -> list[dataclasses.Field[Any]]:
    """Return the fields of a part that are columns of their own."""
    return [field for field in dataclasses.fields(PARTS[part]) if field.name != "metrics"]


def render_parameters(parameters: Iterable[tuple[str, Scalar]]) -> str:
    """Return a task's parameters as a row has them."""
    return json.dumps(dict(parameters), sort_keys=True)


def use_first_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields under their `FIRST_NAMES`, as every key hashes them."""
    return {FIRST_NAMES.get(name, name): value for name, value in fields.items()}


def render_fact(name: str, value: Any) -> str:
    """Return a fact as a key hashes it; nothing where every case had it before there was such a fact."""
    if isinstance(value, float | int | str | None) and (name, value) in LATER:
        return ""
    return f"{json.dumps(FIRST_NAMES.get(name, name))}: {json.dumps(value, sort_keys=True)}"


def hash_facts(facts: Iterable[str]) -> str:
    """Return the key of the case that has these facts, each as `render_fact` has it."""
    text = "{" + ", ".join(sorted(filter(None, facts))) + "}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def use_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a file, which may be older, under the names of today."""
    names = {first: name for name, first in FIRST_NAMES.items() if name not in fields}
    return {names.get(name, name): value for name, value in fields.items()}


def number(value: float | None) -> float | None:
    """Return a finite number as it is, anything else as None."""
    return None if value is None or not math.isfinite(value) else float(value)
