"""Schedules of the learning rate: their equations, optax's own beside them, and every framework that follows them."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.frameworks import reference, weights
from farreach.frameworks.base import Clip, Regulariser, Training
from farreach.frameworks.reference.optimizers import find_rate
from farreach.frameworks.schedule import Schedule
from tests.support.models import build_framework, make_batches, make_model, measure_distance

NAMES = [name for name in registry.list_frameworks() if registry.find_framework_version(name)]
SCHEDULES = [
    Schedule("cosine", 20),
    Schedule("cosine", 20, warmup=5, end=0.1),
    Schedule("cosine", 20, warmup=19, end=1.0),
    Schedule("step", 20, every=3, factor=0.5),
]
RECIPES: dict[str, dict[str, Any]] = {
    "adamw": {"weight_decay": 0.1},
    "adagrad": {},
    "rmsprop": {"decay": 0.9, "accumulator": 1e-3},
    "sgd": {"regulariser": Regulariser("omega2", 0.05)},
    "momentum": {},
}


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"farreach.frameworks.{request.param}")


def test_the_factors_are_those_of_the_equations() -> None:
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        Schedule("cosine", 10, warmup=2).list_factors(0, 10)[[0, 1, 2, 4, 6, 8]],
        [0, 0.5, 1, (1 + half) / 2, 0.5, (1 - half) / 2],
        atol=1e-15,
    )
    np.testing.assert_allclose(Schedule("cosine", 4, end=0.2).list_factors(0, 4)[[0, 2]], [1, 0.6], rtol=1e-15)
    np.testing.assert_array_equal(Schedule("cosine", 4, warmup=2, end=1.0).list_factors(0, 4), [0, 0.5, 1, 1])
    np.testing.assert_allclose(
        Schedule("step", 9, every=3, factor=0.1).list_factors(0, 7), [1] * 3 + [0.1] * 3 + [0.01]
    )
    assert Schedule("cosine", 10, end=0.25).list_factors(10, 3).tolist() == [0.25] * 3


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_chunk_has_the_rates_of_its_place_and_the_reference_has_its_own(schedule: Schedule) -> None:
    training = Training("sgd", 0.3, schedule=schedule)
    whole = training.list_rates(0, 20)
    np.testing.assert_array_equal(np.concatenate([training.list_rates(at, 5) for at in (0, 5, 10, 15)]), whole)
    np.testing.assert_allclose([find_rate(training, steps) for steps in range(1, 21)], whole, rtol=1e-12, atol=1e-16)
    assert Training("sgd", 0.3).list_rates(7, 3).tolist() == [0.3] * 3


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rates_are_those_of_optax(schedule: Schedule) -> None:
    """Which count from 0, too; PyTorch's and Keras' schedules do the same."""
    optax = pytest.importorskip("optax")
    importlib.import_module("jax").config.update("jax_enable_x64", True)  # noqa: FBT003 - JAX has it so
    rate = 0.3
    if schedule.kind == "step":
        theirs = optax.exponential_decay(rate, schedule.every, schedule.factor, staircase=True)
    elif schedule.warmup:
        end = rate * schedule.end
        theirs = optax.warmup_cosine_decay_schedule(0.0, rate, schedule.warmup, schedule.steps, end)
    else:
        theirs = optax.cosine_decay_schedule(rate, schedule.steps, schedule.end)
    rates = Training("sgd", rate, schedule=schedule).list_rates(0, schedule.steps)
    np.testing.assert_allclose(rates, [float(theirs(np.int64(at))) for at in range(schedule.steps)], atol=1e-7)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"warmup": 10}, r"warmup must be a whole number from 0 to below steps \(10\), not 10"),
        ({"warmup": -1}, "warmup must be"),
        ({"end": 1.5}, "rate_end must be a number from 0 to 1, not 1.5"),
        ({"end": np.nan}, "rate_end must be"),
        ({"every": 0}, "rate_every must be a whole number of at least 1, not 0"),
        ({"factor": 1.0}, "rate_factor must be a number above 0 and below 1, not 1.0"),
        ({"factor": 0.0}, "rate_factor must be"),
    ],
)
def test_what_is_no_schedule_is_refused(numbers: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Schedule("cosine", 10, **numbers)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"decay": 1.0}, "decay must be a number above 0 and below 1, not 1.0"),
        ({"accumulator": -0.1}, "accumulator must be a finite number of at least 0, not -0.1"),
        ({"weight_decay": np.inf}, "weight_decay must be a finite number of at least 0, not inf"),
    ],
)
def test_a_number_of_an_optimizer_that_cannot_be_is_refused(numbers: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Training(**numbers)  # type: ignore[arg-type]


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("optimizer", RECIPES)
def test_every_step_of_a_recipe_is_the_references(module: ModuleType, optimizer: str) -> None:
    """From the reference's state within 1e-10, over a warm-up, the whole rate and the fall after it."""
    schedule = None if optimizer == "momentum" else Schedule("cosine", 12, warmup=4, end=0.1)
    schedule = schedule or Schedule("step", 12, every=2, factor=0.5)
    model = make_model("rnn", tokens=optimizer != "sgd")
    training = Training(optimizer, 0.01, Clip("norm", 0.1), schedule=schedule, **RECIPES[optimizer])  # type: ignore[arg-type]
    right, framework = build_framework(reference, model, training), build_framework(module, model, training)
    assert measure_states(right, framework) == 0
    for batch in make_batches(model, 12, rows=4, time=5):
        framework.restore(right.state())
        expected, trace = right.train([batch]), framework.train([batch])
        assert trace.norm_before[0] == pytest.approx(expected.norm_before[0], rel=1e-10)
        assert measure_states(right, framework) < 1e-10


