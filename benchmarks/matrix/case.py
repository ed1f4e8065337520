"""One point of the matrix: hashable, serialisable, and checked when it is made."""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.recipes import list_initial, make_model, make_training
from farreach.frameworks import weights
from farreach.frameworks.base import (
    OMEGAS,
    Activation,
    Cell,
    ClipKind,
    Device,
    Initial,
    Mode,
    Model,
    Optimizer,
    Precision,
    Training,
)
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.split import Split
from farreach.results import record
from farreach.results.record import (
    BELONGS_TO,
    LATER,
    NEEDED,
    SCHEMA,
    STANDS_FOR,
    STRENGTHS,
    Scalar,
    hash_facts,
    render_fact,
    use_first_names,
)
from farreach.results.storage.columns import COLUMNS
from farreach.results.storage.sanitising import format_line
from farreach.results.vocabulary import NONE, SOLVED, UNTIL
from farreach.tasks import data
from farreach.tasks.base import Task

NUMERICS = 1
"""What every key holds, so that the rows of earlier days keep theirs: what moves a number, a row's digest says."""

MOST = {"layers": 1_000, "hidden": 2**16, "batch": 2**20, "steps": 5 * 10**6, "threads": 2**12}
MOST |= {"replicas": 64, "microbatches": 2**10}
"""The largest values that a case may have: beyond, a slip of the keyboard would be found when the memory is full."""

NATIVE_CLIPS = (NONE, "norm", "value")
"""The clips that every framework has a function of its own for."""

DRAWN = {"radius": 1.0, "initial": "default", "forget_bias": None, "replicate": 0}
"""How first weights are drawn that are not a framework's own, and what that is by default."""

MIXED = ("bfloat16", "float16")
"""The dtypes of which weights, optimizer and loss stay float32."""

WHOLE_UPDATES = {"clip": ("backprop",), "regulariser": OMEGAS}
"""What is of a whole batch's derivatives, and so not defined where they come in parts."""

CHOICES: dict[str, tuple[str, ...]] = {
    "cell": get_args(Cell),
    "activation": get_args(Activation),
    "initial": get_args(Initial),
    "clip": (NONE, *get_args(ClipKind)),
    "regulariser": (NONE, "l1", "l2", *OMEGAS),
    "optimizer": get_args(Optimizer),
    "clip_at": ("after", "before"),
    "until": UNTIL,
    "schedule": ("constant", "cosine", "step"),
    "device": get_args(Device),
    "dtype": (*get_args(Precision), *MIXED),
    "mode": get_args(Mode),
}
"""The words that a field of a case may have."""


def list_words(name: str) -> list[str]:
    """Return the words that a field of `CHOICES` may have, the cells of plug-ins among them."""
    return [*dict.fromkeys([*CHOICES[name], *(registry.list_plugged_cells() if name == "cell" else [])])]


