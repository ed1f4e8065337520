"""The loops that ours are timed against: each trains as its framework's documentation has it, with nothing of ours."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import itertools
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import training
from farreach.benchmarks.speed import handwritten, timed
from farreach.frameworks.base import Array, Trace
from farreach.tasks.adding import Task
from tests.support.outlines import describe_signature
from tests.support.paths import quickest

FOLDER = registry.ROOT / "benchmarks" / "speed" / "handwritten"
NAMES = [name for name in handwritten.LOOPS if name not in handwritten.LATER]
T, BATCH, HIDDEN, STEPS = 8, 16, 8, 20
RATE, THRESHOLD = 0.01, 1e-3
CELLS = ("rnn", "lstm", "gru")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
COSINE = {"schedule": "cosine", "warmup": 5, "rate_end": 0.1}
STEP = {"schedule": "step", "rate_every": 5, "rate_factor": 0.5}
SGD = {"optimizer": "sgd", "learning_rate": 0.25}
RECIPES: dict[str, dict[str, Any]] = {
    "norm": {"cell": "rnn", "threshold": 0.5} | SGD,
    "value": {"cell": "gru", "clip": "value", "threshold": 0.02} | SGD,
    "variable": {"cell": "lstm", "clip": "variable", "threshold": 0.05} | SGD,
    "agc": {"cell": "lstm", "clip": "agc", "threshold": 0.02} | SGD,
    "autoclip": {"cell": "rnn", "clip": "autoclip", "threshold": 30.0} | SGD,
    "backprop": {"cell": "lstm", "clip": "backprop", "threshold": 1e-3} | SGD,
    "omega2": {"cell": "rnn", "regulariser": "omega2", "strength": 0.05} | SGD,
    "sgd": {"cell": "lstm"} | SGD | STEP,
    "momentum": {"cell": "gru", "optimizer": "momentum"},
    "rmsprop": {"cell": "rnn", "optimizer": "rmsprop", "decay": 0.9, "accumulator": 0.1},
    "adagrad": {"cell": "lstm", "optimizer": "adagrad", "accumulator": 0.1} | COSINE,
    "adamw": {"cell": "gru", "optimizer": "adamw", "weight_decay": 0.1} | COSINE,
    "adam": {"cell": "rnn"} | STEP,
}
"""Fields of a case beside a norm clip of 1: every clip, optimizer and schedule, and the penalty."""


def build(name: str, cell: str, *, rate: float = RATE, threshold: float = THRESHOLD, **recipe: Any) -> Any:
    """A loop, in a process set up for its framework as a live worker is; skipped where a package is missing."""
    framework = handwritten.LOOPS[name]
    needed = (*registry.list_needs(framework), *handwritten.NEEDS.get(name, ()))
    if missing := [one for one in needed if registry.find_version(one) is None]:
        pytest.skip(f"{name} needs a package that is not installed: {', '.join(missing)}")
    importlib.import_module(f"farreach.frameworks.{framework}").configure("cpu", 1)
    module = importlib.import_module(f"farreach.benchmarks.speed.handwritten.{name}")
    shape = {"cell": cell, "features": 2, "hidden": HIDDEN, "outputs": 1}
    facts = {"device": "cpu", "threads": 1, "seed": 3}
    return module.Loop(**shape, learning_rate=rate, threshold=threshold, **facts, **recipe)


@functools.cache
def problem(steps: int) -> tuple[Array, Array]:
    """The inputs and the targets of so many batches of the adding problem, in the layout of a loop."""
    batches = list(itertools.islice(Task(T=T).batches(0, BATCH), steps))
    return np.stack([batch.inputs for batch in batches]), np.stack([batch.targets[:, 0] for batch in batches])


def named(loop: Any) -> dict[str, Array]:
    """A copy of the weights, in the framework's own layout; names in the order of its gradients and slots."""
    if hasattr(loop, "carried"):
        return {name: np.array(value) for name, value in loop.carried[0].items()}
    if hasattr(loop.network, "trainable_variables"):
        return {f"{at} {one.name}": one.numpy() for at, one in enumerate(loop.network.trainable_variables)}
    return {name: value.detach().numpy().copy() for name, value in loop.network.named_parameters()}


