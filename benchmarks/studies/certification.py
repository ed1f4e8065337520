"""The checks of a certificate: each framework is held against the reference, step by step, before it is compared.

Two correct programs drift apart when they run freely: rounding grows like any perturbation. So equivalence is proved
from the reference's own state. At each of `STEPS` steps the framework is given the weights and the optimizer's memory
of `farreach.frameworks.reference`, both do the same update, and predictions, loss, gradient norms, the share that was
clipped and the updated weights must agree within `certificates.BOUNDS`, relative: in float64 for every kind of update,
and in float32 on the kernels, and at a size, that suites run. Then, in float64, both run freely, and their drift is
measured beside that of a permuted replicate of the reference.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running.replicas import build_replicated
from farreach.frameworks import weights
from farreach.frameworks.base import (
    OMEGAS,
    Activation,
    Array,
    Cell,
    Clip,
    Device,
    Framework,
    Model,
    Optimizer,
    Precision,
    Regulariser,
    State,
    Training,
    Weights,
)
from farreach.frameworks.layouts import LAYOUTS, count_gates, list_weights
from farreach.frameworks.schedule import Schedule
from farreach.frameworks.split import ClipAt, Split
from farreach.results.analysis.certificates import BOUNDS, CROSSED, PARTS, REPLICATE, WHOLE, list_bounds
from farreach.tasks.base import Batch

STEPS = 200

ROWS, TIME, HIDDEN = 4, 10, 8
SIZES: dict[Precision, tuple[int, int, int]] = {"float64": (ROWS, TIME, HIDDEN), "float32": (32, 50, 64)}
"""Examples of a batch, time steps and hidden units of the checks in each precision; float32 at a suite's size."""

HEADS = 2
"""Of a transformer."""

WRITTEN_OUT = ("linear", "independent")
"""The families whose paths are loops and scans of our own: each path is checked."""

OMEGA_TIME = 10
"""Time steps under Omega in float32: over 50 the gradient of a sigmoid falls below what float32 holds, and Omega of
the others, a ratio of such norms, moves by 2e-4 between permuted replicates."""

CHUNK = 5
"""Batches of a call of `train` in the checks of chunks."""

RADIUS = 0.9
"""Spectral radius of the first recurrent blocks in float64."""

OWN_RADII = {"sigmoid": None, "basic_tanh": None, "smart_tanh": 0.95}
"""That of the initials that have their own, or none."""

RATES: dict[Optimizer, float] = {"sgd": 0.05, "momentum": 0.01, "rmsprop": 1e-3, "adam": 3e-3}
RATES |= {"adagrad": 0.01, "adamw": 3e-3}
WEIGHT_DECAY = 0.1
OTHERS: dict[Optimizer, dict[str, float]] = {
    "rmsprop": {"decay": 0.9, "accumulator": 1e-3},
    "adagrad": {"accumulator": 0.1},
}
"""Numbers of an optimizer that are not those that it has by default."""

SCHEDULES = {
    "constant": None,
    "cosine": Schedule("cosine", STEPS, warmup=20, end=0.1),
    "step": Schedule("step", STEPS, every=40, factor=0.3),
}
CLIPS = {"none": None, "norm": Clip("norm", 0.2), "value": Clip("value", 0.02)}
RARE_CLIPS = {
    "variable": Clip("variable", 0.1),
    "agc": Clip("agc", 0.02),
    "autoclip": Clip("autoclip", 30.0),
    "backprop": Clip("backprop", 0.002),
}
"""The clips that are checked with one optimizer alone, where there are two layers and an embedding."""

PENALTIES = {
    "none": None,
    "l1": Regulariser("l1", 1e-3),
    "l2": Regulariser("l2", 1e-3),
    "omega": Regulariser("omega", 0.1),
    "omega2": Regulariser("omega2", 0.02),
}
INITIALS: dict[str, dict[str, Any]] = {
    "default": {},
    "chrono": {"initial": "chrono", "chrono_length": TIME},
    "forget_bias": {"forget_bias": 3.0},
    **{name: {"initial": name} for name in ("irnn", "sigmoid", "basic_tanh", "smart_tanh")},
}
"""How the first weights of a check are drawn."""

