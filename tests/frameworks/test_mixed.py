"""Mixed precision: what the products are of, how the loss is scaled, what is skipped and what is refused."""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.training import find_divergence
from farreach.frameworks import base, scaling, weights
from farreach.frameworks.base import SKIPPED, Array, Clip, Model, Training, Weights
from farreach.frameworks.gradient_flow import compute_norms
from farreach.frameworks.scaling import ScaledState
from farreach.frameworks.schedule import Schedule
from farreach.tasks.base import Batch
from tests.support.models import make_batches, make_model
from tests.support.paths import quickest

INSTALLED = [name for name in ("pytorch", "tensorflow", "jax") if registry.find_framework_version(name) is not None]
HALVES: dict[str, Any] = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}

BELOW = {"bfloat16": 2.0**-9, "float16": 2.0**-12}
"""A part of 1 that is lost where 1 + it is rounded."""

ERROR = 2.0**-4
"""Of every score, but for what is lost where it is rounded."""

both = pytest.mark.parametrize("half", ["bfloat16", "float16"])
every = pytest.mark.parametrize("framework", INSTALLED)


def load(framework: str) -> tuple[ModuleType, ModuleType]:
    folder = f"farreach.frameworks.{framework}"
    return importlib.import_module(folder), importlib.import_module(f"{folder}.mixed")


def build(framework: str, half: str, training: Training, *, initial: Weights | None = None, cell: str = "rnn") -> Any:
    """Return a small model in mixed precision, or in float32 where that is asked for."""
    model = make_model(cell)
    module = load(framework)[half in HALVES]
    initial = weights.draw(model, 0) if initial is None else initial
    path = quickest(framework, cell)
    return module.Framework(model, training, initial, device="cpu", dtype=half, threads=1, path=path)


def make_known(half: str) -> tuple[Weights, Batch]:
    """Return weights and a batch whose products are known: all states are 1, all scores 6 if kernels are rounded."""
    model = make_model("rnn")
    known = {name: np.zeros_like(value) for name, value in weights.draw(model, 0).items()}
    known["layer0.bias"] += 20  # whose tanh is 1 in every precision, and its derivative 0
    known["output.kernel"] += 1 + BELOW[half]
    (batch,) = make_batches(model, 1)
    missed = ERROR * (1 + BELOW[half])
    targets = np.full_like(batch.targets, model.hidden - missed)
    return known, Batch(batch.inputs, targets, np.ones_like(batch.mask))


def is_same(one: Weights, other: Weights) -> bool:
    return all(np.array_equal(value, other[name]) for name, value in one.items())


def is_half(values: Weights, half: str) -> bool:
    """Say whether all numbers are ones of half precision."""
    return all(np.array_equal(value, value.astype(HALVES[half]).astype(np.float32)) for value in values.values())


@pytest.mark.sampled(every=5)
@every
@both
def test_products_are_of_rounded_numbers_forward_and_back(framework: str, half: str) -> None:
    known, batch = make_known(half)
    training = Training(optimizer="sgd", learning_rate=1.0)
    rounded = known["output.kernel"].astype(HALVES[half]).astype(np.float32)
    scores = rounded.sum(axis=0)  # the states are 1
    assert not np.array_equal(scores, known["output.kernel"].astype(np.float32).sum(axis=0))
    mixed, plain = (build(framework, dtype, training, initial=known) for dtype in (half, "float32"))
    np.testing.assert_array_equal(mixed.predict(batch.inputs), np.broadcast_to(scores, batch.targets.shape))
    assert mixed.predict(batch.inputs).dtype == np.float32
    assert (plain.predict(batch.inputs) > scores).all()

    # dL/dscores, 1 / 8 of each error, is rounded on its way into the product with the states: 8 rows of 1.
    trace, exact = mixed.train([batch]), plain.train([batch])
    error = np.float32(scores[0]) - batch.targets.astype(np.float32).ravel()[0]
    assert trace.loss[0] == pytest.approx(float(error) ** 2, rel=1e-6)
    parts = known["output.kernel"].size + known["output.bias"].size
    assert trace.norm_before[0] == pytest.approx(ERROR * parts**0.5, rel=1e-6)
    assert abs(exact.norm_before[0] / trace.norm_before[0] - 1) > 1e-4
    moved = known["output.kernel"].astype(np.float32) - mixed.weights()["output.kernel"]
    np.testing.assert_allclose(moved, ERROR, rtol=1e-6)


