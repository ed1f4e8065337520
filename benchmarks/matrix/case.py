"""One point of the matrix: hashable, serialisable, and checked when it is made."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.recipes import make_model, make_training
from farreach.frameworks.base import Activation, Cell, ClipKind, Device, Mode, Model, Optimizer, Precision, Training
from farreach.results import record
from farreach.results.record import LATER, SCHEMA, STRENGTHS, Scalar, hash_facts, render_fact, use_first_names
from farreach.results.storage.columns import COLUMNS
from farreach.results.storage.sanitising import format_line
from farreach.results.vocabulary import NONE
from farreach.tasks import data
from farreach.tasks.base import Task

NUMERICS = 1
"""What every key holds, so that the rows of earlier days keep theirs: what moves a number, a row's digest says."""

MOST = {"layers": 1_000, "hidden": 2**16, "batch": 2**20, "steps": 5 * 10**6, "threads": 2**12}
"""The largest values that a case may have: beyond, a slip of the keyboard would be found when the memory is full."""

NATIVE_CLIPS = (NONE, "norm", "value")
"""The clips that every framework has a function of its own for."""

CHOICES: dict[str, tuple[str, ...]] = {
    "cell": get_args(Cell),
    "activation": get_args(Activation),
    "clip": (NONE, *get_args(ClipKind)),
    "regulariser": (NONE, "l1", "l2", "omega"),
    "optimizer": get_args(Optimizer),
    "device": get_args(Device),
    "dtype": get_args(Precision),
    "mode": get_args(Mode),
}
"""The words that a field of a case may have."""

