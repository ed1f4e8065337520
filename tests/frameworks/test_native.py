"""Mode native: each framework trains as its own documentation has it, repeatably, and says what it lacks."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import digest, sweep
from farreach.benchmarks.running import training as worker
from farreach.frameworks import weights
from farreach.frameworks.base import Clip, Learner, Model, Training, Weights
from tests.support.models import CELLS, OPTIMIZERS, ROWS, make_batches, make_model, measure_distance
from tests.support.paths import quickest

FOLDER = registry.ROOT / "frameworks"
NATIVE = sorted(path.parent.name for path in FOLDER.glob("*/native.py"))
NAMES = [name for name in NATIVE if all(map(registry.find_version, registry.list_needs(name, registry.NATIVE)))]
HIDDEN = 32


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"farreach.frameworks.{request.param}.native")


def get_name(module: ModuleType) -> str:
    """Return the name of the framework whose ``native.py`` a module is."""
    return module.__name__.split(".")[-2]


def build_native(
    module: ModuleType, model: Model, training: Training, *, seed: int = 0, dtype: str = "float64", quick: bool = True
) -> Learner:
    """A learner on the path that compiles fastest, or on its default."""
    name = get_name(module)
    path = quickest(name, model.cell) if quick else registry.list_paths(name, "cpu", model.cell)[0]
    return module.Native(model, training, seed, device="cpu", dtype=dtype, threads=1, path=path)


def make_wide_model(cell: str, **more: Any) -> Model:
    """A network wide enough for the distribution of its weights to show."""
    kind: dict[str, Any] = {"features": 50, "outputs": 5, "scored": 1, "loss": "cross_entropy", "tokens": True}
    return Model(cell=cell, hidden=HIDDEN, **(kind | more))


def measure_update(module: ModuleType, training: Training, steps: int = 1) -> tuple[Weights, Weights, Weights]:
    """Return the weights before some steps on one batch, after them, and after one step of SGD at rate 1."""
    model = make_model("gru")
    batch = make_batches(model, 1)
    learner, plain = build_native(module, model, training), build_native(module, model, Training("sgd", 1.0))
    start = learner.weights()
    learner.train(batch * steps)
    plain.train(batch)
    return start, learner.weights(), plain.weights()


# The contract


def test_every_native_file_belongs_to_a_framework_that_is_compared() -> None:
    assert set(NAMES) <= set(NATIVE) <= set(registry.list_compared())
    assert NATIVE


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_repeated_run_is_the_same_bit_for_bit_and_another_seed_is_another(module: ModuleType, cell: str) -> None:
    model = make_model(cell, tokens=True)
    clip = Clip("norm", 0.1)
    learners = [
        build_native(module, model, Training(clip=clip), seed=seed, dtype="float32", quick=False) for seed in (0, 0, 1)
    ]
    first, again, other = learners
    again.prepare(make_batches(model), make_batches(model)[0].inputs)  # which changes nothing
    traces = [learner.train(make_batches(model)) for learner in learners]
    for part in ("loss", "norm_before", "norm_after", "clipped"):
        np.testing.assert_array_equal(getattr(traces[0], part), getattr(traces[1], part), err_msg=part)
    assert weights.digest(first.weights()) == weights.digest(again.weights()) != weights.digest(other.weights())


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_training_lowers_the_loss_and_predictions_have_the_scored_steps(module: ModuleType, cell: str) -> None:
    for model in (make_model(cell), make_model(cell, tokens=True, layers=2)):
        learner = build_native(module, model, Training("adam", 0.01))
        trace = learner.train(make_batches(model, 1) * 60)
        assert trace.loss[-1] < 0.9 * trace.loss[0]
        assert learner.predict(make_batches(model, 1)[0].inputs).shape == (ROWS, model.scored, model.outputs)


def test_each_step_has_the_gradient_of_its_own_batch_alone(module: ModuleType) -> None:
    model = make_model("gru")
    learner = build_native(module, model, Training("sgd", 1e-9))
    first, second = make_batches(model, 2)
    trace = learner.train([first, second, first])
    assert trace.norm_before[2] == pytest.approx(trace.norm_before[0], rel=1e-6)
    assert trace.norm_before[1] != pytest.approx(trace.norm_before[0], rel=1e-3)


def test_chunks_do_not_matter(module: ModuleType) -> None:
    model = make_model("lstm")
    batches = make_batches(model)
    whole, parts = (build_native(module, model, Training("momentum", 0.01)) for _ in range(2))
    one = whole.train(batches)
    two = [parts.train(batches[:5]), parts.train(batches[5:])]
    np.testing.assert_array_equal(np.concatenate([trace.loss for trace in two]), one.loss)


@pytest.mark.parametrize("threshold", [0.001, 0.1, 100.0])
def test_a_norm_clip_keeps_its_threshold_and_says_when_it_clipped(module: ModuleType, threshold: float) -> None:
    model = make_model("lstm")
    learner = build_native(module, model, Training("sgd", 1.0, Clip("norm", threshold)))
    for batch in make_batches(model, 3):
        before = learner.weights()
        trace = learner.train([batch])
        assert measure_distance(before, learner.weights()) == pytest.approx(trace.norm_after[0], rel=1e-6)
        assert trace.norm_after[0] <= threshold * (1 + 1e-9)
        assert trace.norm_after[0] == pytest.approx(min(threshold, trace.norm_before[0]), rel=2e-3)
        assert trace.clipped[0] == (trace.norm_before[0] > threshold)


def test_a_value_clip_cuts_every_element_and_counts_those_it_cut(module: ModuleType) -> None:
    model, threshold = make_model("gru"), 0.01
    batch = make_batches(model, 1)
    free = build_native(module, model, Training("sgd", 1.0))
    cut = build_native(module, model, Training("sgd", 1.0, Clip("value", threshold)))
    start = free.weights()
    free.train(batch)
    trace = cut.train(batch)
    for name, value in start.items():
        gradient = value - free.weights()[name]
        np.testing.assert_allclose(value - cut.weights()[name], gradient.clip(-threshold, threshold), atol=1e-9)
    share = np.mean(np.concatenate([np.abs(start[name] - free.weights()[name]).ravel() for name in start]) > threshold)
    assert trace.clipped[0] == pytest.approx(share, abs=1e-9)
    assert 0 < share < 1


@pytest.mark.parametrize("framework", NAMES)
def test_a_forced_divergence_is_recorded_and_ends_the_case(framework: str) -> None:
    case = Case(
        task="adding",
        parameters=(("T", 20),),
        framework=framework,
        cell="rnn",
        activation="relu",
        optimizer="sgd",
        learning_rate=100.0,
        steps=300,
        mode="native",
        path=quickest(framework, "rnn"),
    )
    outcome = worker.train(case, lambda _: None)
    assert outcome.result.status == "diverged"
    assert 1 < outcome.result.diverged_at <= 100
    assert (outcome.result.steps_done, outcome.result.loss) == (100, None)


# What is the framework's own


def draw_weights(module: ModuleType, cell: str) -> Weights:
    return build_native(module, make_wide_model(cell), Training(), dtype="float32").weights()


@pytest.mark.skipif("pytorch" not in NAMES, reason="PyTorch is not installed")
@pytest.mark.parametrize("cell", CELLS)
def test_pytorch_draws_every_recurrent_weight_and_bias_uniformly_and_trains_both_biases(cell: str) -> None:
    module = importlib.import_module("farreach.frameworks.pytorch.native")
    start, bound = draw_weights(module, cell), 1 / np.sqrt(HIDDEN)
    for name, value in start.items():
        if name.startswith("recurrent."):
            assert 0.9 * bound < np.abs(value).max() <= bound, name
            assert value.std() == pytest.approx(bound / np.sqrt(3), rel=0.25), name
    assert start["embedding.weight"].std() == pytest.approx(1, rel=0.1)
    learner = build_native(module, make_wide_model(cell), Training(), dtype="float32")
    learner.train(make_batches(make_wide_model(cell), 1))
    for name in ("recurrent.bias_ih_l0", "recurrent.bias_hh_l0"):
        assert (learner.weights()[name] != start[name]).all(), name


@pytest.mark.skipif("tensorflow" not in NAMES, reason="TensorFlow is not installed")
def test_keras_draws_orthogonal_and_glorot_kernels_and_forgets_nothing_at_first() -> None:
    module = importlib.import_module("farreach.frameworks.tensorflow.native")
    embedding, kernel, recurrent, bias, output, last = draw_weights(module, "lstm").values()
    assert np.abs(embedding).max() <= 0.05
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(HIDDEN), atol=1e-5)
    for value in (kernel, output):
        bound = np.sqrt(6 / sum(value.shape))
        assert 0.9 * bound < np.abs(value).max() <= bound
    np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], HIDDEN))
    np.testing.assert_array_equal(last, np.zeros(5))


@pytest.mark.skipif("jax" not in NAMES, reason="JAX is not installed")
def test_flax_draws_orthogonal_and_lecun_kernels_and_zero_biases() -> None:
    module = importlib.import_module("farreach.frameworks.jax.native")
    start = draw_weights(module, "lstm")
    for name, value in start.items():
        if name.endswith("bias"):
            np.testing.assert_array_equal(value, np.zeros_like(value), err_msg=name)  # the forget gate's too
    for gate in "ifgo":
        recurrent = start[f"recurrent.0.cell.h{gate}.kernel"]
        np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(HIDDEN), atol=1e-5)
    kernel = start["recurrent.0.cell.ii.kernel"]
    assert kernel.std() == pytest.approx(1 / np.sqrt(HIDDEN), rel=0.1)


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(
    ("optimizer", "first"),
    [
        ("sgd", {"pytorch": 1.0, "tensorflow": 1.0, "jax": 1.0}),
        ("momentum", {"pytorch": 1.0, "tensorflow": 1.0, "jax": 1.0}),
        # The root of 1 - decay: the first step of RMSprop is its inverse, in units of the rate.
        ("rmsprop", {"pytorch": 0.01**-0.5, "tensorflow": 0.1**-0.5, "jax": 0.1**-0.5}),
        ("adam", {"pytorch": 1.0, "tensorflow": 1.0, "jax": 1.0}),
        ("adamw", {"pytorch": 1.0, "tensorflow": 1.0, "jax": 1.0}),
    ],
)
def test_the_first_update_is_that_of_the_frameworks_own_defaults(
    module: ModuleType, optimizer: str, first: dict[str, float]
) -> None:
    rate = 1e-3
    start, after, plain = measure_update(module, Training(optimizer, rate))
    compared = 0
    for name, value in start.items():
        gradient = value - plain[name]
        large = np.abs(gradient) > 5e-2  # beside which every epsilon is nothing
        compared += large.sum()
        expected = gradient if optimizer in {"sgd", "momentum"} else np.sign(gradient)
        expected = rate * first[get_name(module)] * expected
        np.testing.assert_allclose((value - after[name])[large], expected[large], rtol=2e-3, err_msg=name)
    assert compared > 10


def test_the_accumulator_of_adagrad_starts_as_the_frameworks_own(module: ModuleType) -> None:
    """The first step is rate * g / sqrt(start + g²), with a start of 0 in PyTorch and .1 in Keras and optax."""
    rate, begin = 1e-3, {"pytorch": 0.0, "tensorflow": 0.1, "jax": 0.1}[get_name(module)]
    start, after, plain = measure_update(module, Training("adagrad", rate))
    for name, value in start.items():
        gradient = value - plain[name]
        large = np.abs(gradient) > 5e-2
        expected = rate * gradient / np.sqrt(begin + gradient**2)
        np.testing.assert_allclose((value - after[name])[large], expected[large], rtol=1e-3, err_msg=name)


@pytest.mark.slow
def test_decays_that_mean_the_same_in_each_framework_are_those_of_the_case(module: ModuleType) -> None:
    rate = 1e-3
    start, decayed, plain = measure_update(module, Training("adamw", rate, weight_decay=0.5))
    _, adam, _ = measure_update(module, Training("adam", rate))
    _, quick, _ = measure_update(module, Training("rmsprop", rate, decay=0.75))
    for name, value in start.items():
        np.testing.assert_allclose(adam[name] - decayed[name], rate * 0.5 * value, atol=1e-9, err_msg=name)
        large = np.abs(value - plain[name]) > 5e-2
        np.testing.assert_allclose(np.abs(value - quick[name])[large], rate / 0.25**0.5, rtol=2e-3, err_msg=name)


def test_adams_epsilon_is_the_frameworks_own(module: ModuleType) -> None:
    """For a small g the first step is rate * |g| / (|g| + epsilon): 1e-8, or Keras' 1e-7 / sqrt(.001)."""
    epsilon = {"pytorch": 1e-8, "tensorflow": 1e-7 / np.sqrt(1e-3), "jax": 1e-8}[get_name(module)]
    rate, scale = 1e-3, 1e-6
    model = make_model("gru")
    batch = make_batches(model, 1)[0]
    plain = build_native(module, model, Training("sgd", 1.0))
    start = plain.weights()
    plain.train([batch])
    largest = max(np.abs(start[name] - value).max() for name, value in plain.weights().items())
    # A value clip makes nearly every element of the gradient the same tiny number.
    learner = build_native(module, model, Training("adam", rate, Clip("value", scale)))
    learner.train([batch])
    step = max(np.abs(start[name] - value).max() for name, value in learner.weights().items())
    assert largest > scale
    assert step == pytest.approx(rate * scale / (scale + epsilon), rel=1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_native_and_matched_start_from_other_weights(module: ModuleType, optimizer: str) -> None:
    name = get_name(module)
    fields: dict[str, Any] = {"task": "adding", "parameters": (("T", 10),), "framework": name, "cell": "lstm"}
    fields |= {"optimizer": optimizer, "steps": 100, "path": quickest(name, "lstm")}
    batch = next(Case(**fields).load().batches(0, 4))
    scores = [worker.build(Case(**fields, mode=mode)).predict(batch.inputs) for mode in ("matched", "native")]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


@pytest.mark.skipif("jax" not in NAMES, reason="JAX is not installed")
def test_jax_compiles_once_for_all_seeds_of_a_recipe() -> None:
    module = importlib.import_module("farreach.frameworks.jax.native")
    model = make_model("rnn")
    before = module.train_step.jitted_fn._cache_size()  # noqa: SLF001 - no public count
    for seed in range(3):
        build_native(module, model, Training("sgd", 0.123), seed=seed).train(make_batches(model, 2))
    assert module.train_step.jitted_fn._cache_size() == before + 1  # noqa: SLF001


# What cannot be is refused


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"activation": "sigmoid", "cell": "rnn"}, "mode native has no sigmoid in pytorch, whose own rnn takes: tanh"),
        ({"regulariser": "l2", "strength": 0.1}, "mode native takes no regulariser l2"),
        ({"replicate": 1}, "mode native takes no replicate 1"),
        (
            {"optimizer": "adagrad", "accumulator": 0.1},
            "mode native takes no accumulator 0.1: each framework's optimizers have their own",
        ),
        (
            {"schedule": "cosine"},
            "mode native takes no schedule cosine: the frameworks mean different schedules by that name",
        ),
        ({"framework": "reference", "path": "numpy"}, "reference has no defaults of its own, so no mode native"),
        ({"path": "compiled"}, "unknown path 'compiled' for pytorch lstm on cpu in mode native; allowed: eager"),
        ({"mode": "documented"}, "unknown mode 'documented'; allowed: matched, native"),
    ],
)
def test_a_combination_that_native_cannot_do_is_refused_in_one_line(fields: dict[str, Any], said: str) -> None:
    good: dict[str, Any] = {"task": "adding", "framework": "pytorch", "cell": "lstm", "path": "eager", "mode": "native"}
    assert Case(**good)
    with pytest.raises(registry.UsageError) as fault:
        Case(**(good | fields))
    assert str(fault.value).startswith(said)
    assert "\n" not in str(fault.value)


