"""The loops of the architectures that came after rnn, lstm and gru: from the same weights they train as ours do."""

from __future__ import annotations

import importlib
import itertools
from operator import attrgetter
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import training
from farreach.benchmarks.speed import handwritten, timed
from farreach.benchmarks.speed.implementations import refuse_loop
from farreach.frameworks.base import Array, Weights
from farreach.frameworks.layouts import LAYOUTS

T, BATCH, HIDDEN, HEADS, STEPS = 8, 16, 8, 2, 8
KINDS = [
    *itertools.product(("mingru", "minlstm", "lru"), ("loop", "scan")),
    *(("indrnn", "loop"), ("transformer", ""), ("attention", "")),
]
"""Each later architecture, on each path that computes otherwise; "" stands for a framework's first one."""


def make_case(loop: str, cell: str, path: str, **fields: Any) -> Case:
    """A short case of an architecture in the framework of a loop."""
    framework = handwritten.LOOPS[loop]
    missing = [one for one in registry.list_needs(framework) if registry.find_version(one) is None]
    if missing:
        pytest.skip(f"{loop} needs a package that is not installed: {', '.join(missing)}")
    importlib.import_module(f"farreach.frameworks.{framework}").configure("cpu", 1)
    shape = {"hidden": HIDDEN, "batch": BATCH, "steps": STEPS, "evaluate_every": STEPS, "dtype": "float64"}
    recipe = {"learning_rate": 0.01, "clip": "norm", "threshold": 0.1}
    task: dict[str, Any] = {"task": "adding", "parameters": (("T", T),)}
    if cell == "attention":
        task = {"task": "copy", "parameters": (("T", T), ("symbols", 5), ("pair", True))}
    heads = {"heads": HEADS} if LAYOUTS[cell].needs_heads else {}
    way = path or registry.list_paths(framework, "cpu", cell)[0]
    own = {"activation": LAYOUTS[cell].activations[0]}
    return Case(framework=framework, cell=cell, path=way, **task | shape | recipe | heads | own | fields)


def split_gates(prefix: str, names: tuple[str, ...], kernel: Array, bias: Array) -> dict[str, Array]:
    """Each gate's kernel and bias by its own name, where a loop keeps them apart."""
    kernels, biases = np.split(kernel, len(names), axis=-1), np.split(bias, len(names), axis=-1)
    pairs = zip(names, kernels, biases, strict=True)
    return {f"{prefix}{name}.{end}": part for name, *both in pairs for end, part in zip("kb", both, strict=True)}


def name_weights(cell: str, weights: Weights) -> dict[str, Array]:
    """Our weights by names that all three loops can be asked by: ``NAME.k`` is a kernel, ``NAME.b`` a bias."""
    first = {name.removeprefix("layer0."): value for name, value in weights.items()}
    named = {"output.k": first["output.kernel"], "output.b": first["output.bias"]}
    if cell in {"mingru", "minlstm", "indrnn"}:
        named |= {"input.k": first["input"], "input.b": first["bias"]}
        return named | ({"recurrent": first["recurrent"]} if cell == "indrnn" else {})
    if cell == "lru":
        named |= {name: first[name] for name in ("nu", "theta", "gamma")}
        for side in ("real", "imaginary"):
            named |= {f"b_{side}.k": first[f"{side}.input"], f"c_{side}.k": first[f"{side}.kernel"]}
        return named | {"skip.k": first["skip.kernel"], "gate.k": first["gate.kernel"], "gate.b": first["bias"]}
    if cell == "transformer":
        named |= {"positions": first["positions"], "attention.k": first["attention.kernel"]}
        for name in ("input", "project", "expand", "contract"):
            named |= {f"{name}.k": first[f"{name}.kernel"], f"{name}.b": first[f"{name}.bias"]}
        for name in ("norm1", "norm2", "norm"):
            named |= {f"{name}.scale": first[f"{name}.scale"], f"{name}.b": first[f"{name}.bias"]}
        return named
    named |= {"score.k": first["score.kernel"], "combine.k": first["combine.kernel"]}
    for name, ours in (("forward", "encoder0.forward"), ("backward", "encoder0.backward"), ("decoder", "layer0")):
        for part, kind in (("k", "input"), ("u", "recurrent"), ("b", "bias")):
            named[f"{name}.{part}"] = weights[f"{ours}.{kind}"]
    return named


