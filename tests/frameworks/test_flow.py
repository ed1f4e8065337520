"""The gradient through time: all measure what the reference derives, and what the textbook's equation says."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.studies import certification
from farreach.frameworks import gradient_flow, weights
from farreach.frameworks.base import Activation, Array, Cell, Flow, Framework, Model, Training, Weights
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.reference import loss, networks, recurrent
from farreach.tasks.base import Batch
from tests.support.models import list_own

FRAMEWORKS = registry.list_installed()
CELLS = certification.CELLS


def make_model(cell: Cell, activation: Activation, *, layers: int = 1, tokens: bool = False) -> Model:
    sizes = {"features": 6, "outputs": 5, "scored": 4} if tokens else {"features": 2, "outputs": 1, "scored": 1}
    loss = "cross_entropy" if tokens else "mse"
    own = list_own(cell, certification.TIME, sizes["scored"], tokens=tokens)
    return Model(cell=cell, activation=activation, layers=layers, hidden=6, tokens=tokens, loss=loss, **sizes, **own)  # type: ignore[arg-type]


def build_framework(name: str, model: Model, at: Weights, dtype: str = "float64") -> Framework:
    framework: Framework = importlib.import_module(f"farreach.frameworks.{name}").Framework(
        model,
        Training(),
        at,
        device="cpu",
        dtype=dtype,
        threads=1,
        path=registry.list_paths(name, "cpu", model.cell)[0],
    )
    return framework


def perturb_weights(model: Model) -> Weights:
    """Weights without a zero among the biases, so that nothing cancels by chance."""
    random = np.random.default_rng(1)
    return {name: value + 0.1 * random.standard_normal(value.shape) for name, value in weights.draw(model, 0).items()}


def measure(name: str, framework: Framework, batch: Batch) -> Flow:
    flow: Flow = importlib.import_module(f"farreach.frameworks.{name}.gradient_flow").measure_flow(framework, batch)
    return flow


def make_batch(model: Model) -> Batch:
    return certification.draw_batches(model, 1)[0]


@pytest.mark.sampled(every=7)
@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize(("cell", "activation"), CELLS)
@pytest.mark.parametrize(("layers", "tokens"), [(1, False), (2, False), (1, True), (2, True)])
def test_every_framework_measures_what_the_reference_derives(
    name: str, cell: Cell, activation: Activation, layers: int, *, tokens: bool
) -> None:
    model = make_model(cell, activation, layers=layers, tokens=tokens)
    at, batch = perturb_weights(model), make_batch(model)
    found, expected = (measure(one, build_framework(one, model, at), batch) for one in (name, "reference"))
    np.testing.assert_allclose(found.h, expected.h, rtol=1e-8)
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-8)
    assert found.h.shape == (layers if LAYOUTS[cell].has_states else 0, batch.inputs.shape[1])
    assert found.x.shape == batch.inputs.shape[1:2]
    assert found.h.dtype == found.x.dtype == np.float64
    assert (found.c is None) == (expected.c is None) == (cell != "lstm")
    if found.c is not None and expected.c is not None:
        np.testing.assert_allclose(found.c, expected.c, rtol=1e-8)


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_probe_leaves_training_as_it_was(name: str, cell: Cell) -> None:
    model = make_model(cell, "tanh")
    batches = certification.draw_batches(model, 6)
    plain, probed = (build_framework(name, model, weights.draw(model, 0), "float32") for _ in range(2))
    plain.train(batches[:3])
    probed.train(batches[:3])
    measure(name, probed, batches[0])
    assert plain.train(batches[3:]).loss.tolist() == probed.train(batches[3:]).loss.tolist()
    assert weights.digest(plain.weights()) == weights.digest(probed.weights())


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_references_gradients_are_finite_differences_of_the_cell_state_too(cell: Cell) -> None:
    """Move one unit of the state after step t, h or c, and see the loss follow; see also test_reference."""
    model = make_model(cell, "tanh")
    at, batch = perturb_weights(model), make_batch(model)
    _, _, flows = recurrent.compute_gradients(model, at, batch)
    step = type(recurrent.Network(model).step)
    for part, gradients in enumerate(flows[0]):
        for t in (0, 4, 9):
            found = [_compute_shifted_loss(step, model, at, batch, (part, t, by)) for by in (1e-5, -1e-5)]
            assert (found[0] - found[1]) / 2e-5 == pytest.approx(gradients[t][1, 2], rel=1e-6, abs=1e-12)


def _compute_shifted_loss(step: type, model: Model, at: Weights, batch: Batch, move: tuple[int, int, float]) -> float:
    part, at_step, by = move
    calls = iter(range(10**6))
    forward = step.forward

    def moved(self: recurrent.Step, below: Array, before: Array, carry: recurrent.Carry) -> object:
        """Add to unit 2 of row 1: to c before h is made of it, which for c is what its total gradient means."""
        following, known = forward(self, below, before, carry)
        if next(calls) == at_step:
            following = tuple(value.copy() for value in following)
            following[part][1, 2] += by
            if part == 1:
                o, shown = known[3], np.tanh(following[1])
                following, known = (o * shown, following[1]), (*known[:5], shown)
        return following, known

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "forward", moved)
        return recurrent.compute_gradients(model, at, batch)[0]


def multiply_jacobians(model: Model, at: Weights, batch: Batch, activation: Activation) -> Array:
    """The textbook's equation: dL/dh_t = dL/dh_T times the product of the Jacobians dh_k/dh_{k-1}, k = T .. t+1."""
    scores, runs = recurrent.Network(model)(at, batch.inputs.swapaxes(0, 1))
    _, d_scores = loss.compute_loss(model, scores, batch.targets.swapaxes(0, 1), batch.mask.swapaxes(0, 1))
    states, kernel = runs[0].states, at["layer0.recurrent"]
    derivative = {"tanh": 1 - states**2, "relu": states > 0, "sigmoid": states * (1 - states)}[activation]
    found = np.empty_like(states)
    for row in range(states.shape[1]):
        product = np.eye(model.hidden)
        for t in reversed(range(len(states))):
            found[t, row] = (d_scores[-1, row] @ at["output.kernel"].T) @ product
            product = product @ (kernel * derivative[t, row]).T  # dh_t / dh_{t-1} = diag(f'(a_t)) U^T
    return np.sqrt(np.square(found).sum(axis=(1, 2)))