@pytest.mark.sampled(every=5)
@every
@both
def test_weights_and_slots_stay_float32_and_a_run_repeats_itself(framework: str, half: str) -> None:
    training = Training(clip=Clip("norm", 0.5))
    batches = make_batches(make_model("rnn"), 4)
    runs = [build(framework, half, training) for _ in range(2)]
    traces = [run.train(batches) for run in runs]
    first, second = (run.state() for run in runs)
    for values in (first.weights, *first.slots):
        assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}
        assert not is_half(values, half)
    assert is_same(first.weights, second.weights)
    for name in ("loss", "norm_before", "norm_after", "clipped"):
        np.testing.assert_array_equal(getattr(traces[0], name), getattr(traces[1], name))
    parts = build(framework, half, training)
    for chunk in (batches[:1], batches[1:]):
        parts.train(chunk)
    assert is_same(parts.weights(), first.weights)


@every
def test_the_gradient_is_unscaled_before_the_clip(framework: str) -> None:
    known, batch = make_known("float16")
    trace = build(framework, "float16", Training(clip=Clip("norm", 1.0)), initial=known).train([batch])
    assert is_unscaled_first(trace)
    assert trace.extra[scaling.SCALE][0] == scaling.FIRST_SCALE


def is_unscaled_first(trace: base.Trace) -> bool:
    """Say whether a clip at 1 left a gradient of norm .23 as it was."""
    return bool(trace.norm_after[0] == trace.norm_before[0] and trace.clipped[0] == 0)


@pytest.mark.skipif("pytorch" not in INSTALLED, reason="PyTorch is not installed")
def test_a_clip_of_the_scaled_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = load("pytorch")
    right = plain.clip_gradients

    def clip_scaled(kind: str, gradients: Any, threshold: float, **others: Any) -> Any:
        scale = scaling.FIRST_SCALE
        clipped, before, after, share = right(kind, [one * scale for one in gradients], threshold, **others)
        return [one / scale for one in clipped], before / scale, after / scale, share

    monkeypatch.setattr(plain, "clip_gradients", clip_scaled)
    known, batch = make_known("float16")
    trace = build("pytorch", "float16", Training(clip=Clip("norm", 1.0)), initial=known).train([batch])
    assert not is_unscaled_first(trace)


@every
def test_a_step_that_overflows_is_skipped_and_counted_and_the_scale_follows(framework: str) -> None:
    learner = build(framework, "float16", Training(schedule=Schedule("step", steps=40, every=2, factor=0.5), steps=40))
    batches = make_batches(learner.model, 6)
    large = 2.0**40
    before = dataclasses.replace(learner.state(), scale=large)
    learner.restore(before)
    trace = learner.train(batches[:1])
    after = learner.state()
    assert trace.extra[SKIPPED].tolist() == [1.0]
    assert np.isfinite(trace.loss).all()
    assert not np.isfinite(trace.norm_before).all()
    assert find_divergence([trace]) is None
    assert is_same(after.weights, before.weights)
    assert all(is_same(*pair) for pair in zip(after.slots, before.slots, strict=True))
    assert (after.scale, after.good, after.skipped, after.steps) == (large / 2, 0, 1, before.steps)

    # A whole chunk, and the same one in parts: the learning rate goes on with the batches, and skipped ones count.
    ends = []
    for cut in (6, 3, 1):
        learner.restore(dataclasses.replace(before, scale=2.0**20))
        traces = [learner.train(batches[at : at + cut]) for at in range(0, 6, cut)]
        ends.append((learner.state(), np.concatenate([trace.extra[SKIPPED] for trace in traces])))
    (first, skipped), *others = ends
    assert 0 < skipped.sum() < 6
    assert first.skipped == skipped.sum() == 6 - first.steps
    assert first.scale == 2.0 ** (20 - first.skipped)
    for state, same in others:
        assert is_same(first.weights, state.weights)
        np.testing.assert_array_equal(skipped, same)

    # It doubles with the last of so many good steps in a row, and not one before.
    for good, scale, left in ((scaling.GOOD_STEPS - 2, 1024.0, scaling.GOOD_STEPS - 1), (1999, 2048.0, 0)):
        learner.restore(dataclasses.replace(before, scale=1024.0, good=good))
        learner.train(batches[:1])
        state = learner.state()
        assert (state.scale, state.good, state.skipped) == (scale, left, 0)
    learner.restore(base.State(before.weights, before.slots, 0))
    assert learner.state().scale == scaling.FIRST_SCALE


def test_the_constants_are_those_of_pytorchs_scaler() -> None:
    amp = pytest.importorskip("torch").amp
    theirs = amp.GradScaler("cpu")
    assert theirs.get_scale() == scaling.FIRST_SCALE
    assert theirs.get_growth_factor() == scaling.GROWTH
    assert theirs.get_backoff_factor() == scaling.BACKOFF
    assert theirs.get_growth_interval() == scaling.GOOD_STEPS