def to_pytorch(cell: str, named: dict[str, Array]) -> dict[str, Array]:
    """By the names of the loop's parameters; kernels are transposed there."""
    if cell in {"mingru", "minlstm"}:
        gates = ("gate", "candidate") if cell == "mingru" else ("forget", "input", "candidate")
        kernel, bias = named.pop("input.k"), named.pop("input.b")
        named |= split_gates("", gates, kernel, bias)
    renamed = {}
    for name, value in named.items():
        part, _, end = name.partition(".")
        layer = {"project": "self_attn.out_proj", "expand": "linear1", "contract": "linear2"}
        if cell == "transformer" and part in {"project", "expand", "contract", "norm1", "norm2"}:
            part = f"encoder.layers.0.{layer.get(part, part)}"
        elif cell == "transformer" and part == "norm":
            part = "encoder.norm"
        if name == "attention.k":
            renamed["encoder.layers.0.self_attn.in_proj_weight"] = value.T
        elif part in {"forward", "backward", "decoder"}:
            side, last = "decoder" if part == "decoder" else "encoder", "_reverse" if part == "backward" else ""
            if end == "b":
                renamed |= {f"{side}.bias_{row}_l0{last}": value[at] for at, row in enumerate(("ih", "hh"))}
            else:
                renamed[f"{side}.weight_{'ih' if end == 'k' else 'hh'}_l0{last}"] = value.T
        elif end == "k":
            renamed[f"{part}.weight"] = value.T
        else:
            renamed[f"{part}.{'weight' if end == 'scale' else 'bias'}" if end else part] = value
    return renamed


def to_jax(cell: str, named: dict[str, Array]) -> dict[str, Array]:
    """By the keys of the loop's weights."""
    ends = {"k": "", "u": "_recurrent", "b": "_bias", "scale": "_scale", "": ""}
    renamed = {}
    for name, value in named.items():
        part, _, end = name.partition(".")
        if part in {"forward", "backward", "decoder"}:
            both = {f"{part}_bias": value[0], f"{part}_bias_h": value[1]} if end == "b" else {}
            renamed |= both or {f"{part}{'_input' if end == 'k' else '_recurrent'}": value}
        elif part == "input" and end == "b" and cell != "transformer":
            renamed["bias"] = value
        else:
            renamed[part + ends[end]] = value
    return renamed


def to_tensorflow(cell: str, named: dict[str, Array]) -> dict[str, Array]:
    """By the attributes of the loop."""
    ends = {"k": ".kernel", "u": ".cell.recurrent_kernel", "b": ".bias", "scale": ".gamma", "": ""}
    renamed = {}
    for name, value in named.items():
        part, _, end = name.partition(".")
        if part in {"forward", "backward", "decoder"}:
            r, z, n = np.split(value, 3, axis=-1)  # of which Keras has the second first
            place = {"k": "kernel", "u": "recurrent_kernel", "b": "bias"}[end]
            renamed[f"layer.{part}.cell.{place}"] = np.concatenate([z, r, n], axis=-1)
        elif name == "attention.k":
            for one, kernel in zip(("query", "key", "value"), np.split(value, 3, axis=-1), strict=True):
                renamed[f"layer.attention._{one}_dense.kernel"] = kernel.reshape(HIDDEN, HEADS, -1)
        elif part == "project":
            shaped = value.reshape(HEADS, -1, HIDDEN) if end == "k" else value
            renamed[f"layer.attention._output_dense{ends[end]}"] = shaped
        elif name.startswith("norm") and end == "b":
            renamed[f"layer.{part}.beta"] = value
        else:
            place = {"input": "input_layer" if cell == "transformer" else "project"}.get(part, part)
            renamed[f"{'' if part == 'output' else 'layer.'}{place}{ends[end]}"] = value
    return renamed


RENAME = {"later_pytorch": to_pytorch, "later_jax": to_jax, "later_tensorflow": to_tensorflow}


