"""The certificate: it passes what is right, catches what is subtly wrong, and records name it."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from farreach import frameworks
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.studies import certification
from farreach.benchmarks.studies.certificate import choose_checks
from farreach.benchmarks.studies.certification import Check
from farreach.frameworks import base, layouts, weights
from farreach.frameworks.base import Trace
from farreach.frameworks.schedule import Schedule
from farreach.results.analysis.certificates import (
    BOUNDS,
    CROSSED,
    count_certified,
    is_within_bounds,
    list_demands,
)
from farreach.results.report.certificates import write_coverage
from tests.support import certified, synthetic
from tests.support.certified import publish_certificate
from tests.support.paths import quickest

INSTALLED = registry.list_installed()
STEPS = 5

STEPPED = "steps += 1"
SPARSE = {
    "return [tf.convert_to_tensor(gradient) for gradient in gradients]": (
        "global sparse; gradients = list(gradients); sparse = gradients[0]; gradients[0] = sparse.values\n"
        "    return gradients"
    ),
    STEPPED: STEPPED
    + "; gradients[0] = tf.convert_to_tensor(tf.IndexedSlices(gradients[0], sparse.indices, sparse.dense_shape))",
}

FAULTS: dict[str, tuple[str, str, dict[str, str], dict[str, str]]] = {
    "an embedding's gradient left sparse": ("tensorflow", "paths", {"inputs": "tokens"}, SPARSE),
    "an epsilon inside the root": (
        "tensorflow",
        "optimizers",
        {"optimizer": "rmsprop"},
        {"(tf.sqrt(s) + epsilon)": "tf.sqrt(s + epsilon)"},
    ),
    "a swapped gate": (
        "tensorflow",
        "recurrent",
        {"cell": "gru"},
        {"[second, first, third]": "[first, second, third]"},
    ),
    "a clip per variable": (
        "tensorflow",
        "clip",
        {"clip": "norm"},
        {
            "[gradient * scale for gradient in": (
                "[gradient * tf.minimum(tf.ones_like(before), threshold / compute_norm([gradient])) for gradient in"
            )
        },
    ),
    "a bias trained twice": (
        "pytorch",
        "recurrent",
        {"cell": "lstm"},
        {"requires_grad_(requires_grad=False)": "requires_grad_(requires_grad=True)"},
    ),
    "float32 constants": (
        "tensorflow",
        "optimizers",
        {"optimizer": "momentum"},
        {"base.MOMENTUM * v + g": "tf.cast(tf.constant(base.MOMENTUM, tf.float32), v.dtype) * v + g"},
    ),
    "an epsilon in the clip": (
        "pytorch",
        "clip",
        {"clip": "norm"},
        {"(limit / before)": "(limit / (before + 1e-6))"},
    ),
    "a unit over the wrong axis": (
        "pytorch",
        "clip",
        {"clip": "agc"},
        {'axis = 0 if name.startswith(("embedding", "positions")) else -1': "axis = 0"},
    ),
    "a history without the current norm": (
        "pytorch",
        "clip",
        {"clip": "autoclip"},
        {"fresh = torch.where(norm.isfinite(), norm, torch.inf)": "fresh = torch.full_like(norm, torch.inf)"},
    ),
    "a gate that is not cut on its way back": (
        "pytorch",
        "recurrent",
        {"clip": "backprop", "cell": "gru"},
        {
            "(self._cut(below[:, :gates] + before[:, :gates]))": "(below[:, :gates] + before[:, :gates])",
        },
    ),
}
"""For each fault its framework, the file that it is planted in, the check that must see it, and what is replaced."""


def plain(framework: str, **changes: Any) -> Check:
    """The lstm under SGD with the norm clip, on vectors, on the path that compiles fastest."""
    cell = changes.get("cell", "lstm")
    return Check(
        framework=framework,
        path=quickest(framework, cell),
        cell=cell,
        activation="tanh",
        layers=1,
        inputs=changes.get("inputs", "vectors"),
        optimizer=changes.get("optimizer", "sgd"),
        clip=changes.get("clip", "norm"),
        regulariser="none",
        **{name: changes[name] for name in ("scored", "chunk", "dtype", "numbers", "schedule") if name in changes},
    )


def is_passed(check: Check, differences: dict[str, float]) -> bool:
    return is_within_bounds(certified.make_check(check, differences))


def plant_fault(
    framework: str, part: str, mutations: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Import a framework anew from a copy of its folder in which one file has a fault."""
    name = f"farreach.frameworks.{framework}"
    configure = importlib.import_module(name).configure  # once a process
    shutil.copytree(registry.ROOT / "frameworks" / framework, folder / framework)
    path = folder / framework / f"{part}.py"
    source = path.read_text()
    for right, wrong in mutations.items():
        assert source.count(right) == 1, right
        source = source.replace(right, wrong)
    path.write_text(source)
    for loaded in [loaded for loaded in sys.modules if loaded == name or loaded.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(frameworks, "__path__", [str(folder), *frameworks.__path__])
    monkeypatch.setattr(frameworks, framework, getattr(frameworks, framework))
    module = importlib.import_module(name)
    assert Path(module.__file__ or "").is_relative_to(folder)
    monkeypatch.setattr(module, "configure", configure)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught_and_nothing_but_the_fault(
    fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    framework, part, changes, mutations = FAULTS[fault]
    if framework not in INSTALLED:
        pytest.skip(f"{framework} is not installed")
    check = plain(framework, **changes)
    assert is_passed(check, certification.measure_differences(check, STEPS).differences)
    plant_fault(framework, part, mutations, tmp_path, monkeypatch)
    found = certification.measure_differences(check, STEPS).differences
    assert not is_passed(check, found), found


@pytest.mark.parametrize(
    ("name", "value", "optimizer"),
    [
        ("MOMENTUM", 0.91, "momentum"),
        ("RMSPROP_DECAY", 0.9, "rmsprop"),
        ("RMSPROP_EPSILON", 1e-7, "rmsprop"),
        ("ADAM_DECAYS", (0.9, 0.99), "adam"),
        ("ADAM_EPSILON", 1e-7, "adam"),
        ("ADAGRAD_EPSILON", 1e-5, "adagrad"),
    ],
)
def test_a_constant_that_the_frameworks_share_is_caught(
    name: str, value: Any, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy of the reference that reads them as the frameworks do: they are the same lines in each."""
    check = plain("pytorch", optimizer=optimizer, cell="rnn")
    monkeypatch.setattr(base, name, value)
    assert not is_passed(check, certification.measure_differences(check, STEPS).differences)


def test_a_row_stands_under_checks_of_how_its_first_weights_were_drawn() -> None:
    usual = synthetic.record().to_row()
    chrono = synthetic.record(initial="chrono", chrono_length=50).to_row()
    biased = synthetic.record(forget_bias=5.0).to_row()
    demanded = [{demand.get("initial") for demand in list_demands(row)} for row in (usual, chrono, biased)]
    assert demanded == [{None}, {None, "chrono"}, {None, "forget_bias"}]
    checks = certification.list_checks("pytorch")
    drawn = {(check.cell, check.initial) for check in checks}
    assert {("lstm", "chrono"), ("gru", "chrono"), ("lstm", "forget_bias")} <= drawn
    assert {("rnn", name) for name in ("irnn", "sigmoid", "basic_tanh", "smart_tanh")} <= drawn


def test_the_first_weights_of_a_check_are_those_of_its_initial() -> None:
    checks = {check.initial: check for check in certification.list_checks("pytorch") if check.cell == "lstm"}
    bias = checks["chrono"].draw_weights()["layer0.bias"]
    assert (bias[:8] == -bias[8:16]).all()
    assert (checks["forget_bias"].draw_weights()["layer0.bias"][8:16] == 3).all()
    smart = next(one for one in certification.list_checks("pytorch") if one.initial == "smart_tanh")
    found = certification.measure_differences(dataclasses.replace(smart, framework="reference", path="numpy"), 1)
    assert found.differences["radius"] <= 1e-10


def test_a_permutation_or_a_radius_that_is_ignored_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    check, draw = plain("pytorch", cell="rnn"), weights.draw
    monkeypatch.setattr(weights, "draw", lambda model, seed, _: draw(model, seed))
    assert "radius" in find_beyond(check)
    monkeypatch.setattr(weights, "draw", draw)
    monkeypatch.setattr(weights, "permute_hidden", lambda _, values, **__: values)
    assert "replicate" in find_beyond(check)


WRONG: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "predictions": lambda right: lambda self, inputs: right(self, inputs) * 1.001,
    "loss": lambda right: lambda self, batches: scale_trace(right(self, batches), "loss"),
    "norm_before": lambda right: lambda self, batches: scale_trace(right(self, batches), "norm_before"),
    "norm_after": lambda right: lambda self, batches: scale_trace(right(self, batches), "norm_after"),
    "weights": lambda right: lambda self: {name: value * 1.001 for name, value in right(self).items()},
}
"""By what is compared: a framework in which it is 0.1 % too large."""


def scale_trace(trace: Trace, name: str) -> Trace:
    return dataclasses.replace(trace, **{name: getattr(trace, name) * 1.001})


def find_beyond(check: Check) -> set[str]:
    """The quantities that a check finds beyond their bounds."""
    found = certification.measure_differences(check, 2).differences
    return {name for name, bound in BOUNDS[check.dtype].items() if not found[name] <= bound}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_thousandth_of_anything_compared_exceeds_its_bound(
    dtype: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    framework = importlib.import_module("farreach.frameworks.pytorch").Framework
    method = {"predictions": "predict", "weights": "weights"}.get(what, "train")
    check = plain("pytorch", cell="rnn", dtype=dtype, optimizer="adam")
    assert find_beyond(check) == set()
    monkeypatch.setattr(framework, method, WRONG[what](getattr(framework, method)))
    assert what in find_beyond(check)


def test_a_fault_where_every_step_is_scored_or_in_the_order_of_batches_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    framework = importlib.import_module("farreach.frameworks.pytorch").Framework
    right = framework.train
    chunked = plain("pytorch", cell="rnn", scored="every", chunk=certification.CHUNK)
    monkeypatch.setattr(framework, "train", lambda self, batches: right(self, batches[::-1]))
    assert not is_passed(chunked, certification.measure_differences(chunked, STEPS).differences)
    late = lambda self, inputs: predict(self, inputs) + (self.model.scored == certification.TIME)  # noqa: E731
    predict = framework.predict
    monkeypatch.setattr(framework, "train", right)
    monkeypatch.setattr(framework, "predict", late)
    every = plain("pytorch", cell="rnn", scored="every", inputs="tokens")
    assert "predictions" in find_beyond(every)
    assert find_beyond(plain("pytorch", cell="rnn")) == set()


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("framework", INSTALLED)
@pytest.mark.parametrize("regulariser", ["l1", "l2", "omega", "omega2"])
def test_penalties_are_the_references(framework: str, regulariser: str) -> None:
    check = dataclasses.replace(plain(framework, cell="rnn"), regulariser=regulariser)
    found = certification.measure_differences(check, STEPS).differences
    assert is_passed(check, found), found


RECIPES: list[dict[str, Any]] = [
    {"optimizer": "adagrad", "inputs": "tokens"},
    {"optimizer": "adagrad", "clip": "value", "numbers": "other"},
    {"optimizer": "adamw", "inputs": "tokens", "schedule": "cosine"},
    {"optimizer": "rmsprop", "numbers": "other", "schedule": "step"},
]


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("framework", INSTALLED)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: "-".join(map(str, recipe.values())))
def test_recipes_are_the_references(framework: str, recipe: dict[str, Any]) -> None:
    check = plain(framework, cell="rnn", **recipe)
    found = certification.measure_differences(check, STEPS).differences
    assert is_passed(check, found), found


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_a_schedule_that_is_one_update_late_is_caught(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, right = plain("pytorch", cell="rnn", schedule=schedule), Schedule.list_factors
    monkeypatch.setattr(Schedule, "list_factors", lambda self, done, count: right(self, done + 1, count))
    monkeypatch.setitem(certification.SCHEDULES, "step", Schedule("step", STEPS, every=2, factor=0.5))
    assert not is_passed(check, certification.measure_differences(check, STEPS).differences)


def test_the_matrix_is_every_cell_optimizer_clip_and_depth() -> None:
    for framework in INSTALLED:
        checks = certification.list_checks(framework)
        assert len(set(checks)) == len(checks)
        exact = [c for c in checks if c.dtype == "float64"]
        product = {(c.cell, c.activation, c.layers, c.optimizer, c.clip) for c in exact if c.inputs == "vectors"}
        crossed = CROSSED["optimizer"]
        assert len({one for one in product if one[3] in crossed}) == len(certification.CELLS) * 2 * 4 * 3
        assert {(c.cell, c.optimizer) for c in exact if c.inputs == "tokens"} == {
            (cell, optimizer) for cell in layouts.LAYOUTS for optimizer in certification.RATES
        }
        paths = {(c.cell, c.path) for c in exact}
        assert {path for cell, path in paths if cell in {"mingru", "minlstm", "lru"}} == {"loop", "scan"}
        assert {c.cell for c in checks if c.clip == "backprop"} == {
            *("rnn", "lstm", "gru", "mingru", "minlstm", "indrnn")
        }
        for dtype in ("float64", "float32"):
            every = {(c.cell, c.activation) for c in checks if c.dtype == dtype and c.scored == "every"}
            assert every == {*certification.CELLS}


def test_a_difference_beyond_the_bound_or_a_nan_fails() -> None:
    check = plain(INSTALLED[0])
    good = dict.fromkeys((*BOUNDS["float64"], "drift", "copy_drift"), 1e-15)
    assert is_passed(check, good)
    for part in BOUNDS["float64"]:
        for bad in (2e-10, float("nan"), float("inf"), -1.0, None):
            assert not is_passed(check, good | {part: bad})  # type: ignore[dict-item]
        assert not is_passed(check, {name: value for name, value in good.items() if name != part})
    assert not is_passed(check, good | {"drift": 1e-9})
    assert is_passed(check, good | {"drift": 1e-9, "copy_drift": 1e-11})  # the reference's own replicate drifts too


def test_in_float32_a_check_may_differ_by_what_rounding_does_in_it_and_never_by_a_thousandth() -> None:
    check = plain(INSTALLED[0], dtype="float32")
    good = dict.fromkeys(BOUNDS["float32"], 1e-7)
    beyond = good | {"weights": 3e-4}
    assert is_passed(check, good)
    assert not is_passed(check, beyond)
    assert not is_passed(check, beyond | {"replicate.weights": 2.9e-4})
    assert not is_passed(check, beyond | {"replicate.loss": 1.0})
    assert is_passed(check, beyond | {"replicate.weights": 3.1e-4})
    assert not is_passed(check, good | {"weights": 1e-3, "replicate.weights": 1.0})  # a framework that is all noise
    exact = plain(INSTALLED[0])
    found = dict.fromkeys((*BOUNDS["float64"], "drift", "copy_drift"), 1e-15)
    assert not is_passed(exact, found | {"weights": 2e-10, "replicate.weights": 1.0})


def test_tokens_repeat_within_every_batch() -> None:
    check = dataclasses.replace(plain(INSTALLED[0]), inputs="tokens")
    for batch in certification.draw_batches(check.model(), 10):
        assert len(set(batch.inputs.ravel().tolist())) < batch.inputs.size


def test_only_narrows_and_faults_are_told() -> None:
    narrowed = choose_checks([f"framework={INSTALLED[0]}", "cell=gru", "clip=value"])
    assert {check.clip for checks in narrowed.values() for check in checks} == {"value"}
    both = choose_checks([f"framework={INSTALLED[0]}", "cell=gru", "cell=lstm"])
    assert {check.cell for checks in both.values() for check in checks} == {"gru", "lstm"}
    for text, said in {
        "cell=elman": f"unknown cell 'elman'; allowed: {', '.join(sorted(layouts.LAYOUTS))}",
        "colour=red": "unknown key 'colour'; allowed: framework, ",
        "framework=caffe": "unknown framework 'caffe'",
    }.items():
        with pytest.raises(registry.UsageError) as fault:
            choose_checks([text])
        assert str(fault.value).startswith(said)


# Which rows stand under a certificate

ADAMW: dict[str, Any] = {"optimizer": "adamw", "weight_decay": 0.1}


def judge(**changes: Any) -> str | None:
    """Why the row with these changes stands under no certificate."""
    fields = {"digest": "a" * 16, "clip": "norm", "threshold": 1.0, "path": "eager"} | changes
    found = count_certified(pd.DataFrame([synthetic.record(**fields).to_row()]))
    return found.bare[0].why if found.bare else None


def test_a_row_stands_under_the_certificate_of_its_digest_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_certificate(tmp_path, monkeypatch, "a" * 16)
    assert judge() is None
    assert judge(digest="") == "undigested"
    assert judge(digest="b" * 16) == judge(digest="totally-made-up") == "unknown"
    (tmp_path / f"{'b' * 16}.json").write_text((tmp_path / f"{'a' * 16}.json").read_text())
    assert judge(digest="b" * 16) == "unknown"  # a file of another digest
    (tmp_path / f"{'c' * 16}.json").write_text("{}")
    assert judge(digest="c" * 16) == "unknown"
    publish_certificate(tmp_path, monkeypatch, "d" * 16, commit="0123456789ab+changes")
    assert judge(digest="d" * 16) == "unknown"
    publish_certificate(tmp_path, monkeypatch, "e" * 16, processor="Another")
    found = count_certified(pd.DataFrame([synthetic.record(digest="e" * 16, path="eager").to_row()]))
    assert (found.certified, found.elsewhere) == (1, 1)
    assert "1 of them ran on another processor" in write_coverage(found)[0]


@pytest.mark.slow
def test_a_row_needs_a_check_of_each_of_its_kinds_that_was_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = certification.list_checks("pytorch")
    kinds: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"cell": "lstm", "optimizer": "adam"}, {"cell": "lstm", "optimizer": "adam", "clip": "norm", "layers": 1}),
        ({"cell": "lstm", "layers": 3}, {"cell": "lstm", "layers": 2}),
        ({"cell": "lstm"}, {"cell": "lstm", "inputs": "tokens"}),
        ({"cell": "lstm"}, {"cell": "lstm", "scored": "every", "dtype": "float64"}),
        ({"cell": "lstm"}, {"cell": "lstm", "dtype": "float32"}),
        ({"cell": "lstm", "regulariser": "l2", "strength": 1.0}, {"cell": "lstm", "regulariser": "l2"}),
        ({"cell": "rnn", "regulariser": "omega", "strength": 1.0}, {"regulariser": "omega", "dtype": "float32"}),
        ({"cell": "rnn", "regulariser": "omega2", "strength": 1.0}, {"regulariser": "omega2", "dtype": "float64"}),
        ({"cell": "lstm", **ADAMW}, {"cell": "lstm", "optimizer": "adamw"}),
        ({"cell": "lstm", **ADAMW}, {"cell": "lstm", "clip": "norm", "layers": 1}),
        ({"cell": "lstm", "schedule": "cosine"}, {"cell": "lstm", "schedule": "cosine"}),
        (
            {"cell": "lstm", "optimizer": "rmsprop", "decay": 0.9},
            {"cell": "lstm", "numbers": "other", "schedule": "step"},
        ),
        ({"cell": "lstm", "optimizer": "adagrad", "accumulator": 0.1}, {"cell": "lstm", "numbers": "other"}),
    ]
    for row, demanded in kinds:
        publish_certificate(tmp_path, monkeypatch, "a" * 16)
        assert judge(**row) is None
        like = [c for c in checks if all(getattr(c, name) == value for name, value in demanded.items())]
        assert like
        rest = [certified.make_check(c) for c in checks if c not in like]
        publish_certificate(tmp_path, monkeypatch, "a" * 16, checks=rest)
        assert judge(**row) == "unchecked"
        assert judge(cell="gru") is None
        bad = [certified.make_check(c, fault="it failed") for c in like]
        publish_certificate(tmp_path, monkeypatch, "a" * 16, checks=rest + bad)
        assert judge(**row) == "failed"
        assert judge(cell="gru") is None
    assert judge(path="flushed") == judge(device="cuda") == "unchecked"