STARTS: dict[str, tuple[tuple[Cell, Activation], ...]] = {
    "chrono": (("lstm", "tanh"), ("gru", "tanh")),
    "forget_bias": (("lstm", "tanh"),),
    "irnn": (("rnn", "relu"), ("rnn", "tanh"), ("rnn", "sigmoid")),
    "sigmoid": (("rnn", "sigmoid"),),
    "basic_tanh": (("rnn", "tanh"),),
    "smart_tanh": (("rnn", "tanh"),),
}
"""The cells that each initial but the default is of."""

CELLS: tuple[tuple[Cell, Activation], ...] = tuple(
    (cast("Cell", cell), cast("Activation", activation))
    for cell, layout in LAYOUTS.items()
    for activation in layout.activations
)
"""Every cell with every activation that it takes."""


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
    scored: str = "last"  # the last step, some of the last, or every one, as copy has it
    chunk: int = 1  # batches of one call of `train`
    dtype: Precision = "float64"
    initial: str = "default"
    numbers: str = "usual"  # of the optimizer; or those of `OTHERS`
    schedule: str = "constant"
    replicas: int = 1
    microbatches: int = 1
    clip_at: ClipAt = "after"

    @property
    def mode(self) -> str:
        """A certificate is about matched arithmetic."""
        return registry.MATCHED

    @property
    def variant(self) -> str:
        """``replicas`` of an update in parts; none where one process does the whole update."""
        return "replicas" if self.split.parts > 1 else ""

    @property
    def split(self) -> Split:
        """How a batch is divided."""
        return Split(self.replicas, self.microbatches, self.clip_at)

    @property
    def options(self) -> dict[str, Any]:
        """What its variant is made with beside what every framework is made with."""
        return {"split": self.split} if self.variant else {}

    @property
    def is_whole(self) -> bool:
        """Whether an update in parts is to be that of the whole batch: its clip comes after the reduction."""
        return bool(self.variant) and self.clip_at == "after" and self.dtype == "float64"

    @property
    def size(self) -> tuple[int, int, int]:
        """Examples of a batch, time steps and hidden units."""
        rows, time, hidden = SIZES[self.dtype]
        return rows, OMEGA_TIME if self.regulariser in OMEGAS else time, hidden

    def model(self) -> Model:
        """Return the model: regression of vectors, 5 classes of tokens."""
        tokens, (_, time, hidden), layout = self.inputs == "tokens", self.size, LAYOUTS[self.cell]
        source = time // 2 if layout.needs_source else 0
        return Model(
            cell=self.cell,
            activation=self.activation,
            layers=self.layers,
            hidden=hidden,
            tokens=tokens,
            features=6 if tokens else 2,
            outputs=5 if tokens else 1,
            scored={"last": 1, "some": 4, "every": time - source}[self.scored],
            loss="cross_entropy" if tokens else "mse",
            length=time if layout.needs_length else 0,
            heads=HEADS if layout.needs_heads else 0,
            source=source,
            padding=0 if tokens and not layout.has_states else None,
        )

    def draw_weights(self) -> Weights:
        """Return the first weights; in float64 of `RADIUS`, where they have none of their own."""
        has_own = self.initial in weights.ACTIVATIONS
        is_scaled = any(weight.is_scaled for weight in list_weights(self.model()))
        radius = RADIUS if self.dtype == "float64" and is_scaled and not has_own else 1.0
        return weights.draw(self.model(), 0, radius, **INITIALS[self.initial])

    def training(self) -> Training:
        """Return the recipe."""
        return Training(
            self.optimizer,
            RATES[self.optimizer],
            (CLIPS | RARE_CLIPS)[self.clip],
            PENALTIES[self.regulariser],
            steps=STEPS,
            weight_decay=WEIGHT_DECAY if self.optimizer == "adamw" else 0.0,
            schedule=SCHEDULES[self.schedule],
            **(OTHERS[self.optimizer] if self.numbers == "other" else {}),
        )


