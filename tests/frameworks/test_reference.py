"""The reference implementation: gradients against finite differences, updates against arithmetic done another way."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from farreach.frameworks import reference, weights
from farreach.frameworks.base import Array, Clip, Model, Regulariser, Training, UnsupportedError, Weights
from farreach.frameworks.reference import clip, loss, optimizers, penalties, recurrent
from farreach.tasks.base import Batch
from tests.support.derivatives import differentiate, measure_error

CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("rnn", "sigmoid"), ("lstm", "tanh"), ("gru", "tanh")]
ROWS, TIME = 3, 4

every_cell = pytest.mark.parametrize(("cell", "activation"), CELLS)


def make_model(cell: str = "lstm", activation: str = "tanh", *, layers: int = 1, tokens: bool = False) -> Model:
    kind = {"features": 4, "outputs": 3, "scored": 2} if tokens else {"features": 2, "outputs": 2, "scored": 1}
    loss = "cross_entropy" if tokens else "mse"
    return Model(cell=cell, activation=activation, hidden=3, layers=layers, tokens=tokens, loss=loss, **kind)


def make_batch(model: Model, seed: int = 0) -> Batch:
    """Real inputs, or more tokens than the vocabulary has, so that some are repeated; one position is masked."""
    random = np.random.default_rng(seed)
    shape = (ROWS, model.scored)
    mask = np.ones(shape, np.float32)
    mask[0, 0] = 0
    if model.tokens:
        inputs = random.integers(0, model.features, (ROWS, TIME), dtype=np.int32)
        return Batch(inputs, random.integers(0, model.outputs, shape, dtype=np.int32), mask)
    inputs = random.standard_normal((ROWS, TIME, model.features))
    return Batch(inputs, random.standard_normal((*shape, model.outputs)), mask)


def make_weights(model: Model) -> Weights:
    """Weights none of which is zero, biases included; with this seed no relu comes nearer than .01 to its kink."""
    random = np.random.default_rng(3)
    return {name: value + 0.3 * random.standard_normal(value.shape) for name, value in weights.draw(model, 0).items()}


def draw_like(model: Model, seed: int) -> Weights:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(value.shape) for name, value in weights.draw(model, 0).items()}


def flatten(values: Weights) -> Array:
    return np.concatenate([value.ravel() for value in values.values()])


def clip_plainly(kind: str, gradients: Weights, threshold: float) -> tuple[Weights, float, float, float]:
    """Clip at the first step of a training."""
    at = make_weights(make_model())
    *clipped, _ = clip.clip_gradients(
        kind, gradients, threshold, weights=at, names=list(gradients), history=np.zeros(0)
    )
    return tuple(clipped)


@every_cell
@pytest.mark.parametrize(("layers", "tokens"), [(1, False), (2, True)])
def test_gradients_are_the_derivatives_of_the_loss(cell: str, activation: str, layers: int, tokens: bool) -> None:
    model = make_model(cell, activation, layers=layers, tokens=tokens)
    at, batch = make_weights(model), make_batch(model)
    _, gradients, _ = recurrent.compute_gradients(model, at, batch)
    expected = {
        name: differentiate(lambda: recurrent.compute_gradients(model, at, batch)[0], value)
        for name, value in at.items()
    }
    assert gradients.keys() == at.keys()
    assert measure_error(gradients, expected) < 1e-8


@pytest.mark.parametrize("kind", ["l1", "l2"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_penalised_gradient_is_that_of_the_loss_and_the_penalty_on_kernels(kind: str, cell: str) -> None:
    model, strength = make_model(cell, tokens=True), 0.1
    at, batch = make_weights(model), make_batch(model)
    kernels = {"layer0.input", "layer0.recurrent", "output.kernel"}

    def objective() -> float:
        sizes = [np.abs(at[name]) if kind == "l1" else at[name] ** 2 for name in kernels]
        return recurrent.compute_gradients(model, at, batch)[0] + strength * sum(float(size.sum()) for size in sizes)

    _, gradients, _ = recurrent.compute_gradients(model, at, batch)
    penalised = penalties.penalise_gradients(kind, at, gradients, names=list(at), strength=strength)
    assert measure_error(penalised, {name: differentiate(objective, value) for name, value in at.items()}) < 1e-8
    free = at.keys() - kernels
    assert {name for name in at if np.array_equal(penalised[name], gradients[name])} == free


def test_an_l1_penalty_has_no_gradient_at_zero() -> None:
    model = make_model()
    zero = {name: np.zeros_like(value) for name, value in make_weights(model).items()}
    assert not flatten(penalties.penalise_gradients("l1", zero, zero, names=list(zero), strength=1.0)).any()


class Nudged:
    """A step whose state is moved by `by` after one of its calls: calls count through layers, then time."""

    def __init__(self, step: recurrent.Step, call: int, by: Array) -> None:
        self.step, self.call, self.by, self.calls = step, call, by, 0
        self.carries = step.carries

    def forward(self, below: Array, before: Array, carry: recurrent.Carry) -> tuple[recurrent.Carry, recurrent.Carry]:
        (state, *rest), known = self.step.forward(below, before, carry)
        moved = state + self.by if self.calls == self.call else state
        self.calls += 1
        return (moved, *rest), known


@every_cell
@pytest.mark.parametrize("tokens", [False, True])
def test_state_gradients_are_the_derivatives_with_respect_to_the_states(
    cell: str, activation: str, tokens: bool
) -> None:
    model = make_model(cell, activation, layers=2, tokens=tokens)
    at, batch = make_weights(model), make_batch(model)
    _, _, flows = recurrent.compute_gradients(model, at, batch)
    assert [flow[0].shape for flow in flows] == [(TIME, ROWS, model.hidden)] * model.layers
    inputs, targets, mask = (part.swapaxes(0, 1) for part in (batch.inputs, batch.targets, batch.mask))
    for call in range(model.layers * TIME):
        by = np.zeros((ROWS, model.hidden))

        def moved(call: int = call, by: Array = by) -> float:
            network = recurrent.Network(model)
            network.step = Nudged(network.step, call, by)
            return loss.compute_loss(model, network(at, inputs)[0], targets, mask)[0]

        expected = differentiate(moved, by)
        np.testing.assert_allclose(flows[call // TIME][0][call % TIME], expected, rtol=1e-7, atol=1e-10)


def test_the_loss_is_the_mean_over_counted_positions() -> None:
    scores = np.array([[[1.0, 2.0], [3.0, 5.0]], [[0.0, 0.0], [-1.0, 4.0]]])
    mask = np.array([[1, 0], [1, 1]])
    classes = np.array([[1, 0], [0, 0]])
    said = [np.log(1 + np.exp(-1)), np.log(2), np.log(1 + np.exp(5))]
    assert loss.compute_loss(make_model(tokens=True), scores, classes, mask)[0] == pytest.approx(
        np.mean(said), rel=1e-14
    )
    targets = np.array([[[1.0, 1.0], [9.0, 9.0]], [[2.0, 0.0], [-1.0, 1.0]]])
    assert loss.compute_loss(make_model(), scores, targets, mask)[0] == pytest.approx((0.5 + 2 + 4.5) / 3, rel=1e-14)


def test_scores_too_large_for_an_exponential_have_a_loss_and_a_gradient() -> None:
    scores, mask = np.array([[[1e4, 0.0, -1e4]]]), np.ones((1, 1))
    value, gradient = loss.compute_loss(make_model(tokens=True), scores, np.array([[1]]), mask)
    assert value == pytest.approx(1e4)
    np.testing.assert_allclose(gradient, [[[1.0, -1.0, 0.0]]])


def test_a_masked_target_changes_nothing() -> None:
    model = make_model(tokens=True)
    at, batch = make_weights(model), make_batch(model)
    other = batch.targets.copy()
    other[0, 0] = (other[0, 0] + 1) % model.outputs
    first, second = (
        recurrent.compute_gradients(model, at, one) for one in (batch, dataclasses.replace(batch, targets=other))
    )
    assert first[0] == second[0]
    np.testing.assert_array_equal(flatten(first[1]), flatten(second[1]))


def test_the_norm_is_the_length_of_all_gradients_laid_end_to_end() -> None:
    gradients = draw_like(make_model("gru", tokens=True, layers=2), 1)
    assert clip.compute_norm(gradients) == pytest.approx(np.linalg.norm(flatten(gradients)), rel=1e-14)


@pytest.mark.parametrize("threshold", [0.01, 1.0, 1e3])
def test_a_norm_clip_shortens_the_gradient_to_its_threshold_and_keeps_the_direction(threshold: float) -> None:
    gradients = draw_like(make_model(), 1)
    clipped, before, after, share = clip_plainly("norm", gradients, threshold)
    length = np.linalg.norm(flatten(gradients))
    expected = flatten(gradients) / length * min(length, threshold)
    np.testing.assert_allclose(flatten(clipped), expected, rtol=1e-14)
    assert (before, after, share) == pytest.approx(
        (length, min(length, threshold), float(length > threshold)), rel=1e-14
    )


@pytest.mark.parametrize("threshold", [0.01, 1.0, 1e3])
def test_a_value_clip_cuts_element_by_element(threshold: float) -> None:
    gradients = draw_like(make_model(), 1)
    clipped, before, after, share = clip_plainly("value", gradients, threshold)
    expected = [max(-threshold, min(threshold, element)) for element in flatten(gradients)]
    np.testing.assert_array_equal(flatten(clipped), expected)
    lengths = np.linalg.norm(flatten(gradients)), np.linalg.norm(expected)
    assert (before, after) == pytest.approx(lengths, rel=1e-14)
    assert share == np.mean(flatten(gradients) != expected)


def test_a_threshold_equal_to_the_norm_clips_nothing() -> None:
    gradients = draw_like(make_model(), 1)
    clipped, before, after, share = clip_plainly("norm", gradients, clip.compute_norm(gradients))
    np.testing.assert_array_equal(flatten(clipped), flatten(gradients))
    assert (before, share) == (after, 0)


@pytest.mark.parametrize("kind", ["norm", "value", "variable", "agc", "autoclip"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e200])
def test_a_norm_that_is_not_finite_turns_every_gradient_nan(kind: str, bad: float) -> None:
    gradients = draw_like(make_model(), 1)
    gradients["output.bias"][0] = bad
    with np.errstate(over="ignore", invalid="ignore"):
        clipped, before, after, _ = clip_plainly(kind, gradients, 1.0)
    assert not np.isfinite(before)
    assert np.isnan([after, *flatten(clipped)]).all()


def test_a_gradient_of_zero_stays_zero_under_any_clip() -> None:
    zero = {name: np.zeros_like(value) for name, value in make_weights(make_model()).items()}
    for kind in ("norm", "value", "variable", "agc", "autoclip"):
        clipped, before, after, share = clip_plainly(kind, zero, 0.1)
        assert (before, after, share) == (0, 0, 0)
        assert not flatten(clipped).any()


def sum_decayed(gradients: list[Array], decay: float, gain: float) -> Array:
    """Return gain * sum over past steps of decay^age * gradient: a running mean with its recursion undone."""
    return gain * sum(decay ** (len(gradients) - 1 - at) * gradient for at, gradient in enumerate(gradients))


CHANGES: dict[str, Callable[[list[Array]], Array]] = {
    "sgd": lambda past: past[-1],
    "momentum": lambda past: sum_decayed(past, 0.9, 1.0),
    "rmsprop": lambda past: past[-1] / (sum_decayed([g**2 for g in past], 0.99, 0.01) ** 0.5 + 1e-8),
    "adagrad": lambda past: past[-1] / (sum_decayed([g**2 for g in past], 1.0, 1.0) ** 0.5 + 1e-10),
    "adam": lambda past: (
        (sum_decayed(past, 0.9, 0.1) / (1 - 0.9 ** len(past)))
        / ((sum_decayed([g**2 for g in past], 0.999, 0.001) / (1 - 0.999 ** len(past))) ** 0.5 + 1e-8)
    ),
}


@pytest.mark.parametrize("optimizer", CHANGES)
@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_an_optimizer_computes_its_definition_with_the_recursion_undone(optimizer: str, scale: float) -> None:
    """Also for gradients as small as epsilon, where its place shows."""
    model = make_model()
    now, expected = make_weights(model), flatten(make_weights(model))
    slots = tuple(
        {name: np.zeros_like(value) for name, value in now.items()} for _ in range(optimizers.SLOTS[optimizer])
    )
    past: list[Array] = []
    for steps in range(1, 6):
        gradients = {name: scale * value for name, value in draw_like(model, steps).items()}
        now, slots = optimizers.update_weights(optimizer, now, gradients, slots, steps=steps, learning_rate=0.01)
        past.append(flatten(gradients))
        expected = expected - 0.01 * CHANGES[optimizer](past)
        np.testing.assert_allclose(flatten(now), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["rmsprop", "adagrad"])
def test_a_decay_and_a_start_of_the_accumulator_are_those_that_are_asked_for(kind: str) -> None:
    model, batch = make_model(), make_batch(make_model())
    numbers = {"decay": 0.9, "accumulator": 0.25} if kind == "rmsprop" else {"accumulator": 0.25}
    framework = build_framework(model, Training(kind, 0.5, **numbers))  # type: ignore[arg-type]
    squares, now = 0.25, flatten(framework.weights())
    for _ in range(3):
        g = flatten(recurrent.compute_gradients(model, framework.weights(), batch)[1])
        framework.train([batch])
        squares = 0.9 * squares + 0.1 * g**2 if kind == "rmsprop" else squares + g**2
        now = now - 0.5 * g / (np.sqrt(squares) + (1e-8 if kind == "rmsprop" else 1e-10))
        np.testing.assert_allclose(flatten(framework.weights()), now, rtol=1e-12)
    np.testing.assert_allclose(flatten(framework.state().slots[0]), squares, rtol=1e-12)


def test_adamw_is_adam_and_a_decay_of_every_weight_by_the_learning_rate() -> None:
    model, batches = make_model(tokens=True), [make_batch(make_model(tokens=True))] * 3
    adam, adamw = (build_framework(model, Training(kind, 0.1, weight_decay=0.0)) for kind in ("adam", "adamw"))
    assert (
        flatten(adam.train(batches) and adam.weights()).tolist()
        == flatten(adamw.train(batches) and adamw.weights()).tolist()
    )
    decayed = build_framework(model, Training("adamw", 0.1, weight_decay=0.5))
    decayed.restore(adam.state())
    before = flatten(adam.weights())
    adam.train(batches[:1])
    decayed.train(batches[:1])
    np.testing.assert_allclose(flatten(adam.weights()) - flatten(decayed.weights()), 0.1 * 0.5 * before, atol=1e-15)


def build_framework(model: Model, training: Training, dtype: str = "float64") -> reference.Framework:
    initial = make_weights(model)
    return reference.Framework(model, training, initial, device="cpu", dtype=dtype, threads=1, path="numpy")


def test_one_step_is_gradient_penalty_clip_and_update_in_that_order() -> None:
    model = make_model(tokens=True, layers=2)
    penalty, batch, now = Regulariser("l2", 0.1), make_batch(model), make_weights(model)
    framework = build_framework(model, Training("sgd", 0.5, Clip("norm", 0.1), penalty))
    trace = framework.train([batch])
    loss, gradients, _ = recurrent.compute_gradients(model, now, batch)
    penalised = flatten(penalties.penalise_gradients("l2", now, gradients, names=list(now), strength=0.1))
    assert trace.loss[0] == loss
    assert trace.norm_before[0] == pytest.approx(np.linalg.norm(penalised), rel=1e-14)
    expected = flatten(now) - 0.5 * 0.1 * penalised / np.linalg.norm(penalised)
    np.testing.assert_allclose(flatten(framework.weights()), expected, rtol=1e-13)


def test_it_computes_in_float64_whatever_is_asked_for_and_says_so() -> None:
    model = make_model()
    asked = [build_framework(model, Training(), dtype) for dtype in ("float32", "float64")]
    losses = [framework.train([make_batch(model)] * 3).loss for framework in asked]
    np.testing.assert_array_equal(*losses)
    assert {value.dtype for value in asked[0].weights().values()} == {np.dtype(np.float64)}
    assert reference.Framework.facts("cpu")["precision"] == "float64"


def test_a_gpu_is_refused_in_one_line() -> None:
    with pytest.raises(UnsupportedError, match="the reference runs on the CPU, not on cuda"):
        reference.configure("cuda", 1)


def test_what_it_hands_out_is_a_copy() -> None:
    model = make_model()
    framework = build_framework(model, Training())
    state = framework.state()
    kept = copy.deepcopy(state)
    framework.train([make_batch(model)])
    for value in framework.weights().values():
        value[...] = np.nan
    assert np.isfinite(flatten(framework.weights())).all()
    np.testing.assert_array_equal(flatten(state.weights), flatten(kept.weights))
    np.testing.assert_array_equal(flatten(state.slots[0]), flatten(kept.slots[0]))


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_omegas_gradient_is_the_immediate_one_with_respect_to_the_recurrent_kernel(activation: str) -> None:
    """Finite differences of Omega along U, while d_k and f' are held."""
    random = np.random.default_rng(3)
    states, d_totals = (random.uniform(0.1, 0.9, (6, 4, 3)) * random.choice([-1, 1], (6, 4, 3)) for _ in range(2))
    recurrent = random.standard_normal((3, 3))
    states = np.abs(states) if activation != "tanh" else states

    def value() -> float:
        return penalties.differentiate_omega(activation, states, d_totals, recurrent)[0]  # type: ignore[arg-type]

    _, gradient = penalties.differentiate_omega(activation, states, d_totals, recurrent)  # type: ignore[arg-type]
    np.testing.assert_allclose(gradient, differentiate(value, recurrent), rtol=1e-7)


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_the_gradient_of_omega2_is_the_immediate_one_of_the_ratio_of_squared_norms(activation: str) -> None:
    """Finite differences of the definition, example by example, along U, while d_k and f' are held."""
    random = np.random.default_rng(5)
    states = random.uniform(0.1, 0.9, (6, 4, 3))
    d_totals, recurrent = random.standard_normal((6, 4, 3)), random.standard_normal((3, 3))

    def value() -> float:
        slopes = {"tanh": 1 - states**2, "relu": np.ones_like(states), "sigmoid": states * (1 - states)}[activation]
        ratios = [
            sum((d_totals[k + 1, b] @ recurrent.T * slopes[k, b]) ** 2) / sum(d_totals[k + 1, b] ** 2)
            for k in range(5)
            for b in range(4)
        ]
        return float(sum((ratio - 1) ** 2 for ratio in ratios) / 4)

    found, gradient = penalties.differentiate_omega2(activation, states, d_totals, recurrent)  # type: ignore[arg-type]
    assert found == pytest.approx(value(), rel=1e-12)
    np.testing.assert_allclose(gradient, differentiate(value, recurrent), rtol=1e-7)