def means(loop: Any) -> dict[str, Array]:
    """A copy of Adam's first moments, which after one step are a tenth of the gradient that it was given."""
    if hasattr(loop, "carried"):
        return {name: np.array(value) for name, value in loop.carried[1][1][0].mu.items()}
    if hasattr(loop.network, "trainable_variables"):
        kept = [one.numpy() for one in loop.optimizer.variables if one.path.endswith("momentum")]
        return dict(zip(named(loop), kept, strict=True))
    optimizer = getattr(loop, "optimizer", None) or loop.network.optimizer
    return {name: optimizer.state[value]["exp_avg"].numpy().copy() for name, value in loop.network.named_parameters()}


def gradients(loop: Any, inputs: Array, targets: Array) -> dict[str, Array]:
    """The gradient by the framework's own differentiation, with no clip and no loop."""
    if hasattr(loop, "carried"):
        jax = importlib.import_module("jax")
        slope = jax.grad(lambda weights: ((loop.network(weights, inputs) - targets) ** 2).mean())
        return {name: np.array(value) for name, value in slope(loop.carried[0]).items()}
    if hasattr(loop.network, "trainable_variables"):
        tf = importlib.import_module("tensorflow")
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((loop.network(inputs) - targets) ** 2)
        slopes = tape.gradient(loss, loop.network.trainable_variables)
        return {name: slope.numpy() for name, slope in zip(named(loop), slopes, strict=True)}
    torch = importlib.import_module("torch")
    states, _ = loop.network.recurrent(torch.from_numpy(inputs).transpose(0, 1))
    loss = (loop.network.output(states[-1]) - torch.from_numpy(targets)).square().mean()
    names, values = zip(*loop.network.named_parameters(), strict=True)
    return {name: slope.numpy() for name, slope in zip(names, torch.autograd.grad(loss, values), strict=True)}


def norm_of(arrays: dict[str, Array]) -> float:
    return float(np.sqrt(sum(np.square(value.astype(np.float64)).sum() for value in arrays.values())))


@dataclasses.dataclass(frozen=True)
class Life:
    """What one loop did: compiled once, asked about in several tests."""

    gradient: dict[str, Array]
    figures: tuple[Array, Array | None, Array | None]
    moments: dict[str, Array]
    weights: list[dict[str, Array]]
    early: float
    late: float