def list_checks(framework: str, device: Device = "cpu") -> list[Check]:
    """Return every check of a framework on a device, on its default paths; of cells written out by us on every path.

    In float64 every cell x optimizer x clip x one and two layers on vectors; every cell x optimizer on tokens, some
    steps scored; every cell with every step scored, on tokens, and on vectors in chunks; every cell under each
    penalty; every cell under each of `RARE_CLIPS`; the rnn under both Omegas; every initial of the cells that it is of;
    and every cell with adagrad, with adamw, under each schedule, and with other numbers of rmsprop and of adagrad. In
    float32 every cell on vectors, on tokens with every step scored, and where its kernel is another: the rnn under both
    Omegas, every cell under ``backprop``.
    """
    kinds = [kind for kind in CELLS if kind[0] in registry.list_cells(framework, device)]
    crossed = CROSSED["optimizer"]
    rnns = [kind for kind in kinds if kind[0] == "rnn"]
    groups: list[tuple[dict[str, object], list[tuple[Cell, Activation]], Iterable[tuple[object, ...]]]] = [
        ({}, kinds, itertools.product((1, 2), ("vectors",), *CROSSED.values(), ("none",))),
        ({"scored": "some"}, kinds, itertools.product((1,), ("tokens",), crossed, ("norm",), ("none",))),
        ({"scored": "some"}, kinds, [(1, "tokens", "adagrad", "norm", "none")]),
        ({"scored": "some", "schedule": "cosine"}, kinds, [(1, "tokens", "adamw", "norm", "none")]),
        ({"numbers": "other"}, kinds, [(1, "vectors", "adagrad", "value", "none")]),
        ({"numbers": "other", "schedule": "step"}, kinds, [(2, "vectors", "rmsprop", "norm", "none")]),
        ({"scored": "every"}, kinds, [(1, "tokens", "adam", "norm", "none")]),
        ({"scored": "every", "chunk": CHUNK}, kinds, [(1, "vectors", "sgd", "norm", "none")]),
        ({}, kinds, [(1, "vectors", "adam", "norm", penalty) for penalty in ("l1", "l2")]),
        ({"scored": "every"}, kinds, [(2, "tokens", "adam", clip, "none") for clip in RARE_CLIPS]),
        ({}, rnns, itertools.product((1, 2), ("vectors",), ("sgd",), ("norm",), OMEGAS)),
        *(
            (
                dict[str, object](initial=name),
                [kind for kind in kinds if kind in cells],
                [(1, "vectors", "adam", "norm", "none")],
            )
            for name, cells in STARTS.items()
        ),
        ({"dtype": "float32"}, kinds, [(1, "vectors", "adam", "norm", "none")]),
        ({"dtype": "float32", "scored": "every"}, kinds, [(1, "tokens", "adam", "norm", "none")]),
        ({"dtype": "float32"}, rnns, [(1, "vectors", "sgd", "norm", omega) for omega in OMEGAS]),
        ({"dtype": "float32"}, kinds, [(1, "vectors", "adam", "backprop", "none")]),
    ]
    names = ("layers", "inputs", "optimizer", "clip", "regulariser")
    return [
        Check(
            framework=framework,
            path=path,
            cell=cell,
            activation=activation,
            device=device,
            **dict(zip(names, values, strict=True)),  # type: ignore[arg-type]
            **facts,  # type: ignore[arg-type]
        )
        for facts, cells, updates in groups
        for (cell, activation), values in itertools.product(cells, updates)
        for path in _list_paths(framework, device, cell, str(values[names.index("clip")]))
    ]


