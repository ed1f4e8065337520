"""Architectures beyond rnn, lstm and gru: equations written another way, paths, bounds, refusals, planted faults."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from autograd import numpy as autograd_numpy

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.studies import certification
from farreach.frameworks import base, layouts, weights
from farreach.frameworks.base import Array, Model, Weights
from farreach.frameworks.reference import differentiation, linear, networks, recurrent
from farreach.frameworks.reference.loss import compute_loss
from farreach.frameworks.reference.recurrent import DerivativeClip
from farreach.results.analysis.certificates import BOUNDS
from farreach.results.vocabulary import CELLS
from farreach.tasks.base import Batch
from tests.support.derivatives import differentiate, measure_error
from tests.support.models import make_model

FRAMEWORKS = registry.list_installed()
NEW = [(cell, activation) for cell, activation in certification.CELLS if layouts.LAYOUTS[cell].family != "recurrent"]
GATED = ("mingru", "minlstm")
ROWS, TIME = 3, 5


def perturb_weights(model: Model) -> Weights:
    """Weights without a zero among the biases; an indrnn's at its bound and at minus it in part."""
    random = np.random.default_rng(2)
    drawn = weights.draw(model, 0)
    return {name: value + 0.2 * random.standard_normal(value.shape) for name, value in drawn.items()}


def make_batch(model: Model, time: int = TIME) -> Batch:
    return certification.draw_batches(model, 1, ROWS, time)[0]


def split_gates(model: Model, at: Weights, inputs: Array) -> list[Array]:
    total = inputs @ at["layer0.input"] + at["layer0.bias"]
    return [total[..., gate * model.hidden : (gate + 1) * model.hidden] for gate in range(layouts.count_gates(model))]


def sigmoid(total: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-total)))


def find_states(model: Model, at: Weights, inputs: Array) -> Array:
    """The states of one layer [time, batch, H], from the equations, each as a whole sum over the steps before it."""
    if model.cell == "lru":
        a = np.exp(-np.exp(at["layer0.nu"]) + 1j * np.exp(at["layer0.theta"]))
        b = at["layer0.real.input"] + 1j * at["layer0.imaginary.input"]
        added = np.exp(at["layer0.gamma"]) * (inputs @ b)
        return np.stack([sum(a ** (t - s) * added[s] for s in range(t + 1)) for t in range(len(inputs))])
    if model.cell == "indrnn":
        h, states = np.zeros((inputs.shape[1], model.hidden)), []
        for now in inputs:
            total = now @ at["layer0.input"] + at["layer0.bias"] + at["layer0.recurrent"] * h
            h = np.maximum(total, 0) if model.activation == "relu" else np.tanh(total)
            states.append(h)
        return np.stack(states)
    *gates, candidate = split_gates(model, at, inputs)
    if model.cell == "mingru":
        share = sigmoid(gates[0])
    else:
        forget, let_in = (sigmoid(gate) for gate in gates)
        share = let_in / (forget + let_in)
    return np.stack(
        [
            sum(np.prod(1 - share[s + 1 : t + 1], axis=0) * share[s] * candidate[s] for s in range(t + 1))
            for t in range(len(inputs))
        ]
    )


def score_states(model: Model, at: Weights, states: Array, inputs: Array) -> Array:
    if model.cell == "lru":
        c = at["layer0.real.kernel"] + 1j * at["layer0.imaginary.kernel"]
        y = (states @ c).real + inputs @ at["layer0.skip.kernel"]
        states = y * sigmoid(y @ at["layer0.gate.kernel"] + at["layer0.bias"])
    return np.asarray(states[-model.scored :] @ at["output.kernel"] + at["output.bias"])


def build(name: str, model: Model, at: Weights, path: str, clip: base.Clip | None = None) -> Any:
    return importlib.import_module(f"farreach.frameworks.{name}").Framework(
        model,
        base.Training("sgd", 0.1, clip),
        at,
        device="cpu",
        dtype="float64",
        threads=1,
        path=path,
    )


def test_one_table_names_every_architecture() -> None:
    assert {*get_args(base.Cell)} == {*layouts.LAYOUTS} == {*CELLS}
    for name in registry.list_frameworks():
        assert {*registry.list_cells(name, "cpu")} == {*layouts.LAYOUTS}
        families = importlib.import_module(f"farreach.frameworks.{name}.networks").FAMILIES
        assert {*families} == {layout.family for layout in layouts.LAYOUTS.values()}