def test_near_a_ratio_of_1_omega2_is_four_times_omega_and_far_from_it_is_not() -> None:
    random = np.random.default_rng(4)
    orthogonal, _ = np.linalg.qr(random.standard_normal((3, 3)))
    states, along = np.ones((5, 2, 3)), random.standard_normal((5, 2, 3))
    for factor, times in ((1.001, 4.004), (2.0, 9.0)):
        omega, slope = penalties.differentiate_omega("relu", states, along, factor * orthogonal)
        omega2, slope2 = penalties.differentiate_omega2("relu", states, along, factor * orthogonal)
        assert omega2 == pytest.approx(times * omega, rel=1e-3)
        np.testing.assert_allclose(slope2, slope * (4.0 if factor < 2 else 12.0), rtol=1e-2)
    assert penalties.differentiate_omega2("relu", states, along, 2 * orthogonal)[0] == pytest.approx(4 * 9)
    assert penalties.differentiate_omega2("relu", states, 0 * along, 2 * orthogonal)[0] == 0


def test_omega_is_zero_where_the_gradient_keeps_its_norm() -> None:
    """An orthogonal U whose units are all on their linear part passes every gradient on at its length."""
    random = np.random.default_rng(4)
    orthogonal, _ = np.linalg.qr(random.standard_normal((3, 3)))
    states, along = np.ones((5, 2, 3)), random.standard_normal((5, 2, 3))
    value, gradient = penalties.differentiate_omega("relu", states, along, orthogonal)
    assert value == pytest.approx(0, abs=1e-28)
    assert np.abs(gradient).max() < 1e-13
    twice, _ = penalties.differentiate_omega("relu", states, along, 2 * orthogonal)
    assert twice == pytest.approx(4)  # four pairs of steps, each (2 - 1)²


