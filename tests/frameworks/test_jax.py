"""What is special to JAX: threads set before it starts, dtypes under x64, one compilation, optax's algebra."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.frameworks import base, weights
from farreach.frameworks.base import Clip, Model, Regulariser, State, Training, Weights
from farreach.tasks.base import Batch

pytest.importorskip("jax")
pytest.importorskip("optax")

import jax as installed
from jax import numpy as jnp

from farreach.frameworks import jax
from farreach.frameworks.base import UnsupportedError
from farreach.frameworks.jax import optimizers, paths

CELLS = ("rnn", "lstm", "gru")
OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam")
TIME, ROWS = 7, 5


def make_model(cell: str = "lstm", *, tokens: bool = False) -> Model:
    """Two layers of 4 hidden units: regression on the last step, or 5 classes on the last 3."""
    kind = {"features": 6, "outputs": 5, "scored": 3} if tokens else {"features": 2, "outputs": 1, "scored": 1}
    loss = "cross_entropy" if tokens else "mse"
    return Model(cell=cell, hidden=4, layers=2, tokens=tokens, loss=loss, **kind)


def make_batches(model: Model, count: int = 4) -> list[Batch]:
    random = np.random.default_rng(0)

    def one() -> Batch:
        mask = np.ones((ROWS, model.scored), np.float32)
        if model.tokens:
            tokens = random.integers(0, model.features, (ROWS, TIME), dtype=np.int32)
            return Batch(tokens, random.integers(0, model.outputs, (ROWS, model.scored), dtype=np.int32), mask)
        inputs = random.standard_normal((ROWS, TIME, model.features), dtype=np.float32)
        return Batch(inputs, random.standard_normal((ROWS, model.scored, model.outputs), dtype=np.float32), mask)

    return [one() for _ in range(count)]


def build_framework(model: Model, training: Training, *, seed: int = 0, dtype: str = "float64") -> jax.Framework:
    initial = weights.draw(model, seed)
    return jax.Framework(model, training, initial, device="cpu", dtype=dtype, threads=1, path="scan")


def list_avals(jaxpr: Any) -> Iterator[Any]:
    """The shape and dtype of every value in a traced program, its loops and inner functions included."""
    for variable in (*jaxpr.invars, *jaxpr.constvars):
        yield variable.aval
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield variable.aval
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, tuple) else (parameter,):
                program = getattr(inner, "jaxpr", inner)
                if hasattr(program, "eqns"):
                    yield from list_avals(program)


def trace_chunk(framework: jax.Framework, batches: list[Batch]) -> list[Any]:
    """The values of a whole chunk: loss, gradients, clip and update."""
    stacked = framework.stack_batches(batches)  # as `train` makes them
    program = installed.make_jaxpr(framework.chunk)
    return list(list_avals(program(framework.carried, stacked, framework.limits, jnp.int32(len(batches))).jaxpr))


def count_compilations(compiled: Any) -> int:
    """How many programs a jitted function has compiled."""
    return int(compiled._cache_size())  # noqa: SLF001 - JAX offers no other count


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [Clip("norm", 0.1), Clip("value", 0.1)])
def test_no_float64_leaks_into_a_float32_case(cell: str, optimizer: str, clip: Clip) -> None:
    """But for the scalars of adam's bias correction, where float32 would lose four digits of 1 - 0.999."""
    model = make_model(cell, tokens=cell == "gru")
    framework = build_framework(model, Training(optimizer, 0.01, clip, Regulariser("l1", 0.1)), dtype="float32")
    wide = [aval for aval in trace_chunk(framework, make_batches(model)) if aval.dtype == np.float64]
    assert not [aval for aval in wide if aval.shape]
    assert bool(wide) == (optimizer == "adam")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_state_and_predictions_keep_the_dtype_of_the_case(dtype: str) -> None:
    framework = build_framework(make_model(), Training(), dtype=dtype)
    batches = make_batches(framework.model)
    framework.train(batches)
    state = framework.state()
    for group in (state.weights, *state.slots):
        assert {value.dtype for value in group.values()} == {np.dtype(dtype)}
    assert framework.predict(batches[0].inputs).dtype == dtype


def test_float64_is_float64_from_the_weights_to_the_figures() -> None:
    framework = build_framework(make_model(), Training())
    values = trace_chunk(framework, make_batches(framework.model))
    assert not [aval for aval in values if aval.dtype == np.float32]
    assert [aval for aval in values if aval.dtype == np.float64]