@pytest.mark.parametrize(("cell", "activation"), [kind for kind in NEW if layouts.LAYOUTS[kind[0]].has_states])
def test_the_reference_computes_its_equations(cell: str, activation: str) -> None:
    model = make_model(cell, activation=activation, length=TIME)
    at, inputs = perturb_weights(model), np.random.default_rng(0).standard_normal((TIME, ROWS, model.features))
    scores, _ = networks.find_family(model).Network(model)(at, inputs)
    np.testing.assert_allclose(scores, score_states(model, at, find_states(model, at, inputs), inputs), rtol=1e-12)


def list_stacks(batch: Batch) -> tuple[Array, Array, Array]:
    """Return inputs, targets and mask, time-major."""
    inputs, targets, mask = (part.swapaxes(0, 1) for part in (batch.inputs, batch.targets, batch.mask))
    return inputs, targets, mask.astype(np.float64)


def find_step(cell: str) -> float:
    """Return the step of central differences; a transformer has hundreds of kinks, between which a step must stay."""
    return 2e-6 if cell == "transformer" else 2e-4


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "activation"), NEW)
@pytest.mark.parametrize(("layers", "tokens"), [(1, False), (2, True)])
def test_gradients_are_the_derivatives_of_the_loss(cell: str, activation: str, layers: int, tokens: bool) -> None:
    time = TIME + 2 if tokens else TIME  # four steps are scored of tokens, and a source has several besides
    model = make_model(cell, activation=activation, layers=layers, tokens=tokens, length=time)
    at, batch, family = perturb_weights(model), make_batch(model, time), networks.find_family(model)
    _, gradients, _ = family.compute_gradients(model, at, batch)
    network, (inputs, targets, mask) = family.Network(model), list_stacks(batch)

    def measure_loss() -> float:
        loss: float = compute_loss(model, network(at, inputs)[0], targets, mask)[0]
        return loss

    for name, value in at.items():
        expected = {name: differentiate(measure_loss, value, find_step(cell))}
        assert measure_error({name: gradients[name]}, expected) < 1e-7, name


@pytest.mark.parametrize(("cell", "activation"), NEW)
def test_the_gradient_through_time_is_that_of_a_state_moved_by_hand(cell: str, activation: str) -> None:
    model = make_model(cell, activation=activation, layers=2, length=TIME)
    at, batch, network = perturb_weights(model), make_batch(model), networks.find_family(model).Network(model)
    _, _, found = differentiation.differentiate_network(network, at, batch, None)
    inputs, targets, mask = list_stacks(batch)
    shifts = [np.zeros((TIME, ROWS, width)) for width in layouts.list_shift_widths(model)]

    def measure_loss() -> float:
        scores = network.run_shifted(at, shifts, inputs, DerivativeClip())
        loss: float = compute_loss(model, scores, targets, mask)[0]
        return loss

    for shift, gradient in zip(shifts, found, strict=True):
        expected = differentiate(measure_loss, shift, find_step(cell))
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