def test_omega_counts_no_step_without_a_gradient() -> None:
    states, along = np.ones((5, 2, 3)), np.zeros((5, 2, 3))
    value, gradient = penalties.differentiate_omega("relu", states, along, 2 * np.eye(3))
    assert value == 0
    assert not gradient.any()


def test_omega_counts_no_step_whose_gradient_ends_there() -> None:
    """Units that are off let nothing through, so that there is no ratio to have a gradient."""
    states, along = np.ones((3, 1, 2)), np.ones((3, 1, 2))
    states[0] = 0
    value, gradient = penalties.differentiate_omega("relu", states, along, 2 * np.eye(2))
    assert value == pytest.approx(1)  # of the other pair of steps, (2 - 1)²
    np.testing.assert_allclose(gradient, 1)  # b_i d_j / (|b| |d|) times 2 (2 - 1), with b = (2, 2) and d = (1, 1)


def test_omega_holds_the_norm_of_the_gradient_on_its_way_back() -> None:
    """Trained by Omega alone, an rnn whose gradient vanishes brings it nearer to the first step."""
    model = make_model("rnn", "tanh")
    at, batch = make_weights(model), make_batch(model)
    at["layer0.recurrent"] *= 0.3
    before, after = ([], [])
    for found, strength in ((before, 1e-12), (after, 3.0)):
        training = Training("sgd", 0.05, None, Regulariser("omega", strength))
        framework = reference.Framework(model, training, at, device="cpu", dtype="float64", threads=1, path="numpy")
        framework.train([batch] * 30)
        _, _, flows = recurrent.compute_gradients(model, framework.weights(), batch)
        norms = np.sqrt(np.square(flows[0][0]).sum(axis=(1, 2)))
        found.append(norms[0] / norms[-1])
    assert after[0] > 10 * before[0]
