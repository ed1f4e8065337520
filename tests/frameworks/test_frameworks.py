"""The contract of every framework: one suite, run against each folder in ``frameworks/`` that is installed."""

from __future__ import annotations

import functools
import importlib
import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import training as worker
from farreach.frameworks import reference, weights
from farreach.frameworks.base import Clip, Model, Regulariser, State, Trace, Training
from farreach.frameworks.reference import optimizers
from farreach.tasks.base import Batch
from tests.support.models import (
    CELLS,
    OPTIMIZERS,
    ROWS,
    build_framework,
    make_batches,
    make_model,
    measure_distance,
)

NAMES = [name for name in registry.list_frameworks() if registry.find_framework_version(name)]
COMPARED = [name for name in NAMES if name != "reference"]
LEARNERS = [("rnn", "tanh"), ("rnn", "relu"), ("rnn", "sigmoid"), ("lstm", "tanh"), ("gru", "tanh")]


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"farreach.frameworks.{request.param}")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_weights_come_back_as_they_went_in(module: ModuleType, cell: str, tokens: bool, layers: int) -> None:
    model = make_model(cell, tokens=tokens, layers=layers)
    initial = weights.draw(model, 3)
    returned = build_framework(module, model, Training(), initial=initial).weights()
    assert returned.keys() == initial.keys()
    for name, value in initial.items():
        np.testing.assert_array_equal(returned[name], value, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_predictions_have_one_row_an_example_and_the_scored_steps_alone(module: ModuleType, cell: str) -> None:
    for model in (make_model(cell), make_model(cell, tokens=True)):
        scores = build_framework(module, model, Training()).predict(make_batches(model, 1)[0].inputs)
        assert scores.shape == (ROWS, model.scored, model.outputs)


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tokens", [False, True])
def test_the_recorded_loss_is_that_of_the_predictions(module: ModuleType, cell: str, tokens: bool) -> None:
    """By hand from what `predict` returns, so that neither may be a few percent off."""
    model = make_model(cell, tokens=tokens)
    batch = make_batches(model, 1)[0]
    framework = build_framework(module, model, Training("sgd", 1.0))
    scores = framework.predict(batch.inputs)
    if tokens:
        chances = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        each = -np.log(np.take_along_axis(chances, batch.targets[..., None], axis=-1)[..., 0])
    else:
        each = np.square(scores - batch.targets).mean(axis=-1)
    expected = (each * batch.mask).sum() / batch.mask.sum()
    assert framework.train([batch]).loss[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("clip", [None, Clip("norm", 0.05), Clip("norm", 1e6), Clip("value", 0.01)])
def test_the_norm_after_the_clip_is_that_of_the_update(module: ModuleType, cell: str, clip: Clip | None) -> None:
    model = make_model(cell, tokens=True, layers=2)
    framework = build_framework(module, model, Training("sgd", 1.0, clip))
    before = framework.weights()
    trace = framework.train(make_batches(model, 1))
    # Under SGD at rate 1 the change of the weights is the clipped gradient itself.
    assert measure_distance(before, framework.weights()) == pytest.approx(trace.norm_after[0], rel=1e-9)


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("threshold", [0.001, 0.1, 10.0])
def test_a_norm_clip_never_exceeds_its_threshold(module: ModuleType, cell: str, threshold: float) -> None:
    model = make_model(cell)
    framework = build_framework(module, model, Training("sgd", 1.0, Clip("norm", threshold)))
    for batch in make_batches(model, 5):
        before = framework.weights()
        trace = framework.train([batch])
        assert measure_distance(before, framework.weights()) <= threshold * (1 + 1e-9)
        assert trace.clipped[0] == (trace.norm_before[0] > threshold)


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("cell", CELLS)
def test_a_value_clip_cuts_every_element_and_counts_those_it_cut(module: ModuleType, cell: str) -> None:
    model, threshold = make_model(cell), 0.01
    batch = make_batches(model, 1)
    free = build_framework(module, model, Training("sgd", 1.0))
    cut = build_framework(module, model, Training("sgd", 1.0, Clip("value", threshold)))
    start = free.weights()
    free.train(batch)
    trace = cut.train(batch)
    gradient = np.concatenate([(start[name] - free.weights()[name]).ravel() for name in start])
    change = np.concatenate([(start[name] - cut.weights()[name]).ravel() for name in start])
    np.testing.assert_allclose(change, gradient.clip(-threshold, threshold), atol=1e-15)
    assert trace.clipped[0] == pytest.approx((np.abs(gradient) > threshold).mean(), abs=1e-12)
    assert 0 < trace.clipped[0] < 1


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tokens", [False, True])
def test_the_gradient_is_the_derivative_of_the_loss(module: ModuleType, cell: str, tokens: bool) -> None:
    """Along its own gradient g a loss falls at the rate |g|², embedding rows of repeated tokens included."""
    model, rate = make_model(cell, tokens=tokens), 1e-5
    batch = make_batches(model, 1)[0]
    framework = build_framework(module, model, Training("sgd", rate))
    trace = framework.train([batch, batch])
    derivative = (trace.loss[0] - trace.loss[1]) / rate
    assert derivative == pytest.approx(trace.norm_before[0] ** 2, rel=1e-3)


def test_a_clip_above_every_norm_changes_nothing(module: ModuleType) -> None:
    model = make_model()
    batches = make_batches(model)
    free, clipped = (build_framework(module, model, Training(clip=clip)) for clip in (None, Clip("norm", 1e9)))
    np.testing.assert_array_equal(free.train(batches).loss, clipped.train(batches).loss)
    assert weights.digest(free.weights()) == weights.digest(clipped.weights())


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(
    "clip",
    [
        *(None, Clip("norm", 1.0), Clip("value", 1.0), Clip("variable", 1.0), Clip("agc", 1.0)),
        *(Clip("autoclip", 50.0), Clip("backprop", 1.0)),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "scale"), [("float32", np.inf), ("float32", np.nan), ("float32", 1e30), ("float64", 1e200)]
)
def test_a_norm_that_is_not_finite_turns_every_weight_nan(
    module: ModuleType, clip: Clip | None, dtype: str, scale: float
) -> None:
    """Also where the gradients are finite and only their squares overflow: 1e30 in float32, 1e200 in float64."""
    if module is reference and scale == 1e30:
        pytest.skip("the reference computes in float64, where 1e60 is finite")
    model = make_model()
    batch = make_batches(model, 1)[0]
    batch = Batch(batch.inputs, batch.targets * np.float64(scale), batch.mask)
    framework = build_framework(module, model, Training("sgd", 0.1, clip, steps=1), dtype=dtype)
    trace = framework.train([batch])
    assert not np.isfinite(trace.norm_before[0])
    for name, value in framework.weights().items():
        assert np.isnan(value).all(), name


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_chunks_do_not_matter_and_preparing_changes_nothing(module: ModuleType, optimizer: str) -> None:
    model = make_model("gru", tokens=True)
    batches = make_batches(model)
    whole, parts = (build_framework(module, model, Training(optimizer, 0.01)) for _ in range(2))
    parts.prepare(batches, batches[0].inputs)
    one = whole.train(batches)
    two = [parts.train(batches[:5]), parts.train(batches[5:])]
    np.testing.assert_allclose(np.concatenate([trace.loss for trace in two]), one.loss, rtol=1e-12)
    assert measure_distance(whole.weights(), parts.weights()) < 1e-12


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("cell", CELLS)
def test_a_repeated_run_is_the_same_bit_for_bit(module: ModuleType, cell: str) -> None:
    for model, path in itertools.product((make_model(cell), make_model(cell, tokens=True)), module.PATHS["cpu"][cell]):
        first, second = (build_framework(module, model, Training(), dtype="float32", path=path) for _ in range(2))
        traces = [framework.train(make_batches(model)) for framework in (first, second)]
        np.testing.assert_array_equal(traces[0].loss, traces[1].loss)
        np.testing.assert_array_equal(traces[0].norm_before, traces[1].norm_before)
        assert weights.digest(first.weights()) == weights.digest(second.weights())


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("cell", CELLS)
def test_permuted_hidden_units_compute_the_same(module: ModuleType, cell: str) -> None:
    model = make_model(cell, tokens=True, layers=2)
    initial = weights.draw(model, 0)
    permuted = weights.permute_hidden(model, initial, 1)
    assert measure_distance(initial, permuted) > 0.1
    drawn, replicate = (
        build_framework(module, model, Training("sgd", 0.1), initial=start) for start in (initial, permuted)
    )
    batches = make_batches(model)
    np.testing.assert_allclose(replicate.train(batches).loss, drawn.train(batches).loss, rtol=1e-12)


def test_the_relu_and_the_sigmoid_rnn_are_cells_of_their_own(module: ModuleType) -> None:
    inputs = make_batches(make_model("rnn"), 1)[0].inputs
    activations = ("tanh", "relu", "sigmoid")
    scores = [
        build_framework(module, make_model("rnn", activation=name), Training()).predict(inputs) for name in activations
    ]
    for one, other in itertools.combinations(scores, 2):
        assert np.abs(one - other).max() > 1e-3


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_a_penalty_shrinks_kernels_alone_and_leaves_the_recorded_loss(module: ModuleType, kind: str) -> None:
    model, strength = make_model("gru", tokens=True), 0.1
    batch = make_batches(model, 1)
    free = build_framework(module, model, Training("sgd", 1.0))
    pulled = build_framework(module, model, Training("sgd", 1.0, regulariser=Regulariser(kind, strength)))
    start = free.weights()
    losses = [framework.train(batch).loss for framework in (free, pulled)]
    np.testing.assert_allclose(*losses, rtol=1e-14)
    for name, value in start.items():
        kernel = name in {"layer0.input", "layer0.recurrent", "output.kernel"}
        added = np.sign(value) if kind == "l1" else 2 * value
        pull = free.weights()[name] - pulled.weights()[name]
        np.testing.assert_allclose(pull, strength * added if kernel else 0 * value, atol=1e-14, err_msg=name)


def test_a_penalised_gradient_is_what_is_measured_and_clipped(module: ModuleType) -> None:
    model, limit = make_model("gru", tokens=True), Clip("norm", 0.05)
    framework = build_framework(module, model, Training("sgd", 1.0, limit, Regulariser("l2", 10.0)))
    before = framework.weights()
    trace = framework.train(make_batches(model, 1))
    kernels = ("layer0.input", "layer0.recurrent", "output.kernel")
    assert trace.norm_before[0] == pytest.approx(20 * np.linalg.norm([np.linalg.norm(before[k]) for k in kernels]), 0.1)
    assert measure_distance(before, framework.weights()) == pytest.approx(limit.threshold, rel=1e-9)


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_restored_state_goes_on_bit_for_bit(module: ModuleType, optimizer: str, dtype: str) -> None:
    model = make_model("gru", tokens=True)
    first, then = make_batches(model, 5), make_batches(model, 5, seed=1)
    one, other = (build_framework(module, model, Training(optimizer, 0.01), dtype=dtype) for _ in range(2))
    one.train(first)
    state = one.state()
    traces = [one.train(then)]
    assert state.steps == 5
    assert len(state.slots) == optimizers.SLOTS[optimizer]
    for slot in state.slots:
        assert {name: value.shape for name, value in slot.items()} == {n: v.shape for n, v in state.weights.items()}
    for framework in (one, other):  # back to where it was, and in a framework that never went there
        framework.restore(state)
        assert weights.digest(framework.weights()) == weights.digest(state.weights)
        traces.append(framework.train(then))
    for trace in traces[1:]:
        np.testing.assert_array_equal(trace.loss, traces[0].loss)
        np.testing.assert_array_equal(trace.norm_after, traces[0].norm_after)
    assert weights.digest(one.weights()) == weights.digest(other.weights())
    assert one.state().steps == other.state().steps == 10


Combination = tuple[tuple[str, str], int, bool, str, Clip | None, Regulariser | None]
CLIPS = (None, Clip("norm", 0.1), Clip("value", 0.01))
PENALTIES = (Regulariser("l1", 0.01), Regulariser("l2", 0.01))


def list_combinations() -> list[Any]:
    """Every combination for PyTorch; of those for frameworks that compile each one, a part with every value.

    Each optimizer with each clip and cell is compared in `test_one_update_of_any_kind_is_the_same`, too.
    """
    plain: list[Combination] = [*itertools.product(LEARNERS, (1, 2), (False, True), OPTIMIZERS, CLIPS, (None,))]
    penalised: list[Combination] = [*itertools.product(LEARNERS, (2,), (True,), ("sgd",), CLIPS[1:], PENALTIES)]
    chosen = {name: plain + penalised if name == "pytorch" else plain[::23] + penalised[::7] for name in COMPARED}
    return [pytest.param(name, one, id=f"{name}-{_named(one)}") for name in COMPARED for one in chosen[name]]


def _named(one: Combination) -> str:
    (cell, activation), layers, tokens, optimizer, *rest = one
    kinds = [part.kind for part in rest if part]
    return "-".join([cell, activation, str(layers), *(["tokens"] if tokens else []), optimizer, *kinds])


@functools.cache
def run_reference(model: Model, training: Training) -> list[tuple[State, Batch, Trace, State]]:
    """The reference over 20 steps: the state before each, its batch, its trace, the state after it."""
    framework = build_framework(reference, model, training)
    steps = []
    for batch in make_batches(model, 20, rows=4, time=5):
        before = framework.state()
        steps.append((before, batch, framework.train([batch]), framework.state()))
    return steps


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(("name", "combination"), list_combinations())
def test_from_the_references_state_every_step_is_the_references(name: str, combination: Combination) -> None:
    """Loss, both norms and updated weights within 1e-10 relative, at each of 20 steps."""
    (cell, activation), layers, tokens, optimizer, clip, penalty = combination
    model = make_model(cell, activation=activation, layers=layers, tokens=tokens)
    training = Training(optimizer, 0.01, clip, penalty)
    framework = build_framework(importlib.import_module(f"farreach.frameworks.{name}"), model, training)
    clipped = []
    for before, batch, expected, after in run_reference(model, training):
        framework.restore(before)
        trace = framework.train([batch])
        np.testing.assert_allclose(_figures(trace), _figures(expected), rtol=1e-10)
        reached = framework.state()
        assert reached.steps == after.steps
        for one, other in zip((reached.weights, *reached.slots), (after.weights, *after.slots), strict=True):
            assert measure_distance(one, other) <= 1e-10 * measure_distance(other, dict.fromkeys(other, 0.0))
        clipped.append(trace.clipped[0])
    assert (max(clipped) > 0) == (clip is not None)  # where nothing is clipped, nothing about clips is shown


def _figures(trace: Trace) -> list[float]:
    return [trace.loss[0], trace.norm_before[0], trace.norm_after[0], trace.clipped[0]]


def test_the_sigmoid_rnn_of_pytorch_says_that_its_loop_is_hand_written() -> None:
    pytorch = pytest.importorskip("farreach.frameworks.pytorch")
    said = [
        build_framework(pytorch, make_model("rnn", activation=name), Training()).kernel
        for name in ("tanh", "relu", "sigmoid")
    ]
    assert said == ["ATen", "ATen", "hand-written loop"]


def test_pytorch_alone_keeps_subnormal_numbers_and_not_on_the_path_flushed() -> None:
    torch = pytest.importorskip("torch")
    paths = importlib.import_module("farreach.frameworks.pytorch.paths")
    least = torch.full((64,), 1e-39)
    for path, kept in (("eager", True), ("flushed", False), ("compiled", True), ("eager", True)):
        with paths.use_kernels(path):
            assert bool((least * 0.5 > 0).all()) is kept, path
    assert bool((least * 0.5 > 0).all())  # and the next case finds them as they were


@pytest.mark.parametrize("framework", ["tensorflow", "jax"])
def test_the_other_frameworks_take_subnormal_numbers_for_zero(framework: str) -> None:
    pytest.importorskip(framework)
    importlib.import_module(f"farreach.frameworks.{framework}").configure("cpu", 1)
    product = np.full((64, 64), 1e-20, np.float32)  # whose products, 1e-40, a float32 can only hold as a subnormal
    if framework == "jax":
        jax = importlib.import_module("jax")
        found = jax.jit(lambda x: x @ x)(product)
    else:
        tensorflow = importlib.import_module("tensorflow")
        found = tensorflow.function(lambda x: x @ x)(tensorflow.constant(product)).numpy()
    assert np.asarray(found).max() == 0
    assert (product @ product).max() > 0  # NumPy keeps them


@pytest.mark.slow
@pytest.mark.sampled(every=3)
def test_every_path_on_offer_computes_the_same(module: ModuleType) -> None:
    for cell in CELLS:
        model = make_model(cell, tokens=True)
        batches = make_batches(model)
        losses = [
            build_framework(module, model, Training(), path=path).train(batches).loss
            for path in module.PATHS["cpu"][cell]
        ]
        for loss in losses[1:]:
            np.testing.assert_allclose(loss, losses[0], rtol=1e-11)


@pytest.mark.slow
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
        path=registry.list_paths(framework, "cpu", "rnn")[0],
    )
    outcome = worker.train(case, lambda _: None)
    assert outcome.result.status == "diverged"
    assert 1 < outcome.result.diverged_at <= 100
    assert outcome.result.steps_done == 100
    assert outcome.result.loss is None
    assert outcome.result.solved is False
    finite = np.isfinite(outcome.curves["loss"]) & np.isfinite(outcome.curves["norm_before"])
    assert finite[: outcome.result.diverged_at - 1].all()
    assert not finite[outcome.result.diverged_at - 1]


@pytest.mark.slow
@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("framework", NAMES)
def test_a_repeated_case_has_the_same_curves_and_weights(framework: str) -> None:
    case = Case(
        task="copy",
        parameters=(("T", 5),),
        framework=framework,
        cell="lstm",
        clip="norm",
        threshold=0.1,
        steps=200,
        path=registry.list_paths(framework, "cpu", "lstm")[0],
    )
    first, second = (worker.train(case, lambda _: None) for _ in range(2))
    assert first.curves == second.curves
    assert first.evaluations == second.evaluations
    assert first.result.weights_sha256 == second.result.weights_sha256


@pytest.mark.slow
@pytest.mark.sampled(every=4)
@pytest.mark.skipif(len(NAMES) < 2, reason="needs two frameworks")
@pytest.mark.parametrize("cell", CELLS)
def test_frameworks_agree_in_float64_under_sgd_with_a_norm_clip(cell: str) -> None:
    """One tanh layer on the adding problem, clip norm 0.5, 100 steps: 1e-10 relative on the loss."""
    losses = []
    for name in NAMES:
        case = Case(
            task="adding",
            parameters=(("T", 20),),
            framework=name,
            cell=cell,
            clip="norm",
            threshold=0.5,
            optimizer="sgd",
            learning_rate=0.1,
            steps=100,
            dtype="float64",
            path=registry.list_paths(name, "cpu", cell)[0],
        )
        losses.append(np.array(worker.train(case, lambda _: None).curves["loss"]))
    for loss in losses[1:]:
        np.testing.assert_allclose(loss, losses[0], rtol=1e-10)


@pytest.mark.sampled(every=5)
@pytest.mark.skipif(len(NAMES) < 2, reason="needs two frameworks")
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, Clip("norm", 0.05), Clip("value", 0.01)])
def test_one_update_of_any_kind_is_the_same_in_every_framework(cell: str, optimizer: str, clip: Clip | None) -> None:
    model = make_model(cell, tokens=True, layers=2)
    batches = make_batches(model, 3)
    modules = [importlib.import_module(f"farreach.frameworks.{name}") for name in NAMES]
    trained = [build_framework(module, model, Training(optimizer, 0.01, clip)) for module in modules]
    traces = [framework.train(batches) for framework in trained]
    for framework, trace in zip(trained[1:], traces[1:], strict=True):
        for part in ("loss", "norm_before", "norm_after", "clipped"):
            np.testing.assert_allclose(getattr(trace, part), getattr(traces[0], part), rtol=1e-9, err_msg=part)
        assert measure_distance(framework.weights(), trained[0].weights()) < 1e-8