class Textbook:
    """One layer of an rnn, lstm or gru, forward alone, for `autograd` to differentiate."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def run_shifted(self, at: Any, shifts: list[Array], inputs: Array, cut: DerivativeClip) -> Any:
        del cut
        h = c = np.zeros((inputs.shape[1], self.model.hidden))
        kernel, recurrent, bias = (at[f"layer0.{part}"] for part in ("input", "recurrent", "bias"))
        for now, move, shift in zip(inputs, shifts[0], shifts[1], strict=True):
            below, before = (now + move) @ kernel, h @ recurrent
            if self.model.cell == "gru":
                below, before = below + bias[0], before + bias[1]
                (r, z, n), (hr, hz, hn) = (self.split(part, 3) for part in (below, before))
                z = linear.sigmoid(z + hz)
                h = (1 - z) * autograd_numpy.tanh(n + linear.sigmoid(r + hr) * hn) + z * h
            elif self.model.cell == "lstm":
                i, f, g, o = self.split(below + before + bias, 4)
                c = linear.sigmoid(f) * c + linear.sigmoid(i) * autograd_numpy.tanh(g)
                h = linear.sigmoid(o) * autograd_numpy.tanh(c)
            else:
                h = autograd_numpy.tanh(below + before + bias)
            h = h + shift
        return (h @ at["output.kernel"] + at["output.bias"])[np.newaxis]

    def split(self, total: Any, gates: int) -> list[Any]:
        return [total[:, gate * self.model.hidden : (gate + 1) * self.model.hidden] for gate in range(gates)]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_way_back_that_is_written_out_is_the_one_that_autograd_finds(cell: str) -> None:
    model = make_model(cell)
    at, batch = perturb_weights(model), make_batch(model)
    loss, gradients, d_shifts = differentiation.differentiate_network(Textbook(model), at, batch, None)
    expected, by_hand, ((d_states, *_),) = recurrent.compute_gradients(model, at, batch)
    assert loss == pytest.approx(expected, rel=1e-13)
    assert measure_error(gradients, by_hand) < 1e-12
    np.testing.assert_allclose(d_shifts[1], d_states, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("far", [0.0, 1_000.0, -1_000.0])
def test_the_references_gates_have_derivatives_wherever_they_are(far: float) -> None:
    model = make_model("mingru", length=TIME)
    at = weights.draw(model, 0)
    at["layer0.bias"][:] = far
    with np.errstate(invalid="raise", over="ignore"):
        _, gradients, _ = linear.compute_gradients(model, at, make_batch(model))
    assert all(np.isfinite(value).all() for value in gradients.values())
    relu = make_model("indrnn", activation="relu", length=TIME)
    at = {name: np.zeros_like(value) for name, value in weights.draw(relu, 0).items()}
    _, gradients, _ = networks.find_family(relu).compute_gradients(relu, at, make_batch(relu))
    assert not gradients["layer0.input"].any()  # at 0 the derivative of relu is 0, as in the frameworks


@pytest.mark.slow
@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("cell", [*GATED, "lru"])
@pytest.mark.parametrize("time", [1, 2, 7, 1_000])
def test_the_scan_is_the_loop_at_any_length(name: str, cell: str, time: int) -> None:
    """To 1e-12, gradients included; at 1,000 steps the products of what is kept are far below what a float holds."""
    model = make_model(cell)
    at = weights.draw(model, 0)
    at = {key: value - 3 * key.endswith("bias") if cell == "minlstm" else value for key, value in at.items()}
    batches = certification.draw_batches(model, 1, ROWS, time)
    loop, scan = (build(name, model, at, path) for path in ("loop", "scan"))
    inputs = batches[0].inputs
    np.testing.assert_allclose(scan.predict(inputs), loop.predict(inputs), rtol=1e-11, atol=1e-13)
    for framework in (loop, scan):
        assert np.isfinite(framework.train(batches).norm_before).all()
    for key, value in loop.weights().items():
        np.testing.assert_allclose(scan.weights()[key], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", registry.list_frameworks())
@pytest.mark.parametrize("length", [2, 10])
def test_an_update_of_an_indrnn_ends_within_its_bound(name: str, length: int) -> None:
    if name not in [*FRAMEWORKS, registry.REFERENCE]:
        pytest.skip(f"{name} is not installed")
    model = make_model("indrnn", activation="relu", layers=2, length=length)
    at = weights.draw(model, 0)
    for layer in range(2):
        u = at[f"layer{layer}.recurrent"]
        u[:] = np.linspace(-3, 3, len(u))
    framework = build(name, model, at, registry.list_paths(name, "cpu", "indrnn")[0])
    framework.train(certification.draw_batches(model, 1, ROWS, length))
    bound = {2: 2**0.5, 10: 1.0717734625362931}[length]
    for layer in range(2):
        u = framework.weights()[f"layer{layer}.recurrent"]
        assert u.max() == pytest.approx(bound, rel=1e-14)
        assert u.min() == pytest.approx(-bound, rel=1e-14)


def test_first_weights_are_drawn_as_their_papers_have_it() -> None:
    wide = {"hidden": 4_000, "features": 50, "outputs": 1, "scored": 1, "loss": "mse"}
    drawn = weights.draw(Model(cell="indrnn", activation="relu", length=20, **wide), 0)["layer0.recurrent"]
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() / 2 ** (1 / 20) <= 1
    model = Model(cell="lru", **wide | {"hidden": 600})
    at = weights.draw(model, 0)
    size = np.exp(-np.exp(at["layer0.nu"]))
    assert 0.9 <= size.min() < 0.902
    assert 0.998 < size.max() <= 0.999
    assert np.mean(size**2) == pytest.approx((0.9**2 + 0.999**2) / 2, rel=0.01)  # uniform in area
    np.testing.assert_allclose(np.exp(2 * at["layer0.gamma"]), 1 - size**2, rtol=1e-10)
    angle = np.exp(at["layer0.theta"])
    assert 0 < angle.min() < 0.1
    assert 6.2 < angle.max() <= 2 * np.pi
    assert at["layer0.real.input"].std() == pytest.approx(1 / np.sqrt(100), rel=0.05)
    assert at["layer0.imaginary.kernel"].std() == pytest.approx(1 / np.sqrt(1_200), rel=0.05)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cell": "indrnn", "path": "scan"}, "unknown path 'scan' for pytorch indrnn on cpu; allowed: loop"),
    ({"cell": "gru", "path": "scan"}, "unknown path 'scan' for pytorch gru on cpu; allowed: eager, flushed, compiled"),
    ({"cell": "mingru", "activation": "relu"}, "activation relu is for cell rnn and indrnn; mingru takes tanh"),
    ({"cell": "lru", "clip": "backprop", "threshold": 1.0}, "clip backprop is not defined for cell lru"),
    ({"cell": "mingru", "path": "scan", "clip": "backprop", "threshold": 1.0}, "clip backprop cuts at every step back"),
    ({"cell": "minlstm", "radius": 0.9}, "radius scales recurrent kernels, of which cell minlstm has none"),
    ({"cell": "lru", "forget_bias": 2.0}, "forget_bias is for cell lstm, not for lru"),
    ({"cell": "mingru", "initial": "chrono", "chrono_length": 9}, "initial chrono sets biases of gates, for cell lstm"),
    ({"cell": "mingru", "mode": "native"}, "pytorch has no cell mingru on cpu"),
    ({"cell": "indrnn", "activation": "sigmoid"}, "activation sigmoid is for cell rnn; indrnn takes relu"),
]


@pytest.mark.parametrize(("fields", "reason"), REFUSED)
def test_what_an_architecture_cannot_do_is_refused_in_one_line(fields: dict[str, Any], reason: str) -> None:
    facts: dict[str, Any] = {"task": "adding", "parameters": (("T", 10),), "framework": "pytorch", "path": "loop"}
    with pytest.raises(registry.UsageError) as raised:
        Case(**facts | fields)
    assert str(raised.value).startswith(reason)
    assert "\n" not in str(raised.value)


def test_a_projection_over_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match="cell indrnn needs sequences of at least 2 steps, not of 1"):
        make_model("indrnn", activation="relu", length=1)


def swap_gates(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(kept: Any, added: Any, **last: int) -> Any:
        return right(1 - kept, added, **last)

    return wrong


def take_real_parts(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*parts: Any, **last: int) -> Any:
        real, _ = right(*parts, **last)
        return real, real

    return wrong


def shorten_bound(right: Callable[..., Any]) -> Callable[..., Any]:
    del right

    def wrong(model: Model, held: Any, *, names: Any) -> None:
        for name, weight in zip(names, held, strict=True):
            if "recurrent.weight_recurrent" in name:
                weight.clamp_(-(2 ** (1 / (model.length + 1))), 2 ** (1 / (model.length + 1)))

    return wrong


@pytest.mark.parametrize(
    ("cell", "path", "file", "function", "plant"),
    [
        ("mingru", "loop", "linear", "loop_states", swap_gates),
        ("minlstm", "scan", "linear", "scan_states", swap_gates),
        ("lru", "loop", "linear", "loop_turning", take_real_parts),
        ("lru", "scan", "linear", "scan_turning", take_real_parts),
        ("indrnn", "loop", "independent", "project_weights", shorten_bound),
    ],
)
def test_certify_finds_a_planted_fault_and_passes_without_it(
    cell: Any, path: str, file: str, function: str, plant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip(f"farreach.frameworks.pytorch.{file}")
    activation: Any = layouts.LAYOUTS[cell].activations[0]
    check = certification.Check("pytorch", path, cell, activation, 1, "vectors", "momentum", "none", "none")
    at = check.draw_weights() | ({"layer0.recurrent": np.full(8, 1.2)} if cell == "indrnn" else {})
    monkeypatch.setattr(certification.Check, "draw_weights", lambda _: at)
    bounds = BOUNDS["float64"]

    def list_faults() -> list[str]:
        found = certification.measure_differences(check, 3).differences
        return [name for name, bound in bounds.items() if not found[name] <= bound]

    assert list_faults() == []
    monkeypatch.setattr(module, function, plant(getattr(module, function)))
    assert list_faults()