@pytest.mark.parametrize("name", [*FRAMEWORKS, "reference"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_it_is_the_product_of_jacobians(name: str, activation: Activation) -> None:
    model = make_model("rnn", activation)
    at, batch = perturb_weights(model), make_batch(model)
    np.testing.assert_allclose(
        measure(name, build_framework(name, model, at), batch).h[0],
        multiply_jacobians(model, at, batch, activation),
        rtol=1e-9,
    )


@pytest.mark.parametrize("name", [*FRAMEWORKS, "reference"])
def test_in_a_linear_rnn_it_is_a_power_of_the_recurrent_matrix(name: str) -> None:
    """A relu rnn whose units are all active is a linear one: dL/dh_t = dL/dh_T (U^T)^(T-t)."""
    model = make_model("rnn", "relu")
    at = {key: np.abs(value) for key, value in perturb_weights(model).items()}
    batch = make_batch(model)
    batch = dataclasses.replace(batch, inputs=np.abs(batch.inputs))
    scores, runs = recurrent.Network(model)(at, batch.inputs.swapaxes(0, 1))
    assert (runs[0].states > 0).all()
    _, last = loss.compute_loss(model, scores, batch.targets.swapaxes(0, 1), batch.mask.swapaxes(0, 1))
    powers = [np.linalg.matrix_power(at["layer0.recurrent"].T, 9 - t) for t in range(10)]
    expected = [np.linalg.norm(last[-1] @ at["output.kernel"].T @ power) for power in powers]
    np.testing.assert_allclose(measure(name, build_framework(name, model, at), batch).h[0], expected, rtol=1e-9)


@pytest.mark.parametrize("name", [*FRAMEWORKS, "reference"])
@pytest.mark.parametrize("scale", [0.5, 2.0, 8.0])
def test_the_sigmoid_rnn_keeps_the_bound_of_a_quarter_a_step(name: str, scale: float) -> None:
    """The derivative of a sigmoid is at most 1/4, so a step shrinks the gradient to sigma_max / 4 of it or less."""
    model = make_model("rnn", "sigmoid")
    at = perturb_weights(model)
    at["layer0.recurrent"] = scale * at["layer0.recurrent"]
    norms = measure(name, build_framework(name, model, at), make_batch(model)).h[0]
    bound = np.linalg.norm(at["layer0.recurrent"], 2) / 4
    assert (norms[:-1] <= norms[1:] * bound * (1 + 1e-12)).all()
    assert (norms[:-1] > norms[1:] * bound * 1e-3).all()  # and the bound is not idle


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_wider_weights_with_zeros_for_inputs_compute_the_same(cell: Cell) -> None:
    model = make_model(cell, "tanh")
    at = perturb_weights(model)
    wider = dataclasses.replace(model, features=model.features + gradient_flow.count_columns(model))
    inputs = make_batch(model).inputs.swapaxes(0, 1)
    zeros = np.zeros((*inputs.shape[:2], gradient_flow.count_columns(model)))
    scores, _ = recurrent.Network(wider)(
        gradient_flow.widen_weights(model, at), np.concatenate([inputs, zeros], axis=-1)
    )
    np.testing.assert_array_equal(scores, recurrent.Network(model)(at, inputs)[0])


def test_norms_that_float32_cannot_square_are_measured() -> None:
    """1e-30 is a float32, its square is not: the norm is taken in float64."""
    passed = gradient_flow.WideRun(*(np.full((3, 1, 2), 1e-30, np.float32) for _ in range(5)))
    model = dataclasses.replace(make_model("rnn", "tanh"), hidden=2)
    found = gradient_flow.compute_flow(model, weights.draw(model, 0), [passed])
    assert found.h[0] == pytest.approx([2 * 2**0.5 * 1e-30, 2 * 2**0.5 * 1e-30, 2**0.5 * 1e-30], rel=1e-6, abs=0)
    assert found.x == pytest.approx([2**0.5 * 1e-30] * 3, rel=1e-6, abs=0)


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(("cell", "activation"), CELLS)
@pytest.mark.parametrize("tokens", [False, True])
def test_the_gradient_of_the_input_is_that_of_an_input_moved_by_hand(
    cell: Cell, activation: Activation, *, tokens: bool
) -> None:
    """Along its own direction: one step's inputs moved by d, in the reference, change the loss by the norm times d."""
    model = make_model(cell, activation, layers=2, tokens=tokens)
    at, batch = perturb_weights(model), make_batch(model)
    if tokens:  # the same network on vectors: each token's row of the embedding
        network = dataclasses.replace(model, tokens=False, features=model.hidden, padding=None)
        real = np.where(batch.inputs == 0, 1, batch.inputs)  # no padding, which vectors have none of
        vectors = dataclasses.replace(batch, inputs=at["embedding"][real])
        batch = dataclasses.replace(batch, inputs=real)
        moved = {name: value for name, value in at.items() if name != "embedding"}
        if cell == "transformer":
            moved |= {"input.kernel": np.eye(model.hidden), "input.bias": np.zeros(model.hidden)}
    else:
        network, vectors, moved = model, batch, at
    norms = measure("reference", build_framework("reference", model, at), batch).x
    family = networks.find_family(network)
    for t in (0, 5, 9):
        step = np.zeros(vectors.inputs.shape)
        for place in np.ndindex(vectors.inputs.shape[0], vectors.inputs.shape[2]):
            ends = []
            for by in (1e-5, -1e-5):
                inputs = vectors.inputs.astype(np.float64)
                inputs[place[0], t, place[1]] += by
                shifted = dataclasses.replace(vectors, inputs=inputs)
                ends.append(family.compute_gradients(network, moved, shifted)[0])
            step[place[0], t, place[1]] = (ends[0] - ends[1]) / 2e-5
        assert np.linalg.norm(step) == pytest.approx(norms[t], rel=1e-5, abs=1e-9)
