"""The clips beside norm and value: each framework against the reference, and against plain definitions."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.frameworks import reference, weights
from farreach.frameworks.base import Array, Clip, Model, State, Trace, Training, Weights
from farreach.frameworks.schedule import Schedule
from farreach.tasks.base import Batch
from tests.support.models import build_framework, make_batches, make_model, measure_distance

NAMES = [name for name in registry.list_frameworks() if registry.find_framework_version(name)]
COMPARED = [name for name in NAMES if name != "reference"]
LEARNERS = [("rnn", "tanh"), ("rnn", "relu"), ("rnn", "sigmoid"), ("lstm", "tanh"), ("gru", "tanh")]
LIMITS = (Clip("variable", 0.1), Clip("agc", 0.01), Clip("autoclip", 30.0), Clip("backprop", 0.002))
STEPS = 12
LEAST = 1e-3


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"farreach.frameworks.{request.param}")


@functools.cache
def run_reference(model: Model, training: Training) -> list[tuple[State, Batch, Trace, State]]:
    """The reference over `STEPS` steps: the state before each, its batch, its trace, the state after it."""
    framework = build_framework(reference, model, training)
    steps = []
    for batch in make_batches(model, STEPS, rows=4, time=5):
        before = framework.state()
        steps.append((before, batch, framework.train([batch]), framework.state()))
    return steps


@pytest.mark.sampled(every=7)
@pytest.mark.parametrize("learner", LEARNERS, ids="-".join)
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.kind)
@pytest.mark.parametrize("name", COMPARED)
def test_from_the_references_state_every_step_is_the_references(
    name: str, limit: Clip, learner: tuple[str, str]
) -> None:
    """Loss, both norms, the share clipped, weights and history within 1e-10 relative, in two layers, on tokens."""
    cell, activation = learner
    model = make_model(cell, activation=activation, layers=2, tokens=True)
    training = Training("momentum", 0.01, limit, steps=STEPS)
    framework = build_framework(importlib.import_module(f"farreach.frameworks.{name}"), model, training)
    for before, batch, expected, after in run_reference(model, training):
        framework.restore(before)
        trace = framework.train([batch])
        np.testing.assert_allclose(list_figures(trace), list_figures(expected), rtol=1e-10)
        reached = framework.state()
        assert measure_distance(reached.weights, after.weights) <= 1e-10 * measure_distance(after.weights, ZERO)
        np.testing.assert_allclose(reached.history, after.history, rtol=1e-10)
    shares = np.concatenate([trace.clipped for *_, trace, _ in run_reference(model, training)])
    assert 0 < shares.mean() < 1


class _Zero(dict[str, float]):
    def __missing__(self, name: str) -> float:
        return 0.0


ZERO = _Zero()


def list_figures(trace: Trace) -> Array:
    return np.array([trace.loss, trace.norm_before, trace.norm_after, trace.clipped])


def take_step(module: ModuleType, model: Model, limit: Clip | None) -> tuple[Weights, Weights, Trace]:
    """Return weights, what an update took from them (under SGD at rate 1: the clipped gradient), and its trace."""
    framework = build_framework(module, model, Training("sgd", 1.0, limit, steps=1))
    start = framework.weights()
    trace = framework.train(make_batches(model, 1))
    return start, {name: value - framework.weights()[name] for name, value in start.items()}, trace


def list_parts(kind: str, gradients: Weights) -> list[tuple[str, tuple[int | slice, ...]]]:
    """Return the name and the place of each part that a clip scales by itself, one by one."""
    parts: list[tuple[str, tuple[int | slice, ...]]] = []
    for name, gradient in gradients.items():
        if kind == "variable" or (name.endswith("bias") and gradient.ndim == 1):
            parts.append((name, (slice(None),)))
        elif name.endswith("bias"):
            parts += [(name, (row,)) for row in range(len(gradient))]
        else:
            parts += [(name, (slice(None), column)) for column in range(gradient.shape[1])]
    return parts


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("limit", LIMITS[:2], ids=lambda limit: limit.kind)
def test_every_variable_and_every_unit_is_scaled_by_itself(module: ModuleType, limit: Clip) -> None:
    """The columns of kernels and of the embedding, whole biases, both rows of the gru's; not the output layer."""
    model = make_model("gru", tokens=True)
    start, gradients, _ = take_step(module, model, None)
    _, clipped, trace = take_step(module, model, limit)
    expected, changed = {name: value.copy() for name, value in gradients.items()}, 0
    for name, place in list_parts(limit.kind, gradients):
        norm, bound = np.linalg.norm(gradients[name][place]), limit.threshold
        if limit.kind == "agc":
            bound = np.inf if name.startswith("output") else bound * max(np.linalg.norm(start[name][place]), LEAST)
        if norm > bound:
            expected[name][place] *= bound / norm
            changed += gradients[name][place].size
    for name, value in expected.items():
        np.testing.assert_allclose(clipped[name], value, atol=1e-13, err_msg=name)
    assert trace.clipped[0] == pytest.approx(changed / sum(value.size for value in gradients.values()), abs=1e-12)
    assert 0 < trace.clipped[0] < 1
    assert trace.norm_after[0] == pytest.approx(measure_distance(expected, ZERO), rel=1e-10)
    assert trace.norm_before[0] == pytest.approx(measure_distance(gradients, ZERO), rel=1e-10)