def measure_states(one: Any, other: Any) -> float:
    """The largest distance between weights or slots, relative."""
    ours, theirs = one.state(), other.state()
    assert ours.steps == theirs.steps
    pairs = zip((ours.weights, *ours.slots), (theirs.weights, *theirs.slots), strict=True)
    return max(
        measure_distance(right, found) / (measure_distance(right, dict.fromkeys(right, 0.0)) or 1)
        for right, found in pairs
    )


def test_chunks_and_a_restored_state_go_on_at_their_place_of_the_schedule(module: ModuleType) -> None:
    model = make_model("rnn")
    batches = make_batches(model, 12, rows=4, time=5)
    training = Training("sgd", 0.5, schedule=Schedule("cosine", 12, warmup=4, end=0.1))
    whole, parts = (build_framework(module, model, training, dtype="float32") for _ in range(2))
    parts.prepare(batches[:6], batches[0].inputs)
    loss = whole.train(batches).loss
    first = parts.train(batches[:6])
    state = parts.state()
    then = parts.train(batches[6:])
    np.testing.assert_allclose([*first.loss, *then.loss], loss, rtol=1e-6)
    parts.restore(state)
    np.testing.assert_array_equal(parts.train(batches[6:]).loss, then.loss)
    assert weights.digest(whole.weights()) == weights.digest(parts.weights())


@pytest.mark.parametrize("name", [name for name in NAMES if name in {"jax", "tensorflow"}])
def test_a_grid_of_rates_weight_decays_and_schedules_of_one_kind_or_another_compiles_once(name: str) -> None:
    module, model = importlib.import_module(f"farreach.frameworks.{name}"), make_model("rnn")
    batches = make_batches(model, 3, rows=4, time=5)
    built = [
        build_framework(module, model, Training("adamw", rate, weight_decay=decay, schedule=schedule))
        for rate, decay, schedule in zip((0.1, 0.2, 0.1, 0.3), (0.1, 0.1, 0.2, 0.0), SCHEDULES, strict=True)
    ]
    for framework in built:
        framework.prepare(batches, batches[0].inputs)
        framework.train(batches)
        framework.train(batches)
    chunks: Any = {framework.chunk for framework in built}  # type: ignore[attr-defined]
    (chunk,) = chunks
    compiled = chunk._cache_size() if name == "jax" else chunk.experimental_get_tracing_count()  # noqa: SLF001
    assert compiled == 1


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adagrad", "adam", "adamw"])
def test_a_rate_in_a_tensor_as_a_cuda_graph_has_it_is_that_rate(optimizer: Any) -> None:
    torch = pytest.importorskip("torch")
    update = importlib.import_module("farreach.frameworks.pytorch.optimizers")
    random = np.random.default_rng(0)
    drawn, *steps = (random.standard_normal((4, 3)) for _ in range(4))
    numbers = {"weight_decay": 0.2} if optimizer == "adamw" else {}
    found = []
    for make in (float, torch.tensor):
        trained = [torch.from_numpy(drawn.copy())]
        slots = [[torch.full_like(trained[0], 0.1)] for _ in range(update.SLOTS[optimizer])]
        counts = [torch.zeros(())]
        for at, gradient in enumerate(steps):
            rate = make(0.1 / (at + 1)) if make is float else make(0.1 / (at + 1), dtype=torch.float64)
            update.update_weights(
                optimizer, trained, [torch.from_numpy(gradient)], slots, steps=counts, learning_rate=rate, **numbers
            )
        found.append(np.concatenate([part.numpy() for part in (*trained, *(one for slot in slots for one in slot))]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-13)