@pytest.mark.skipif("tensorflow" not in NAMES, reason="TensorFlow is not installed")
def test_cases_that_differ_in_threshold_rate_or_seed_share_one_compilation() -> None:
    tensorflow = importlib.import_module("farreach.frameworks.tensorflow")
    model = make_model()
    batches = make_batches(model)
    first = build_framework(tensorflow, model, Training())
    compiled = first.prepare(batches, batches[0].inputs)
    for seed, training in enumerate([Training(clip=Clip("norm", 0.1)), Training(learning_rate=1e-4), Training()]):
        other = build_framework(tensorflow, model, training, initial=weights.draw(model, seed))
        assert other.chunk is first.chunk
        other.prepare(batches, batches[0].inputs)
        assert other.chunk.experimental_get_tracing_count() == 1
    assert compiled > 0


@pytest.mark.skipif("tensorflow" not in NAMES, reason="TensorFlow is not installed")
def test_cases_that_differ_in_strength_share_one_compilation() -> None:
    tensorflow = importlib.import_module("farreach.frameworks.tensorflow")
    trainings = [Training(regulariser=Regulariser(kind, at)) for kind, at in (("l2", 1e-4), ("l2", 1e-2), ("l1", 1e-4))]
    first, same, other = (build_framework(tensorflow, make_model(), training).chunk for training in trainings)
    assert same is first
    assert other is not first


def test_drawn_weights_are_orthogonal_glorot_and_forget_nothing_at_first() -> None:
    model = make_model("lstm")
    drawn = weights.draw(model, 0)
    for block in np.split(drawn["layer0.recurrent"], 4, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(6), atol=1e-12)
    assert np.abs(drawn["layer0.input"]).max() <= np.sqrt(6 / (3 + 6))
    np.testing.assert_array_equal(drawn["layer0.bias"], np.repeat([0, 1, 0, 0], 6))
    assert weights.digest(drawn) != weights.digest(weights.draw(model, 1))


def test_a_clip_or_rate_that_is_no_positive_number_is_refused() -> None:
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="threshold must be a positive finite number"):
            Clip("norm", bad)
        with pytest.raises(ValueError, match="learning_rate must be a positive finite number"):
            Training(learning_rate=bad)
        with pytest.raises(ValueError, match="strength must be a positive finite number"):
            Regulariser("l2", bad)
    with pytest.raises(ValueError, match="activation relu is for cell rnn"):
        make_model("lstm", activation="relu")