@functools.cache
def life(name: str, cell: str) -> Life:
    """Train a loop for 62 steps; keep the weights before the first, after it and after the second."""
    loop, (inputs, targets) = build(name, cell), problem(62)
    gradient, weights = gradients(loop, inputs[0], targets[0]), [named(loop)]
    figures = loop.train(inputs[:1], targets[:1])
    moments = means(loop)
    weights.append(named(loop))
    second = loop.train(inputs[1:2], targets[1:2])
    weights.append(named(loop))
    # A loop compiles for its number of steps a call; fit and the Trainer start up for every call.
    stride = 1 if name.startswith("loop") else 10
    later = [loop.train(inputs[at : at + stride], targets[at : at + stride])[0].mean() for at in range(2, 62, stride)]
    early = np.mean([figures[0], second[0]])
    return Life(gradient, figures, moments, weights, float(early), float(np.mean(later[-10 // stride :])))


@pytest.mark.slow
@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_loop_falls(name: str, cell: str) -> None:
    lived = life(name, cell)
    assert lived.late < 0.6 * lived.early


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", NAMES)
def test_the_norm_before_the_clip_is_that_of_the_whole_gradient(name: str, cell: str) -> None:
    lived = life(name, cell)
    losses, norms, _ = lived.figures
    assert losses.dtype == np.float32
    assert losses.shape == (1,)
    assert (norms is None) == (not name.startswith("loop"))
    if norms is not None:
        assert norms == pytest.approx([norm_of(lived.gradient)], rel=1e-4)


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", NAMES)
def test_adam_is_given_the_whole_gradient_scaled_to_the_threshold(name: str, cell: str) -> None:
    lived = life(name, cell)
    norm = norm_of(lived.gradient)
    assert norm > 100 * THRESHOLD
    assert norm_of(lived.moments) == pytest.approx(0.1 * THRESHOLD, rel=1e-4)
    for part, given in lived.moments.items():
        expected = 0.1 * THRESHOLD / norm * lived.gradient[part]
        np.testing.assert_allclose(given, expected, rtol=2e-3, atol=1e-8, err_msg=part)
    before, after = lived.weights[:2]
    # Adam's first step is the learning rate, whatever the gradient's scale.
    assert max(np.abs(after[part] - value).max() for part, value in before.items()) == pytest.approx(RATE, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_calls_do_not_matter_and_a_warm_up_trains(name: str) -> None:
    """What a call leaves behind, Adam's memory too, the next goes on from."""
    loop, (inputs, targets) = build(name, "rnn"), problem(2)
    assert loop.prepare(inputs, targets) > 0
    apart = life(name, "rnn").weights[2]
    for part, value in named(loop).items():
        np.testing.assert_allclose(value, apart[part], rtol=1e-5, atol=1e-6, err_msg=part)
    losses, norms, _ = loop.train(inputs, targets)
    assert losses.shape in {(2,), (1,)}
    assert norms is None or norms.shape == (2,)


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_trained_is_what_the_documentation_of_the_layer_has(name: str, cell: str) -> None:
    biases = {
        "pytorch": dict.fromkeys(CELLS, 2 * GATES[cell]),  # b_ih and b_hh
        "tensorflow": {"rnn": 1, "lstm": 4, "gru": 6},  # the gru has reset_after
        "jax": {"rnn": 1, "lstm": 4, "gru": 4},  # as in flax: one a gate, and one beside h in the candidate
    }[handwritten.LOOPS[name]][cell]
    expected = GATES[cell] * (2 + HIDDEN) * HIDDEN + biases * HIDDEN + HIDDEN + 1
    assert sum(value.size for value in named(build(name, cell)).values()) == expected


def follow(name: str, **fields: Any) -> tuple[Any, Any, Trace, tuple[Array, Array, Array]]:
    """Our learner and the loop after 20 steps in float64, from the same weights, and the figures of both."""
    framework = handwritten.LOOPS[name]
    if name == "loop_jax" and fields["cell"] == "gru":  # of whose biases it has fewer
        fields["cell"] = "lstm"
    build(name, fields["cell"])  # which skips where a package is missing
    shape = {
        "hidden": HIDDEN,
        "batch": BATCH,
        "learning_rate": RATE,
        "steps": STEPS,
        "evaluate_every": STEPS,
        "dtype": "float64",
    }
    given = {"clip": "norm", "threshold": 1.0, "path": quickest(framework, fields["cell"])} | shape | fields
    case = Case(task="adding", parameters=(("T", T),), framework=framework, **given)
    ours, loop = training.build(case), timed.build_loop(case, name)
    PUT[name](loop, to_native(ours))
    inputs, targets = problem(STEPS)
    trace = ours.train(list(itertools.islice(Task(T=T).batches(0, BATCH), STEPS)))
    return ours, loop, trace, loop.train(inputs.astype(np.float64), targets.astype(np.float64))


def to_native(ours: Any) -> dict[str, Array]:
    """Our weights in the framework's own layout."""
    recurrent = importlib.import_module(f"{type(ours).__module__}.recurrent")
    return recurrent.to_native(ours.model, ours.weights())


def put_pytorch(loop: Any, native: dict[str, Array]) -> None:
    torch = importlib.import_module("torch")
    loop.network.load_state_dict({name: torch.from_numpy(value) for name, value in native.items()})
    if not isinstance(loop.network.recurrent, torch.nn.GRU):  # where ours trains one bias of the two
        loop.network.recurrent.bias_hh_l0.requires_grad_(requires_grad=False)


def put_jax(loop: Any, native: dict[str, Array]) -> None:
    values = {"input": native["layer0.input"], "recurrent": native["layer0.recurrent"]}
    values |= {"bias": native["layer0.bias"]}
    values |= {"output": native["output.kernel"], "output_bias": native["output.bias"]}
    arrays = importlib.import_module("jax.numpy")
    loop.carried = {name: arrays.array(value) for name, value in values.items()}, loop.carried[1]


def put_keras(loop: Any, native: dict[str, Array]) -> None:
    loop.network.set_weights(list(native.values()))


PUT = {"loop_pytorch": put_pytorch, "loop_jax": put_jax, "loop_tensorflow": put_keras}


def take_weights(loop: Any, native: dict[str, Array]) -> dict[str, Array]:
    """The weights of a loop by the names of ours."""
    trained = named(loop)
    if hasattr(loop, "carried"):
        inner = {f"layer0.{part}": trained[part] for part in ("input", "recurrent", "bias")}
        return inner | {"output.kernel": trained["output"], "output.bias": trained["output_bias"]}
    return trained if native.keys() <= trained.keys() else dict(zip(native, trained.values(), strict=True))


@pytest.mark.sampled(every=7)
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", PUT)
def test_from_the_same_weights_a_loop_trains_as_ours(name: str, recipe: str) -> None:
    """20 steps that move weights by up to .2; PyTorch's own clips by a norm add 1e-6 to it.

    Keras keeps learning rates and constants in float32, and adds Adam's epsilon before the root is bias-corrected.
    """
    ours, loop, trace, (losses, before, after) = follow(name, **RECIPES[recipe])
    assert trace.clipped.any()
    native = to_native(ours)
    theirs = take_weights(loop, native)
    epsilon = 100.0 if (name, recipe[:4]) == ("loop_tensorflow", "adam") else 1.0
    np.testing.assert_allclose(losses, trace.loss, rtol=1e-5 * epsilon)
    np.testing.assert_allclose(before, trace.norm_before, rtol=2e-5 * epsilon)
    np.testing.assert_allclose(after, trace.norm_after, rtol=2e-5 * epsilon)
    for part, value in native.items():
        np.testing.assert_allclose(theirs[part], value, rtol=0, atol=2e-6 * epsilon, err_msg=part)


def test_a_recipe_that_a_loop_cannot_do_is_refused_in_one_line() -> None:
    given = {"task": "adding", "parameters": (("T", T),), "framework": "pytorch", "cell": "rnn", "path": "eager"}
    clip = {"clip": "norm", "threshold": 1.0}
    others: tuple[dict[str, Any], ...] = (
        {},
        clip | {"regulariser": "omega", "strength": 0.1},
        clip | {"layers": 2},
        clip | {"activation": "relu"},
        clip | {"clip": "backprop"},
    )
    for fields in others:
        case = Case(**given | fields)
        with pytest.raises(ValueError, match=r"loop_pytorch is written for .*, not for adding"):
            timed.load_step(case, count=2, loop="loop_pytorch")
    with pytest.raises(ValueError, match="loop_tensorflow is written for momentum at one learning rate"):
        timed.build_loop(Case(**given, **clip, optimizer="momentum", **STEP), "loop_tensorflow")
    with pytest.raises(ValueError, match="trainer_lightning is written for Adam at one learning rate under a norm"):
        timed.build_loop(Case(**given, **clip, optimizer="sgd"), "trainer_lightning")


def test_every_compared_framework_has_a_handwritten_loop() -> None:
    assert set(handwritten.LOOPS.values()) == set(registry.list_compared())
    assert handwritten.NEEDS.keys() <= handwritten.LOOPS.keys()


@pytest.mark.parametrize(("names", "count"), [(NAMES, 6), (handwritten.LATER, 5)], ids=["loops", "later"])
def test_handwritten_files_are_mirror_images(names: list[str], count: int) -> None:
    def outline(name: str) -> list[str]:
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        contract = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Loop")
        public = [node for node in (*tree.body, *contract.body) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        return [describe_signature(node) for node in public if node.name == "__init__" or not node.name.startswith("_")]

    outlines = {name: outline(name) for name in names}
    first = outlines[names[0]]
    assert len(first) == count
    for name, theirs in outlines.items():
        assert theirs == first, name


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("loop")])
def test_a_tool_that_is_written_for_one_recipe_says_so(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is written for Adam at one learning rate"):
        build(name, "rnn", optimizer="sgd")