Lane = tuple[str, str, int, str]
"""What a worker process is kept for: framework, device, threads, dtype."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case(record.Case):
    """One case, as a suite asks for it: its fields are the record's, and it is checked when it is made."""

    def __post_init__(self) -> None:
        """Refuse what is no case, with one line that says why."""
        for name in CHOICES:
            registry.require_name(name, getattr(self, name), list_words(name))
        for name, usual in STANDS_FOR.items():
            if getattr(self, name) == usual:  # one setting, one key
                object.__setattr__(self, name, None)
        self._check_sizes()
        for kind, strength in STRENGTHS.items():
            reason = find_contradiction(kind, getattr(self, kind), strength, getattr(self, strength))
            if reason:
                raise registry.UsageError(reason)
        self._check_belongings()
        if self.regulariser in OMEGAS and self.cell != "rnn":
            message = f"regulariser {self.regulariser} is defined for cell rnn, not for {self.cell}"
            raise registry.UsageError(message)
        self._check_path(registry.MATCHED)
        self._check_loop()
        self._check_variant()
        if not (math.isfinite(self.radius) and self.radius > 0):
            message = f"radius must be a positive finite number, not {self.radius}"
            raise registry.UsageError(message)
        try:
            self.training()
            weights.require_initial(self.model(), **list_initial(self))
        except ValueError as error:
            raise registry.UsageError(str(error)) from error
        self._check_end()
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

    def _check_end(self) -> None:
        """Refuse a training that cannot end as it is asked to."""
        message = ""
        if self.steps % self.evaluate_every:
            message = f"steps must be a multiple of evaluate_every ({self.evaluate_every}), not {self.steps}"
        elif self.until == SOLVED and not self.has_criterion:
            message = f"until solved needs a task with a criterion; {self.task} has none"
        if message:
            raise registry.UsageError(message)

    def _check_belongings(self) -> None:
        """Refuse a number that belongs to another word, and a word without a number that it needs."""
        for name, (kind, words) in BELONGS_TO.items():
            word, value, usual = getattr(self, kind), getattr(self, name), COLUMNS[name].before
            if word in words and name in NEEDED and not value:
                message = f"{kind} {word} needs a {name} above 0"
                raise registry.UsageError(message)
            if word not in words and value != usual:
                message = f"{name} is for {kind} {' and '.join(words)}, not for {word}"
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

    def _check_loop(self) -> None:
        """Refuse a clip of every step back where the layer is fused."""
        if self.clip == "backprop" and not LAYOUTS[self.cell].cuts:
            message = f"clip backprop is not defined for cell {self.cell}, which has no gate on its way through time"
            raise registry.UsageError(message)
        looped = registry.list_looped(self.framework, self.device, self.cell)
        if self.clip == "backprop" and self.path not in looped:
            allowed = ", ".join(looped) or "none"
            message = (
                f"clip backprop cuts at every step back, which path {self.path} of {self.framework} hides in a fused "
                f"layer; allowed on {self.device}: {allowed}"
            )
            raise registry.UsageError(message)

    def _check_variant(self) -> None:
        """Refuse what an update in parts, or one in mixed precision, cannot do."""
        parts = self.replicas * self.microbatches
        whole = [word for name, words in WHOLE_UPDATES.items() if (word := getattr(self, name)) in words]
        message = ""
        if self.batch % parts:
            message = f"batch must be a multiple of replicas x microbatches, {parts}, not {self.batch}"
        elif parts == 1 and self.clip_at != "after":
            message = f"clip_at {self.clip_at} needs more than one replica or microbatch"
        elif self.clip_at != "after" and self.clip in {NONE, "autoclip"}:
            message = f"clip_at {self.clip_at} is not defined for clip {self.clip}"
        elif parts > 1 and whole:
            message = f"{whole[0]} is of the derivatives of a whole batch, not of {parts} parts"
        elif self.dtype in MIXED and whole:
            message = f"{whole[0]} is of single derivatives, not defined in mixed precision: it takes no {self.dtype}"
        elif self.variant == "replicas" and self.dtype in MIXED:
            message = f"dtype {self.dtype} takes no replicas and no microbatches"
        elif self.variant and self.mode == registry.NATIVE:
            message = f"mode native takes no replicas, no microbatches and no dtype {' or '.join(MIXED)}"
        elif self.variant and not registry.has_part(self.framework, self.variant):
            what = "replicas or microbatches" if self.variant == "replicas" else f"dtype {self.dtype}"
            message = f"{self.framework} has no {what}: frameworks/{self.framework}/{self.variant}.py is missing"
        if message:
            raise registry.UsageError(message)

    def _check_native(self) -> None:
        """Refuse what a framework does not offer itself, and what means another thing in each."""
        offered = registry.list_activations(self.framework)
        self._check_path(registry.NATIVE)
        given = {name: getattr(self, name) for name, usual in DRAWN.items() if getattr(self, name) != usual}
        drawn = [(name, value if isinstance(value, str) else f"{value:g}") for name, value in given.items()]
        reason = ""
        if self.activation not in offered:
            reason = f"has no {self.activation} in {self.framework}, whose own rnn takes: {', '.join(offered)}"
        elif self.clip not in NATIVE_CLIPS:
            reason = f"takes no clip {self.clip}: the frameworks do not all have one, nor the same"
        elif self.regulariser != NONE:
            reason = f"takes no regulariser {self.regulariser}: the frameworks mean different penalties by that name"
        elif self.accumulator:
            reason = f"takes no accumulator {self.accumulator:g}: each framework's optimizers have their own"
        elif self.schedule != "constant":
            reason = f"takes no schedule {self.schedule}: the frameworks mean different schedules by that name"
        elif drawn:
            reason = f"takes no {' '.join(drawn[0])}: its first weights are the framework's own"
        if reason:
            message = f"mode native {reason}"
            raise registry.UsageError(message)

    def load(self) -> Task:
        """Return the task; raise `TaskError` where its parameters make none."""
        return load_task(self.task, self.parameters)

    def model(self) -> Model:
        """Return the network that fits the task."""
        return make_model(self, self.load())

    @property
    def has_criterion(self) -> bool:
        """Whether its task says when it is solved."""
        return self.load().solved(collections.defaultdict(float)) is not None

    def training(self) -> Training:
        """Return the recipe: optimizer, learning rate and schedule, clip and regulariser."""
        return make_training(self)

    @property
    def variant(self) -> str:
        """Which file of the framework's folder trains it in mode matched: ``replicas``, ``mixed``, or none of them."""
        if self.replicas * self.microbatches > 1:
            return "replicas"
        return "mixed" if self.dtype in MIXED else ""

    @property
    def options(self) -> dict[str, Any]:
        """What its variant is made with beside what every framework is made with."""
        if self.variant == "replicas":
            return {"split": Split(self.replicas, self.microbatches, self.clip_at)}  # type: ignore[arg-type]
        return {}

    @property
    def cores(self) -> int:
        """How many cores it keeps busy: the threads of all its replicas."""
        return self.threads * self.replicas

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
        drawn = "" if self.initial == "default" else self.initial
        drawn += "" if self.chrono_length is None else f" {self.chrono_length}"
        drawn += "" if self.forget_bias is None else f"forget bias {self.forget_bias:g}"
        parts = [
            self.task,
            parameters,
            self.framework,
            self.cell,
            scaled,
            drawn,
            f"clip {clip}",
            penalty,
            self.optimizer,
        ]
        numbers = [name for name in BELONGS_TO if getattr(self, name) != COLUMNS[name].before]
        recipe = [f"{self.learning_rate:g}", *({self.schedule} - {"constant"})]
        recipe += [f"{name.replace('_', ' ')} {getattr(self, name):g}" for name in numbers]
        numbers = [name for name in ("replicas", "microbatches", "clip_at") if (name, getattr(self, name)) not in LATER]
        recipe += [f"{name.replace('_', ' ')} {getattr(self, name)}" for name in numbers]
        recipe += [self.dtype] if self.dtype in MIXED else []
        copy = f" replicate {self.replicate}" if self.replicate else ""
        native = "" if self.mode == registry.MATCHED else f" {self.mode}"
        native += "" if self.until == UNTIL[0] else f" until {self.until}"
        return " ".join(part for part in parts if part) + f" {' '.join(recipe)}{native} seed {self.seed}{copy}"

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
            whole = [name for name, value in fields.items() if COLUMNS[name].kind == "integer" and value is not None]
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
    kind: type[Task] = registry.import_task(name)
    names = [field.name for field in dataclasses.fields(kind)]
    for parameter, _ in parameters:
        registry.require_name(f"parameter of task {name}", parameter, names)
    try:
        return kind(**dict(parameters))
    except TypeError as error:  # of an abstract class: a method of the contract is missing
        message = f"tasks/{name}.py is not complete: {error}"
        raise registry.UsageError(message) from error