def put_weights(loop: Any, weights: dict[str, Array]) -> None:
    """Let a loop begin with these weights."""
    if hasattr(loop, "carried"):
        arrays = importlib.import_module("jax.numpy")
        assert {*weights} == {*loop.carried[0]}
        loop.carried = {name: arrays.array(value) for name, value in weights.items()}, loop.carried[1]
    elif hasattr(loop, "network"):
        torch = importlib.import_module("torch")
        there = {name: one for name, one in loop.network.named_parameters() if one.requires_grad}
        assert {*weights} == {*there}
        for name, value in weights.items():
            there[name].data.copy_(torch.tensor(value))
    else:
        assert len(weights) == len(loop.weights)
        for name, value in weights.items():
            attrgetter(name)(loop).assign(value)


def read_weights(loop: Any, names: list[str]) -> dict[str, Array]:
    """The weights of a loop by its own names."""
    if hasattr(loop, "carried"):
        return {name: np.asarray(loop.carried[0][name]) for name in names}
    if hasattr(loop, "network"):
        there = dict(loop.network.named_parameters())
        return {name: there[name].detach().numpy() for name in names}
    return {name: attrgetter(name)(loop).numpy() for name in names}


@pytest.mark.sampled(every=9)
@pytest.mark.parametrize(("cell", "path"), KINDS)
@pytest.mark.parametrize("name", RENAME)
def test_from_the_same_weights_a_later_loop_trains_as_ours(name: str, cell: str, path: str) -> None:
    """Over eight updates that Adam makes of a clipped gradient; only rounding is between the first losses and norms.

    After that PyTorch's clip adds 1e-6 to the norm; and Keras adds Adam's epsilon before the root is bias-corrected,
    which moves the few weights whose gradient is tiny by part of an update. JAX's attention is float32 within.
    """
    case = make_case(name, cell, path)
    ours, loop = training.build(case), timed.build_loop(case, name)
    put_weights(loop, RENAME[name](cell, name_weights(cell, ours.weights())))
    batches = list(itertools.islice(case.load().batches(0, BATCH), STEPS))
    trace = ours.train(batches)
    inputs, targets = (np.stack([getattr(batch, part) for batch in batches]) for part in ("inputs", "targets"))
    if case.model().loss == "mse":
        targets = targets.reshape(STEPS, BATCH, -1).astype(np.float64)
    losses, before, after = loop.train(inputs.astype(np.float64), targets)
    assert trace.clipped.any()
    assert (losses[0], before[0]) == pytest.approx((trace.loss[0], trace.norm_before[0]), rel=1e-7)
    is_keras = name == "later_tensorflow"
    epsilon = 100.0 if is_keras else 1.0
    np.testing.assert_allclose(losses, trace.loss, rtol=1e-5 * epsilon)
    np.testing.assert_allclose(before, trace.norm_before, rtol=2e-5 * epsilon)
    np.testing.assert_allclose(after, trace.norm_after, rtol=2e-5 * epsilon)
    expected = RENAME[name](cell, name_weights(cell, ours.weights()))
    for part, value in read_weights(loop, [*expected]).items():
        apart = np.abs(value - expected[part])
        assert np.quantile(apart, 0.5) <= 2e-6 * epsilon, part
        assert apart.max() <= (2 * case.learning_rate if is_keras else 2e-6), part


@pytest.mark.parametrize("cell", sorted(cell for cell, layout in LAYOUTS.items() if layout.family != "recurrent"))
def test_every_later_architecture_is_timed_against_a_loop_of_its_own_in_every_framework(cell: str) -> None:
    assert cell in {one for one, _ in KINDS}
    for name in handwritten.LATER:
        case = make_case(name, cell, "")
        assert refuse_loop(case, name) == ""
        others = [one for one, framework in handwritten.LOOPS.items() if framework == case.framework and one != name]
        assert all(refuse_loop(case, one).endswith("is written for rnn, lstm and gru") for one in others)


def test_what_a_later_loop_does_not_do_is_one_line() -> None:
    assert "came after" in refuse_loop(make_case("later_pytorch", "rnn", ""), "later_pytorch")
    assert "Adam" in refuse_loop(make_case("later_pytorch", "lru", "loop", optimizer="sgd"), "later_pytorch")
    assert "one layer" in refuse_loop(make_case("later_pytorch", "lru", "loop", layers=2), "later_pytorch")
    with pytest.raises(ValueError, match="later_pytorch is written for activation relu, not for adding"):
        timed.build_loop(make_case("later_pytorch", "indrnn", "loop", activation="tanh"), "later_pytorch")
