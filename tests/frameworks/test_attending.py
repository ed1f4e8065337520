"""Attention and the transformer: against equations written another way, what they may not see, planted faults."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.studies import certification
from farreach.frameworks import weights
from farreach.frameworks.base import Array, Model, Training, Weights
from farreach.frameworks.reference import recurrent
from farreach.results.analysis.certificates import BOUNDS
from farreach.tasks import translation
from farreach.tasks.data import subwords
from tests.frameworks.conftest import forget_programs
from tests.support.models import build_framework, make_batches, make_model

NAMES = [name for name in registry.list_frameworks() if registry.find_framework_version(name)]
COMPARED = [name for name in NAMES if name != registry.REFERENCE]
CELLS = ("attention", "transformer")
TIME = 8


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(f"farreach.frameworks.{request.param}")


def perturb_weights(model: Model) -> Weights:
    """Weights without a zero among the biases, nor a one among the scales."""
    random = np.random.default_rng(4)
    return {name: value + 0.2 * random.standard_normal(value.shape) for name, value in weights.draw(model, 0).items()}


def draw_inputs(model: Model) -> Array:
    """Inputs [batch, time, ...]; of tokens the first row has two steps of padding."""
    inputs = make_batches(model, 1, time=TIME)[0].inputs
    if model.tokens:
        inputs = np.where(inputs == 0, 1, inputs)
        inputs[0, :2] = 0
    return inputs


def embed(model: Model, at: Weights, inputs: Array) -> Array:
    return np.asarray(at["embedding"][inputs] if model.tokens else inputs.astype(np.float64))


def normalise(row: Array, scale: Array, bias: Array) -> Array:
    return np.asarray((row - row.mean()) / np.sqrt(row.var() + 1e-5) * scale + bias)


def score_transformer(model: Model, at: Weights, inputs: Array) -> Array:
    """The scores of one sequence [time, ...], step by step and head by head."""
    x = embed(model, at, inputs)
    x = x if model.tokens else x @ at["input.kernel"] + at["input.bias"]
    r, width = x + at["positions"], model.hidden // model.heads
    for layer in range(model.layers):
        part = {name.removeprefix(f"layer{layer}."): value for name, value in at.items()}
        normed = np.stack([normalise(row, part["norm1.scale"], part["norm1.bias"]) for row in r])
        query, key, value = np.hsplit(normed @ part["attention.kernel"], 3)
        added = np.zeros_like(r)
        for t in range(len(r)):
            seen = [s for s in range(t + 1) if s == t or not model.tokens or inputs[s] != model.padding]
            for head in range(model.heads):
                own = slice(head * width, (head + 1) * width)
                shares = softmax([query[t, own] @ key[s, own] / np.sqrt(width) for s in seen])
                added[t, own] = sum(share * value[s, own] for share, s in zip(shares, seen, strict=True))
        r = r + added @ part["project.kernel"] + part["project.bias"]
        normed = np.stack([normalise(row, part["norm2.scale"], part["norm2.bias"]) for row in r])
        inner = np.maximum(normed @ part["expand.kernel"] + part["expand.bias"], 0)
        r = r + inner @ part["contract.kernel"] + part["contract.bias"]
    last = np.stack([normalise(row, at["norm.scale"], at["norm.bias"]) for row in r[-model.scored :]])
    return np.asarray(last @ at["output.kernel"] + at["output.bias"])


def run_gru(at: Weights, name: str, inputs: Array, h: Array) -> Array:
    """The states of a gru by the written out step of the reference's recurrent cells."""
    kernel, matrix, (beside, before) = (at[f"{name}.{part}"] for part in ("input", "recurrent", "bias"))
    states = []
    for now in inputs:
        (h,), _ = recurrent.Gru().forward(now @ kernel + beside, h @ matrix + before, (h,))
        states.append(h)
    return np.stack(states)


def score_attention(model: Model, at: Weights, inputs: Array) -> Array:
    """The scores of one sequence [time, ...]."""
    x = embed(model, at, inputs)[:, np.newaxis]
    nothing = np.zeros((1, model.hidden))
    source, below = x[: model.source], x[model.source :]
    for layer in range(model.layers):
        forward = run_gru(at, f"encoder{layer}.forward", source, nothing)
        backward = run_gru(at, f"encoder{layer}.backward", source[::-1], nothing)[::-1]
        source = np.concatenate([forward, backward], axis=-1)
        below = run_gru(at, f"layer{layer}", below, forward[-1])
    found, states = source[:, 0], below[-model.scored :, 0]
    seen = [s for s in range(model.source) if not model.tokens or inputs[s] != model.padding]
    scores = []
    for h in states:
        shares = softmax([h @ at["score.kernel"] @ found[s] for s in seen])
        c = sum(share * found[s] for share, s in zip(shares, seen, strict=True))
        joined = np.tanh(np.concatenate([c, h]) @ at["combine.kernel"])
        scores.append(joined @ at["output.kernel"] + at["output.bias"])
    return np.stack(scores)