Lane = tuple[str, str, int, str]
"""What a worker process is kept for: framework, device, threads, dtype."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case(record.Case):
    """One case, as a suite asks for it: its fields are the record's, and it is checked when it is made."""

    def __post_init__(self) -> None:
        """Refuse what is no case, with one line that says why."""
        for name, words in CHOICES.items():
            registry.require_name(name, getattr(self, name), [*words])
        self._check_sizes()
        for kind, strength in STRENGTHS.items():
            reason = find_contradiction(kind, getattr(self, kind), strength, getattr(self, strength))
            if reason:
                raise registry.UsageError(reason)
        if self.regulariser == "omega" and self.cell != "rnn":
            message = f"regulariser omega is defined for cell rnn, not for {self.cell}"
            raise registry.UsageError(message)
        if self.steps % self.evaluate_every:
            message = f"steps must be a multiple of evaluate_every ({self.evaluate_every}), not {self.steps}"
            raise registry.UsageError(message)
        self._check_path(registry.MATCHED)
        if not (math.isfinite(self.radius) and self.radius > 0):
            message = f"radius must be a positive finite number, not {self.radius}"
            raise registry.UsageError(message)
        try:
            self.training()
            self.model()
        except ValueError as error:
            raise registry.UsageError(str(error)) from error
        if self.mode == registry.NATIVE:
            self._check_native()

    def _check_sizes(self) -> None:
        """Refuse what no machine could hold."""
        for name, most in MOST.items():
            if not 1 <= getattr(self, name) <= most:
                given = format_line(getattr(self, name), most=40)
                message = f"{name} must be a whole number from 1 to {most}, not {given}"
                raise registry.UsageError(message)
        if not 0 <= max(self.seed, self.replicate) < 2**63:
            given = format_line(max(self.seed, self.replicate), most=40)
            message = f"seed and replicate must be below 2**63, not {given}"
            raise registry.UsageError(message)

    def _check_path(self, mode: str) -> None:
        """Refuse a path that the framework does not offer in a mode."""
        offered = registry.list_paths(self.framework, self.device, self.cell, mode)
        if self.path not in offered:
            where = f"{self.framework} {self.cell} on {self.device}" + (
                "" if mode == registry.MATCHED else f" in mode {mode}"
            )
            message = f"unknown path {self.path!r} for {where}; allowed: {', '.join(offered)}"
            raise registry.UsageError(message)

    def _check_native(self) -> None:
        """Refuse what a framework does not offer itself, and what means another thing in each."""
        offered = registry.list_activations(self.framework)
        self._check_path(registry.NATIVE)
        reason = ""
        if self.activation not in offered:
            reason = f"has no {self.activation} in {self.framework}, whose own rnn takes: {', '.join(offered)}"
        elif self.clip not in NATIVE_CLIPS:
            reason = f"takes no clip {self.clip}: the frameworks have none by that name"
        elif self.regulariser != NONE:
            reason = f"takes no regulariser {self.regulariser}: the frameworks mean different penalties by that name"
        elif self.radius != 1:
            reason = f"takes no radius {self.radius:g}: its first weights are the framework's own"
        elif self.replicate:
            reason = f"takes no replicate {self.replicate}: its first weights are the framework's own"
        if reason:
            message = f"mode native {reason}"
            raise registry.UsageError(message)

    def load(self) -> Task:
        """Return the task; raise `TaskError` where its parameters make none."""
        return load_task(self.task, self.parameters)

    def model(self) -> Model:
        """Return the network that fits the task."""
        return make_model(self, self.load())

    def training(self) -> Training:
        """Return the recipe: optimizer, learning rate, clip and regulariser."""
        return make_training(self)

    @property
    def lane(self) -> Lane:
        """What a live process that runs this case is kept for."""
        return self.framework, self.device, self.threads, self.dtype

    def identity(self) -> dict[str, Any]:
        """Return everything that can change the result: the case, and the versions that are installed here."""
        versions = {
            "task_version": type(self.load()).version,
            "metric_version": type(self.load()).metric_version,
            "framework_version": registry.find_framework_version(self.framework),
            "numerics": NUMERICS,
            "schema": SCHEMA,
        }
        fields = use_first_names(dataclasses.asdict(self)) | versions
        facts = {name: value for name, value in fields.items() if (name, value) not in LATER}
        if self.mode == registry.NATIVE:  # layers and optimizers may come from packages with versions of their own
            facts["versions"] = {
                name: registry.find_version(name) for name in registry.list_needs(self.framework, self.mode)
            }
        return facts

    def key(self) -> str:
        """Return the name of the record: a hash of its identity."""
        return hash_facts(render_fact(name, value) for name, value in self.identity().items())

    def label(self) -> str:
        """Return a line for people: what tells this case from its neighbours."""
        parameters = " ".join(f"{name}={value}" for name, value in self.parameters)
        clip = self.clip if self.threshold is None else f"{self.clip} {self.threshold:g}"
        penalty = "" if self.strength is None else f"{self.regulariser} {self.strength:g}"
        scaled = "" if self.radius == 1 else f"radius {self.radius:g}"
        parts = [self.task, parameters, self.framework, self.cell, scaled, f"clip {clip}", penalty, self.optimizer]
        copy = f" replicate {self.replicate}" if self.replicate else ""
        native = "" if self.mode == registry.MATCHED else f" {self.mode}"
        return " ".join(part for part in parts if part) + f" {self.learning_rate:g}{native} seed {self.seed}{copy}"

    def to_json(self) -> dict[str, Any]:
        """Return the case as JSON has it."""
        return dataclasses.asdict(self) | {"parameters": dict(self.parameters)}

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Case:
        """Return the case that a row of a result set is of; raise `UsageError` where there is no such case here."""
        fields: dict[str, Any] = {}
        for field in dataclasses.fields(Case):
            value = row[field.name]
            absent = value is None or value != value  # noqa: PLR0124 - a table writes None as NaN
            fields[field.name] = COLUMNS[field.name].before if absent else value
        try:
            whole = [name for name in fields if COLUMNS[name].kind == "integer"]
            fields |= {name: int(fields[name]) for name in whole}
            return Case.from_json(fields | {"parameters": json.loads(fields["parameters"])})
        except (TypeError, ValueError) as error:
            message = f"the row {row['key']} is of no case of a suite: {error}"
            raise registry.UsageError(message) from error

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Case:
        """Return the case that `to_json` described."""
        return Case(**(fields | {"parameters": tuple(sorted(fields["parameters"].items()))}))


def require_allowed(cases: Iterable[Case]) -> None:
    """Refuse cases whose data come from the network where the command line did not allow it: a file asks for them."""
    sources = [str(value) for case in cases for name, value in case.parameters if name == "source"]
    asked = next((source for source in sources if data.parse(source)), None)
    if asked and not data.is_allowed():
        message = f"source {asked} is on the network, which nothing is loaded from without --allow-hub"
        raise registry.UsageError(message)


def find_contradiction(kind: str, word: str, strength: str, value: float | None) -> str:
    """Return why a kind of clip or penalty cannot have such a strength; nothing where it can."""
    if (word == NONE) == (value is None):
        return ""
    return f"{kind} {word} takes no {strength}" if word == NONE else f"{kind} {word} needs a {strength}"


@functools.cache
def load_task(name: str, parameters: tuple[tuple[str, Scalar], ...]) -> Task:
    """Return a task with these parameters, the same object every time; its data are loaded once."""
    kind: type[Task] = importlib.import_module(f"farreach.tasks.{name}").Task
    names = [field.name for field in dataclasses.fields(kind)]
    for parameter, _ in parameters:
        registry.require_name(f"parameter of task {name}", parameter, names)
    return kind(**dict(parameters))