def _list_paths(framework: str, device: Device, cell: Cell, clip: str) -> tuple[str, ...]:
    """Return the paths of a cell that are checked under a clip: its default; every one of a cell written out by us."""
    if clip == "backprop" and not LAYOUTS[cell].cuts:
        return ()
    if LAYOUTS[cell].family not in WRITTEN_OUT or clip == "backprop":
        return (registry.choose_path(framework, device, cell, clip),)
    return registry.list_paths(framework, device, cell)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a check found: the worst relative differences, and the kernel on which."""

    differences: dict[str, float]
    kernel: str


def measure_differences(check: Check, steps: int = STEPS) -> Found:
    """Return the worst relative differences of one check over so many steps.

    In float64 those of `BOUNDS`, then ``drift`` and ``copy_drift``, of the framework and of a permuted replicate of
    the reference in free runs. In float32 those of `BOUNDS`, and under ``replicate.`` the same between the framework
    and its own permuted replicate, which is what rounding alone does.
    """
    model = check.model()
    rows, time, _ = check.size
    batches = draw_batches(model, steps, rows, time)
    chunks = [batches[at : at + check.chunk] for at in range(0, len(batches), check.chunk)]
    first = check.draw_weights()
    right = _build_reference(check, first)
    whole = _build_reference(dataclasses.replace(check, replicas=1, microbatches=1), first) if check.is_whole else None
    checked = _build_checked(check, first)
    checked.prepare(chunks[0], batches[0].inputs)
    if check.dtype == "float32":
        return Found(_measure_rounded(check, right, checked, batches), checked.kernel)
    start = right.state()
    permuted = weights.permute_hidden(model, first, replicate=1)
    worst = dict.fromkeys(list_bounds(check.dtype, check.split.parts, check.clip_at), 0.0)
    worst["radius"] = _compare_radius(check, first)
    checked.restore(State(permuted, start.slots, steps=0))
    inputs = batches[0].inputs
    is_other = any((permuted[name] != value).any() for name, value in first.items())
    worst["replicate"] = compare_tensors(checked.predict(inputs), right.predict(inputs)) if is_other else np.inf
    losses = []
    for chunk in chunks:
        state = right.state()
        checked.restore(state)
        theirs = _take_step(checked, chunk)
        if whole is not None:
            whole.restore(state)
            found = _compare_outcomes(theirs, _take_step(whole, chunk), check.dtype)
            _raise_worst(worst, {WHOLE: max(found.values())})
        ours = _take_step(right, chunk)
        _raise_worst(worst, _compare_outcomes(theirs, ours, check.dtype))
        losses.append(ours.values["loss"])
    free = np.concatenate(losses)  # the reference went on from its own state: that was its free run
    checked.restore(start)
    replicate = _build_reference(check, permuted)
    drifted, apart = (_train_freely(one, chunks) for one in (checked, replicate))
    drifts = {"drift": _measure_drift(drifted, free), "copy_drift": _measure_drift(apart, free)}
    return Found(worst | drifts, checked.kernel)


def _measure_rounded(check: Check, right: Framework, checked: Framework, batches: list[Batch]) -> dict[str, float]:
    """Return the differences in float32: from the reference's state, which both are given rounded to float32."""
    model = check.model()
    copy = _build_checked(check, right.weights())
    copy.prepare(batches[:1], batches[0].inputs)
    worst = dict.fromkeys(BOUNDS[check.dtype], 0.0)
    rounding = dict(worst)
    for batch in batches:
        state = _map_state(right.state(), lambda held: {name: _round(value) for name, value in held.items()})
        right.restore(state)
        checked.restore(state)
        copy.restore(_map_state(state, lambda held: weights.permute_hidden(model, held, replicate=1)))
        exact, ours, theirs = (_take_step(one, [batch]) for one in (right, checked, copy))
        _raise_worst(worst, _compare_outcomes(ours, exact, check.dtype))
        same = dataclasses.replace(ours, weights=weights.permute_hidden(model, ours.weights, replicate=1))
        _raise_worst(rounding, _compare_outcomes(theirs, same, check.dtype))
    return worst | {f"{REPLICATE}{name}": value for name, value in rounding.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class _Outcome:
    """What one call of `train` left, and what was predicted before it."""

    predictions: Array
    values: dict[str, Array]  # by the name of a trace's figure, [batches]
    weights: Weights
    extra: dict[str, Array]  # likewise, the further figures of an update in parts


def _take_step(framework: Framework, batches: list[Batch]) -> _Outcome:
    """Predict, then do an update per batch."""
    predictions = framework.predict(batches[0].inputs)
    trace = framework.train(batches)
    values = {name: getattr(trace, name) for name in ("loss", "norm_before", "norm_after", "clipped")}
    return _Outcome(predictions, values, framework.weights(), trace.extra)


def _compare_outcomes(theirs: _Outcome, ours: _Outcome, dtype: Precision) -> dict[str, float]:
    """Return the relative differences by name, of those that have a bound in this precision."""
    found = {name: _measure_drift(values, ours.values[name]) for name, values in theirs.values.items()}
    found["predictions"] = compare_tensors(theirs.predictions, ours.predictions)
    if ours.extra:
        missing = {PARTS: np.inf} if theirs.extra.keys() != ours.extra.keys() else {}
        found[PARTS] = max(
            [*missing.values(), *(_measure_drift(theirs.extra[name], ours.extra[name]) for name in ours.extra)]
        )
    if dtype == "float64":
        found["weights"] = _compare_weights(theirs.weights, ours.weights)
    else:
        found["weights"] = max(compare_tensors(theirs.weights[name], value) for name, value in ours.weights.items())
    return {
        name: value for name, value in found.items() if name in BOUNDS[dtype] or (name, dtype) == (PARTS, "float64")
    }


def _raise_worst(worst: dict[str, float], found: dict[str, float]) -> None:
    for name, value in found.items():
        worst[name] = max(worst[name], value)


def _round(value: Array) -> Array:
    return value.astype(np.float32).astype(np.float64)


def _map_state(state: State, change: Callable[[Weights], Weights]) -> State:
    return dataclasses.replace(state, weights=change(state.weights), slots=tuple(map(change, state.slots)))


def draw_batches(model: Model, steps: int, rows: int = ROWS, time: int = TIME) -> list[Batch]:
    """Draw the batches: standard normal vectors, or so few different tokens that each repeats."""
    random = np.random.default_rng(np.random.SeedSequence(entropy=20_260_103))

    def one() -> Batch:
        mask = (random.random((rows, model.scored)) < 0.8).astype(np.float32)  # noqa: PLR2004
        mask[:, 0] = 1
        if model.tokens:
            tokens = random.integers(0, model.features, (rows, time), dtype=np.int32)
            return Batch(tokens, random.integers(0, model.outputs, (rows, model.scored), dtype=np.int32), mask)
        inputs = random.standard_normal((rows, time, model.features), dtype=np.float32)
        return Batch(inputs, random.standard_normal((rows, model.scored, model.outputs), dtype=np.float32), mask)

    return [one() for _ in range(steps)]


def _build_reference(check: Check, first: Weights) -> Framework:
    """Return the reference implementation of a check, which makes its update in the same parts."""
    same = dataclasses.replace(check, framework=registry.REFERENCE, device="cpu", path="numpy")
    return build_part(same, first)


def _build_checked(check: Check, first: Weights) -> Framework:
    """Return the framework that is checked, as a group of replicas where it has several."""
    if check.replicas == 1:
        return build_part(check, first)
    lane = check.framework, check.device, 1, check.dtype
    group: Any = build_replicated(check, lane, functools.partial(build_part, first=first))
    return group  # type: ignore[no-any-return]


def build_part(check: Check, first: Weights, **more: Any) -> Framework:
    """Return the framework of a check with these first weights; `more` is the place of a replica among the others."""
    folder = f"farreach.frameworks.{check.framework}"
    module = importlib.import_module(f"{folder}.{check.variant}" if check.variant else folder)
    facts: dict[str, Any] = {"device": check.device, "dtype": check.dtype, "threads": 1, "path": check.path}
    framework: Framework = module.Framework(check.model(), check.training(), first, **facts, **check.options, **more)
    return framework


def _train_freely(framework: Framework, chunks: list[list[Batch]]) -> Array:
    """Return the losses of a free run, in chunks of one length so that no further shape is compiled."""
    return np.concatenate([framework.train(chunk).loss for chunk in chunks])


def _compare_values(value: float, right: float) -> float:
    """Return the relative difference; 0 where both are equal, infinity where one alone is not finite."""
    if value == right or (np.isnan(value) and np.isnan(right)):
        return 0.0
    difference = abs(value - right) / abs(right)
    return float(difference) if np.isfinite(difference) else float("inf")


def compare_tensors(values: Array, right: Array) -> float:
    """Return the largest difference between two arrays over the largest entry of the second."""
    if np.shape(values) != np.shape(right):
        return float("inf")
    difference, largest = np.abs(np.asarray(values, np.float64) - right).max(), np.abs(right).max()
    return _compare_values(float(largest + difference), float(largest))


def _compare_weights(theirs: Weights, ours: Weights) -> float:
    """Return the L2 norm of the difference over the L2 norm of the reference's weights."""
    difference = np.sqrt(sum(np.square(theirs[name] - ours[name]).sum() for name in ours))
    relative = float(difference / np.sqrt(sum(np.square(value).sum() for value in ours.values())))
    return relative if np.isfinite(relative) else float("inf")


def _compare_radius(check: Check, first: Weights) -> float:
    """Return by how much the spectral radius of a first recurrent block differs from what was asked for.

    The normal kernels of ``sigmoid`` and ``basic_tanh`` are asked for none.
    """
    model, right = check.model(), OWN_RADII.get(check.initial, RADIUS)
    if right is None or not any(weight.is_scaled for weight in list_weights(model)):
        return 0.0
    blocks = [
        block
        for layer in range(model.layers)
        for block in np.hsplit(first[f"layer{layer}.recurrent"], count_gates(model))
    ]
    return max(_compare_values(float(np.abs(np.linalg.eigvals(block)).max()), right) for block in blocks)


def _measure_drift(values: Array, right: Array) -> float:
    return max(_compare_values(value, expected) for value, expected in zip(values, right, strict=True))