SUITE = """
description = "a suite"
[[block]]
task = "adding"
framework = ["tensorflow", "pytorch"]
cell = "rnn"
mode = ["matched", "native"]
"""


def test_mode_is_an_axis_of_a_suite(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(SUITE)
    cases = suite.load_suite(str(tmp_path / "mine.toml")).list_cases()
    assert [(case.framework, case.mode) for case in cases] == [
        *(("tensorflow", "matched"), ("tensorflow", "native"), ("pytorch", "matched"), ("pytorch", "native"))
    ]
    assert len({case.key() for case in cases}) == len({case.label() for case in cases}) == 4
    assert suite.narrow_cases(cases, ["mode=native"], "mine") == [case for case in cases if case.mode == "native"]
    assert all(Case.from_json(case.to_json()) == case for case in cases)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ('activation = ["tanh", "sigmoid"]', "mode native has no sigmoid in pytorch, whose own rnn takes: tanh, relu"),
        ('regulariser = { kind = "l1", strength = 0.1 }', "mode native takes no regulariser l1"),
        ("replicate = [0, 1]", "mode native takes no replicate 1"),
    ],
)
def test_a_suite_that_asks_for_it_ends_with_one_line_and_status_2(tmp_path: Path, extra: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text(SUITE + extra + "\n")
    arguments = [sys.executable, "-m", "benchmarks", "run", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "out")]
    done = subprocess.run(arguments, cwd=registry.ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_other_frameworks_have_a_sigmoid_rnn_of_their_own() -> None:
    for name in ("tensorflow", "jax"):
        path = registry.list_paths(name, "cpu", "rnn")[0]
        assert Case(task="adding", framework=name, cell="rnn", activation="sigmoid", mode="native", path=path)


def test_a_package_that_only_native_needs_is_missed_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_version", lambda name: None if name == "flax" else "1.0")
    cases = [case for case in suite.load_suite("native").list_cases(["jax"]) if case.seed == 0]
    sweep.require_frameworks([case for case in cases if case.mode == "matched"])
    with pytest.raises(registry.UsageError, match="jax in mode native needs a package that is not installed: flax"):
        sweep.require_frameworks(cases)
    monkeypatch.setattr(registry, "find_version", lambda name: None if name == "optax" else "1.0")
    with pytest.raises(registry.UsageError, match="jax in mode matched needs a package that is not installed: optax"):
        sweep.require_frameworks([case for case in cases if case.mode == "matched"])


def test_the_key_of_a_native_case_changes_with_the_packages_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {case.mode: case for case in suite.load_suite("native").list_cases(["jax"])}
    before = {mode: case.key() for mode, case in cases.items()}
    installed = registry.find_version
    monkeypatch.setattr(registry, "find_version", lambda name: "0.0" if name == "flax" else installed(name))
    assert cases["matched"].key() == before["matched"]
    assert cases["native"].key() != before["native"]


def test_a_native_row_has_a_digest_of_its_own() -> None:
    pytest.importorskip("torch")
    cases = {
        mode: Case(task="adding", framework="pytorch", cell="lstm", path="eager", mode=mode)
        for mode in ("matched", "native")
    }
    digests = {mode: digest.make_digest(case, "a kernel") for mode, case in cases.items()}
    assert digests["matched"] != digests["native"]
    assert "frameworks/pytorch/native.py" in digest.list_files("pytorch", "native", "rnn")
    assert "frameworks/pytorch/native.py" not in digest.list_files("pytorch", "matched", "rnn")