def test_cases_that_differ_in_threshold_rate_strength_or_seed_share_one_compilation() -> None:
    model = make_model()
    batches = make_batches(model)
    recipes = [
        Training(clip=Clip("norm", 0.1)),
        Training(clip=Clip("norm", 10.0)),
        Training(learning_rate=1e-4),
        Training(),
    ]
    paths.compile_program.cache_clear()
    built = [build_framework(model, recipe, seed=seed) for seed, recipe in enumerate(recipes)]
    for framework in built:
        framework.prepare(batches, batches[0].inputs)
        framework.train(batches)
        framework.restore(framework.state())
        framework.train(batches)
        framework.predict(batches[0].inputs)
        assert framework.chunk is built[0].chunk
    assert count_compilations(built[0].chunk) == 1
    assert count_compilations(built[0].scores) == 1
    strengths = [build_framework(model, Training(regulariser=Regulariser("l2", strength))) for strength in (0.1, 1e-4)]
    for framework in strengths:
        framework.train(batches)
    assert strengths[0].chunk is strengths[1].chunk
    assert count_compilations(strengths[0].chunk) == 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_update_is_the_documented_algebra(optimizer: str) -> None:
    """Each optimizer as `farreach.frameworks.base.Training` writes it, in NumPy, from a state of five updates."""
    model, rate = make_model(), 0.01
    random = np.random.default_rng(1)
    drawn = [random.standard_normal((2, 3)) for _ in range(4)]
    w, g, one, two = drawn[0], drawn[1], drawn[2], np.abs(drawn[3])
    decay, (first, second), steps = base.RMSPROP_DECAY, base.ADAM_DECAYS, 6
    v = base.MOMENTUM * one + g
    s = decay * two + (1 - decay) * g**2
    mean, square = first * one + (1 - first) * g, second * two + (1 - second) * g**2
    corrected = mean / (1 - first**steps), square / (1 - second**steps)
    slots, change, after = {
        "sgd": ([], g, []),
        "momentum": ([one], v, [v]),
        "rmsprop": ([two], g / (np.sqrt(s) + base.RMSPROP_EPSILON), [s]),
        "adam": ([one, two], corrected[0] / (np.sqrt(corrected[1]) + base.ADAM_EPSILON), [mean, square]),
    }[optimizer]
    build_framework(model, Training())  # x64 is on from here
    moved, kept = optimizers.update_weights(
        optimizer,
        {"w": jnp.array(w)},
        {"w": jnp.array(g)},
        [{"w": jnp.array(slot)} for slot in slots],
        steps=jnp.int32(steps),
        learning_rate=jnp.array(rate),
    )
    np.testing.assert_allclose(moved["w"], w - rate * change, rtol=1e-14)
    for mine, expected in zip(kept, after, strict=True):
        np.testing.assert_allclose(mine["w"], expected, rtol=1e-14)


def test_weights_and_states_are_copies_in_both_directions() -> None:
    """JAX on the CPU may share memory with NumPy; what a caller does to an array must not reach the model."""
    model = make_model()
    initial = weights.draw(model, 0)
    framework = jax.Framework(model, Training(), initial, device="cpu", dtype="float64", threads=1, path="scan")
    digest = weights.digest(framework.weights())
    state: State = framework.state()
    for group in (initial, framework.weights(), state.weights, *state.slots):
        _spoil(group)
    assert weights.digest(framework.weights()) == digest
    assert not any(value.any() for slot in framework.state().slots for value in slot.values())


def _spoil(group: Weights) -> None:
    for value in group.values():
        np.add(value, 1, out=value)


def test_a_second_configuration_in_one_process_is_refused() -> None:
    jax.configure("cpu", 1)
    for device, threads in (("cpu", 2), ("cuda", 1)):
        with pytest.raises(UnsupportedError, match="once a process"):
            jax.configure(device, threads)


def run_program(program: str) -> str:
    """Run a program in a fresh interpreter; return what it printed."""
    command = [sys.executable, "-c", f"from farreach.frameworks import base, jax\n{program}"]
    done = subprocess.run(command, cwd=registry.ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_thread_is_one_thread() -> None:
    """The ratio of CPU to wall time of large products: two threads would show as nearly 2."""
    ratio = run_program(
        "import time\njax.configure('cpu', 1)\nsquare = jax.jax.jit(lambda x: x @ x)\n"
        "x = jax.jax.numpy.ones((1500, 1500), 'float32')\n"
        "square(x).block_until_ready()\n"
        "cpu, wall = time.process_time(), time.perf_counter()\n"
        "for _ in range(10): square(x).block_until_ready()\n"
        "print((time.process_time() - cpu) / (time.perf_counter() - wall))\n"
    )
    assert float(ratio) < 1.2


def test_a_missing_gpu_is_said_in_one_line() -> None:
    said = run_program(
        "try:\n    jax.configure('cuda', 1)\n    print('JAX finds a GPU')\n"
        "except base.UnsupportedError as error:\n    print(error)\n"
    )
    assert said.strip() in {"JAX finds a GPU", "JAX finds no CUDA GPU on this machine"}


@pytest.mark.slow
def test_separate_processes_end_in_the_same_bits() -> None:
    program = (
        "from farreach.frameworks import weights\n"
        "from tests.support import models\n"
        "model = models.make_model('gru', tokens=True)\n"
        "framework = models.build_framework(jax, model, base.Training(), dtype='float32')\n"
        "framework.train(models.make_batches(model, 20))\n"
        "print(weights.digest(framework.weights()))\n"
    )
    one, two = (run_program(program) for _ in range(2))
    assert one == two
    assert len(one.strip()) == 64


def test_every_path_on_the_cpu_is_the_scan() -> None:
    for cell in CELLS:
        assert registry.list_paths("jax", "cpu", cell) == ("scan",)
    assert build_framework(make_model(), Training()).kernel == "lax.scan"
    assert jax.Framework.facts("cpu") == {
        "framework_version": installed.__version__,
        "device_name": "cpu",
        "precision": "float32, TF32 off",
    }