def predict(module: Any, model: Model, at: Weights, inputs: Array) -> Array:
    return build_framework(module, model, Training(), initial=at).predict(inputs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("layers", "tokens"), [(1, False), (2, True)])
def test_every_framework_computes_the_equations(module: Any, cell: str, layers: int, *, tokens: bool) -> None:
    model = make_model(cell, tokens=tokens, layers=layers, length=TIME)
    at, inputs = perturb_weights(model), draw_inputs(model)
    expected = [
        {"attention": score_attention, "transformer": score_transformer}[cell](model, at, row) for row in inputs
    ]
    np.testing.assert_allclose(predict(module, model, at, inputs), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tokens", [False, True])
def test_a_transformer_sees_no_later_step(module: Any, *, tokens: bool) -> None:
    model = dataclasses.replace(make_model("transformer", tokens=tokens, layers=2, length=TIME), scored=TIME)
    at, inputs = perturb_weights(model), draw_inputs(model)
    changed = inputs.copy()
    changed[:, 4] = changed[:, 4] % 5 + 1 if tokens else changed[:, 4] + 1
    before, after = (predict(module, model, at, one) for one in (inputs, changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (np.abs(before - after)[:, 4:].max(axis=(0, 2)) > 1e-6).all()


def test_a_transformer_never_looks_at_padding(module: Any) -> None:
    """What padding embeds changes the scores at padding alone."""
    model = dataclasses.replace(make_model("transformer", tokens=True, layers=2, length=TIME), scored=TIME)
    at, inputs = perturb_weights(model), draw_inputs(model)
    moved = at | {"embedding": at["embedding"].copy()}
    moved["embedding"][model.padding] *= -2
    before, after = (predict(module, model, one, inputs) for one in (at, moved))
    np.testing.assert_array_equal(before[1:], after[1:])
    np.testing.assert_allclose(before[0, 2:], after[0, 2:], rtol=1e-12)
    assert np.abs(before[0, :2] - after[0, :2]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_of_padding_alone_has_finite_scores_and_gradients(module: Any, cell: str) -> None:
    model = make_model(cell, tokens=True, layers=2, length=TIME)
    batch = make_batches(model, 1, time=TIME)[0]
    batch = dataclasses.replace(batch, inputs=np.zeros_like(batch.inputs))
    framework = build_framework(module, model, Training("sgd", 0.1))
    assert np.isfinite(framework.predict(batch.inputs)).all()
    assert np.isfinite(framework.train([batch]).norm_before).all()
    assert all(np.isfinite(value).all() for value in framework.weights().values())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("far", [0.0, 1_000.0, -1_000.0])
def test_the_references_derivatives_are_finite_wherever_the_biases_are(cell: str, far: float) -> None:
    model = make_model(cell, length=TIME)
    at = {name: np.full_like(value, far) if "bias" in name else value for name, value in weights.draw(model, 0).items()}
    family = importlib.import_module(f"farreach.frameworks.reference.{cell}")
    _, gradients, _ = family.compute_gradients(model, at, make_batches(model, 1, time=TIME)[0])
    assert all(np.isfinite(value).all() for value in gradients.values())
    if cell == "transformer" and far == 0:
        at["layer0.expand.kernel"] *= 0
        _, gradients, _ = family.compute_gradients(model, at, make_batches(model, 1, time=TIME)[0])
        assert not gradients["layer0.expand.kernel"].any()  # at 0 the derivative of relu is 0, as in the frameworks


def see_all(right: Callable[..., Any]) -> Callable[..., Any]:
    """A mask that hides no later step: what it is made of in each framework has ``>=``, of any two steps."""

    def wrong(model: Model, inputs: Any) -> Any:
        mask = right(dataclasses.replace(model, padding=0), inputs)
        return (mask == mask) if mask is not None else None  # noqa: PLR0124 - all true, of its type and shape

    return wrong


def forget_padding(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(model: Model, inputs: Any) -> Any:
        return right(dataclasses.replace(model, padding=None), inputs)

    return wrong


def leave_unscaled(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(query: Any, key: Any, value: Any, mask: Any) -> Any:
        return right(query * query.shape[-1] ** 0.5, key, value, mask)

    return wrong


def turn_round(right: Callable[..., Any]) -> Callable[..., Any]:
    """The source's states asked by a score, and another order of them found."""

    def wrong(query: Any, encoded: Any, mask: Any) -> Any:
        return right(query, encoded, mask) + right(query * 0, encoded, mask) * 1e-6

    return wrong


@pytest.mark.slow
@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("framework", COMPARED)
@pytest.mark.parametrize(
    ("cell", "function", "plant", "inputs"),
    [
        ("transformer", "make_mask", see_all, "tokens"),
        ("transformer", "make_mask", forget_padding, "tokens"),
        ("transformer", "attend", leave_unscaled, "vectors"),
        ("attention", "make_mask", forget_padding, "tokens"),
        ("attention", "attend", turn_round, "vectors"),
    ],
)
def test_certify_finds_a_planted_fault_and_passes_without_it(
    framework: str, cell: Any, function: str, plant: Callable[..., Any], inputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"farreach.frameworks.{framework}.{cell}")
    path = "graph" if framework == "tensorflow" else registry.list_paths(framework, "cpu", cell)[0]
    check = certification.Check(framework, path, cell, "tanh", 1, inputs, "momentum", "none", "none", scored="some")

    def list_faults() -> list[str]:
        found = certification.measure_differences(check, 3).differences
        return [name for name, bound in BOUNDS["float64"].items() if not found[name] <= bound]

    assert list_faults() == []
    with monkeypatch.context() as patch:
        patch.setattr(module, function, plant(getattr(module, function)))
        forget_programs()
        assert list_faults()
    forget_programs()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cell": "transformer", "heads": 5}, "heads must divide hidden, 64, which 5 does not"),
    ({"cell": "transformer"}, "heads must divide hidden, 64, which 0 does not"),
    ({"cell": "gru", "heads": 4}, "heads is for cell transformer, not for gru"),
    ({"cell": "attention"}, "cell attention needs a task with a source: translation, or copy with pair = true"),
    ({"cell": "attention", "task": "copy"}, "cell attention needs a task with a source"),
    (
        {"cell": "transformer", "heads": 4, "clip": "backprop", "threshold": 1.0},
        "clip backprop is not defined for cell transformer",
    ),
    (
        {"cell": "transformer", "heads": 4, "radius": 0.5},
        "radius scales recurrent kernels, of which cell transformer has none",
    ),
    ({"cell": "transformer", "heads": 4, "mode": "native"}, "pytorch has no cell transformer on cpu"),
    ({"cell": "transformer", "heads": 4, "activation": "relu"}, "activation relu is for cell rnn"),
]


@pytest.mark.parametrize(("fields", "reason"), REFUSED)
def test_what_they_cannot_do_is_refused_in_one_line(fields: dict[str, Any], reason: str) -> None:
    facts: dict[str, Any] = {"task": "adding", "framework": "pytorch", "path": "eager"}
    with pytest.raises(registry.UsageError) as raised:
        Case(**facts | fields)
    assert str(raised.value).startswith(reason)
    assert "\n" not in str(raised.value)


def test_a_model_without_what_its_architecture_asks_for_is_refused() -> None:
    model = make_model("attention", length=TIME)
    for changes, reason in (
        ({"scored": TIME - model.source + 1}, "cell attention answers after the source, in 4 steps, not in 5"),
        ({"heads": 2}, "cell attention takes no heads, not 2"),
        ({"cell": "gru", "length": 0}, "cell gru takes no source"),
    ):
        with pytest.raises(ValueError, match=reason):
            dataclasses.replace(model, **changes)


def test_a_case_tells_its_model_where_the_source_ends_and_what_padding_is() -> None:
    facts: dict[str, Any] = {"framework": "pytorch", "path": "eager", "task": "translation"}
    task = translation.Task()
    attention = Case(**facts, cell="attention").model()
    assert (attention.source, attention.padding, attention.length) == (task.longest, subwords.PAD, task.length)
    transformer = Case(**facts, cell="transformer", heads=8).model()
    assert (transformer.heads, transformer.source, transformer.padding) == (8, 0, subwords.PAD)
    gru = Case(**facts, cell="gru").model()
    assert (gru.heads, gru.source, gru.padding, gru.length) == (0, 0, None, 0)