@pytest.mark.sampled(every=2)
@every
def test_the_gradient_through_time_is_that_of_float32_weights(framework: str) -> None:
    mixed, plain = (build(framework, dtype, Training()) for dtype in ("bfloat16", "float32"))
    measure = importlib.import_module(f"farreach.frameworks.{framework}.gradient_flow").measure_flow
    (batch,) = make_batches(mixed.model, 1)
    before = mixed.weights()
    flows = [measure(learner, batch) for learner in (mixed, plain)]
    np.testing.assert_array_equal(flows[0].h, flows[1].h)
    np.testing.assert_array_equal(flows[0].x, flows[1].x)
    assert is_same(before, mixed.weights())
    assert compute_norms([flows[0].h[np.newaxis]]).all()


@pytest.mark.sampled(every=2)
@every
def test_a_kernel_says_what_it_was_measured_to_be(framework: str) -> None:
    learner = build(framework, "bfloat16", Training())
    assert learner.precision.startswith("bfloat16 products")
    assert learner.kernel.endswith(", bfloat16")
    assert learner.extra == ()
    assert is_same(learner.weights(), {n: w.astype(np.float32) for n, w in weights.draw(learner.model, 0).items()})


@pytest.mark.skipif("pytorch" not in INSTALLED, reason="PyTorch is not installed")
@both
def test_a_layer_that_stays_float32_in_silence_is_refused(half: str) -> None:
    with pytest.raises(base.UnsupportedError, match=f"gru .* was asked for {half} and returned float32") as refused:
        build("pytorch", half, Training(), cell="gru")
    assert "\n" not in str(refused.value)


@pytest.mark.skipif("pytorch" not in INSTALLED, reason="PyTorch is not installed")
def test_an_autocast_that_does_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    _, mixed = load("pytorch")
    monkeypatch.setitem(mixed.DTYPES, "bfloat16", mixed.torch.float16)
    with pytest.raises(base.UnsupportedError, match="returned float16"):
        build("pytorch", "bfloat16", Training())


@dataclasses.dataclass
class Asked:
    """A learner that is asked for half precision."""

    half: Any = "bfloat16"
    model: Model = dataclasses.field(default_factory=make_model)
    path: str = "loop"


def test_what_a_measurement_refuses_is_one_line() -> None:
    value = [np.arange(3.0)]

    def fail() -> Any:
        message = "first\nsecond"
        raise RuntimeError(message)

    def measure(dtypes: set[str], other: list[Array]) -> Any:
        return lambda: (dtypes, value, other)

    assert "bfloat16" in scaling.require_precision(Asked(), "It", measure({"bfloat16"}, value))
    for call, said in (
        (fail, "It's lstm on path loop does not run in bfloat16 here: first"),
        (measure({"bfloat16", "float32"}, value), "returned float32"),
        (measure({"bfloat16"}, [value[0] + 1e-9]), "multiplies numbers that it did not round"),
    ):
        with pytest.raises(base.UnsupportedError, match=said) as refused:
            scaling.require_precision(Asked(), "It", call)
        assert "\n" not in str(refused.value)


def test_kernels_alone_are_rounded() -> None:
    drawn = weights.draw(make_model("gru", tokens=True), 0)
    rounded = scaling.round_kernels(drawn, lambda value: value * 0)
    kept = {name for name, value in rounded.items() if value.any() or not drawn[name].any()}
    assert kept == {name for name in drawn if name.endswith(("embedding", "bias"))}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"framework": "reference", "path": "numpy"}, "reference has no dtype bfloat16"),
        ({"clip": "backprop", "threshold": 1.0}, "backprop is of single derivatives"),
        ({"regulariser": "omega", "strength": 1.0}, "omega is of single derivatives"),
        ({"replicas": 2}, "takes no replicas"),
        ({"mode": "native"}, "mode native takes"),
        ({"dtype": "float8"}, "float8"),
    ],
)
def test_what_is_not_defined_in_mixed_precision_is_refused(changes: dict[str, Any], said: str) -> None:
    facts = {"task": "adding", "framework": "pytorch", "path": "eager", "cell": "rnn", "dtype": "bfloat16"}
    with pytest.raises(registry.UsageError, match=said) as refused:
        Case(**(facts | {"parameters": (("T", 10),)} | changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "training",
    [Training(clip=Clip("backprop", 1.0)), Training(regulariser=base.Regulariser("omega2", 1.0))],
    ids=["backprop", "omega2"],
)
def test_single_derivatives_are_refused_by_the_framework_too(training: Training) -> None:
    with pytest.raises(base.UnsupportedError, match="takes no dtype float16"):
        scaling.require_whole(training, "float16")


def test_a_state_without_a_scale_gets_the_first_one() -> None:
    state = base.State({}, (), 3)
    found = scaling.scale_state(state)
    assert (found.steps, found.scale, found.good, found.skipped) == (3, 65536.0, 0, 0)
    own = ScaledState({}, (), 3, scale=2.0)
    assert scaling.scale_state(own) is own