@pytest.mark.parametrize("percentile", [0.5, 37.0, 100.0])
def test_autoclip_clips_at_the_percentile_of_all_norms_so_far(percentile: float) -> None:
    """That of the recorded curve, the step's own norm included; no norm exceeds the largest, so 100 clips nothing."""
    model = make_model("rnn")
    framework = build_framework(reference, model, Training("sgd", 0.5, Clip("autoclip", percentile), steps=40))
    trace = framework.train(make_batches(model, 40))
    limits = [np.percentile(trace.norm_before[: at + 1], percentile) for at in range(40)]
    np.testing.assert_allclose(trace.norm_after, np.minimum(trace.norm_before, limits), rtol=1e-13)
    np.testing.assert_array_equal(trace.clipped, trace.norm_before > limits)
    assert trace.clipped.any() == (percentile < 100)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_autoclip_goes_on_from_the_middle_of_its_history(module: ModuleType, dtype: str) -> None:
    model, limit = make_model("rnn"), Clip("autoclip", 37.0)
    one, other = (build_framework(module, model, Training("sgd", 0.5, limit, steps=12), dtype=dtype) for _ in range(2))
    batches = make_batches(model, 12)
    first = one.train(batches[:6])
    state = one.state()
    np.testing.assert_allclose(state.history, np.sort(first.norm_before), rtol=1e-7)
    rest = one.train(batches[6:])
    other.restore(state)
    again = other.train(batches[6:])
    np.testing.assert_array_equal(list_figures(again), list_figures(rest))
    assert weights.digest(one.weights()) == weights.digest(other.weights())
    np.testing.assert_array_equal(one.state().history, other.state().history)
    curve = np.concatenate([first.norm_before, rest.norm_before])
    limits = [np.percentile(curve[: at + 1], 37) for at in range(12)]
    after = np.concatenate([first.norm_after, rest.norm_after])
    np.testing.assert_allclose(after, np.minimum(curve, limits), rtol=1e-6 if dtype == "float32" else 1e-13)


def test_autoclip_takes_no_step_that_its_history_has_no_room_for(module: ModuleType) -> None:
    if module is reference:
        pytest.skip("the reference's history grows")
    model = make_model("rnn")
    framework = build_framework(module, model, Training("sgd", 0.5, Clip("autoclip", 50.0), steps=2))
    with pytest.raises(ValueError, match="room for the norms of 2 steps"):
        framework.train(make_batches(model, 3))


@pytest.mark.parametrize("bound", [1e-3, 0.2, 10.0])
def test_backprop_cuts_the_derivative_at_each_step_back(module: ModuleType, bound: float) -> None:
    """By hand: two steps of one tanh unit, h = tanh(w x + u h + b), and the loss (v h_2 + a - y)²."""
    model = Model("rnn", hidden=1, features=1, outputs=1, scored=1, loss="mse")
    w, u, b, v, a, (x1, x2), y = 0.5, 1.5, 0.1, 2.0, 0.3, (0.4, -0.2), -1.0
    initial = {"layer0.input": [[w]], "layer0.recurrent": [[u]], "layer0.bias": [b]}
    initial |= {"output.kernel": [[v]], "output.bias": [a]}
    start = {name: np.array(value) for name, value in initial.items()}
    framework = build_framework(module, model, Training("sgd", 1.0, Clip("backprop", bound)), initial=start)
    trace = framework.train([Batch(np.array([[[x1], [x2]]]), np.array([[[y]]]), np.ones((1, 1)))])
    h1 = np.tanh(w * x1 + b)
    h2 = np.tanh(w * x2 + u * h1 + b)
    d_score = 2 * (v * h2 + a - y)
    d2 = d_score * v * (1 - h2**2)
    e2 = min(max(d2, -bound), bound)
    d1 = e2 * u * (1 - h1**2)
    e1 = min(max(d1, -bound), bound)
    expected = {"layer0.input": e2 * x2 + e1 * x1, "layer0.recurrent": e2 * h1, "layer0.bias": e2 + e1}
    expected |= {"output.kernel": d_score * h2, "output.bias": d_score}
    for name, value in expected.items():
        assert (start[name] - framework.weights()[name]).item() == pytest.approx(value, abs=1e-12), name
    assert trace.clipped[0] == np.mean([abs(d2) > bound, abs(d1) > bound])
    norm = np.linalg.norm(list(expected.values()))
    assert (trace.norm_before[0], trace.norm_after[0]) == pytest.approx((norm, norm), rel=1e-12)


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_backprop_with_a_bound_beyond_every_derivative_changes_nothing(module: ModuleType, cell: str) -> None:
    model = make_model(cell, layers=2, tokens=True)
    _, free, plain = take_step(module, model, None)
    _, bounded, trace = take_step(module, model, Clip("backprop", 1e9))
    assert trace.clipped[0] == 0
    assert measure_distance(free, bounded) <= 1e-12 * measure_distance(free, ZERO)
    assert trace.norm_before[0] == pytest.approx(plain.norm_before[0], rel=1e-12)


def test_what_backprop_runs_on_says_that_its_loop_is_hand_written() -> None:
    limit = Clip("backprop", 0.1)
    for name in {"pytorch", "tensorflow"} & set(NAMES):
        module = importlib.import_module(f"farreach.frameworks.{name}")
        assert "hand-written loop" in build_framework(module, make_model("gru"), Training(clip=limit)).kernel


EVERY = (
    Training("sgd", 0.01, None, steps=STEPS),
    *(Training("momentum", 0.01, limit, steps=STEPS) for limit in (Clip("norm", 0.1), Clip("value", 0.01), *LIMITS)),
    *(
        Training(optimizer, 0.01, Clip("norm", 0.1), steps=STEPS)
        for optimizer in ("adam", "adamw", "adagrad", "rmsprop")
    ),
    Training("adam", 0.01, Clip("norm", 0.1), steps=STEPS, schedule=Schedule("cosine", STEPS, warmup=2)),
)
MAPS = Path("/proc/self/maps")
FEW = 20
"""Maps of memory that appear without a compilation; one compiled step has ten times as many."""


@pytest.mark.slow
@pytest.mark.sampled(every=4)
@pytest.mark.skipif(not MAPS.exists(), reason="this system does not list the maps of a process")
@pytest.mark.parametrize("training", EVERY, ids=lambda one: f"{one.optimizer}-{one.clip.kind if one.clip else 'none'}")
@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name in COMPARED for path in registry.list_paths(name, "cpu", "rnn")]
)
def test_a_step_is_compiled_once_whatever_its_batch_and_its_state(name: str, path: str, training: Training) -> None:
    model = make_model("rnn", tokens=True)
    framework = build_framework(importlib.import_module(f"farreach.frameworks.{name}"), model, training, path=path)
    batches = make_batches(model, STEPS, rows=4, time=5)
    for batch in batches[:2]:
        framework.train([batch])
    before = len(MAPS.read_text("utf-8").splitlines())
    for batch in batches[2:]:
        framework.train([batch])
        framework.restore(framework.state())
    assert len(MAPS.read_text("utf-8").splitlines()) - before < FEW
