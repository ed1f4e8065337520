"""The certificate: it passes what is right, catches what is subtly wrong, and records name it."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from farreach import frameworks
from farreach.benchmarks import __main__ as command_line
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.studies import certification
from farreach.benchmarks.studies.certificate import choose_checks
from farreach.benchmarks.studies.certification import Check
from farreach.results.analysis import certificates
from tests.support import synthetic
from tests.support.paths import quickest

INSTALLED = registry.list_installed()
STEPS = 5

CLIPPED = "gradients, before, after, clipped = clip_gradients(kind, gradients, threshold)"
SPARSE = {
    "gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]": (
        "gradients = list(tape.gradient(loss, weights)); sparse = gradients[0]; gradients[0] = sparse.values"
    ),
    CLIPPED: CLIPPED
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
            "[gradient * scale for": (
                "[gradient * tf.minimum(tf.ones_like(before), threshold / compute_norm([gradient])) for"
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
        {"(threshold / before)": "(threshold / (before + 1e-6))"},
    ),
}
"""For each fault its framework, the file that it is planted in, the check that must see it, and what is replaced."""


def plain(framework: str, **changes: str) -> Check:
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
    )


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
    assert certification.is_within_tolerance(certification.measure_differences(check, STEPS))
    plant_fault(framework, part, mutations, tmp_path, monkeypatch)
    result = certification.measure_differences(check, STEPS)
    assert not certification.is_within_tolerance(result), result


@pytest.mark.parametrize("framework", INSTALLED)
@pytest.mark.parametrize("regulariser", ["l1", "l2"])
def test_penalties_are_the_judges(framework: str, regulariser: str) -> None:
    check = dataclasses.replace(plain(framework, cell="rnn"), regulariser=regulariser)
    result = certification.measure_differences(check, STEPS)
    assert certification.is_within_tolerance(result), result


def test_the_matrix_is_every_cell_optimizer_clip_and_depth() -> None:
    for framework in INSTALLED:
        checks = certification.list_checks(framework)
        assert len(set(checks)) == len(checks) == 156
        product = {(c.cell, c.activation, c.layers, c.optimizer, c.clip) for c in checks if c.inputs == "vectors"}
        assert len(product) == 5 * 2 * 4 * 3
        assert {(c.cell, c.optimizer) for c in checks if c.inputs == "tokens"} == {
            (cell, optimizer) for cell in ("rnn", "lstm", "gru") for optimizer in certification.RATES
        }


def test_a_difference_beyond_the_bound_or_a_nan_fails() -> None:
    good = dict.fromkeys((*certification.COMPARED, "drift", "copy_drift"), 1e-15)
    assert certification.is_within_tolerance(good)
    for part in certification.COMPARED:
        for bad in (2e-10, float("nan"), float("inf")):
            assert not certification.is_within_tolerance(good | {part: bad})
    assert not certification.is_within_tolerance(good | {"drift": 1e-9})
    assert certification.is_within_tolerance(
        good | {"drift": 1e-9, "copy_drift": 1e-11}
    )  # the reference's own permuted replicate drifts too


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
        "cell=elman": "unknown cell 'elman'; allowed: gru, lstm, rnn",
        "colour=red": "unknown key 'colour'; allowed: framework, ",
        "framework=caffe": "unknown framework 'caffe'",
    }.items():
        with pytest.raises(registry.UsageError) as fault:
            choose_checks([text])
        assert str(fault.value).startswith(said)


def test_a_certificate_is_found_for_what_it_covers_alone(tmp_path: Path) -> None:
    whole = {"name": certificates.name_certificate("pytorch", "1.0", 1, "cpu"), "passed": True, "complete": True}
    whole["checks"] = [{"path": "eager"}]
    certificates.write_certificate(tmp_path, whole)
    assert certificates.find_certificate(whole["name"], {"eager"}, tmp_path) == whole["name"]
    assert certificates.find_certificate(whole["name"], {"graph"}, tmp_path) is None
    assert (
        certificates.find_certificate(certificates.name_certificate("pytorch", "1.1", 1, "cpu"), {"eager"}, tmp_path)
        is None
    )
    certificates.write_certificate(tmp_path, whole | {"passed": False})
    assert certificates.find_certificate(whole["name"], {"eager"}, tmp_path) is None


def test_rows_without_a_certificate_are_marked() -> None:
    rows = pd.DataFrame(
        [
            synthetic.record(framework="pytorch", certificate="pytorch-1").to_row(),
            synthetic.record(framework="tensorflow").to_row(),
        ]
    )
    found = certificates.count_certified(rows)
    assert (found.matched, found.certified, found.names) == (2, 1, ("pytorch-1",))
    assert [framework for framework, _ in found.bare] == ["tensorflow"]
    bare = certificates.count_certified(rows.drop(columns="certificate"))
    assert (bare.certified, len(bare.bare)) == (0, 2)


@pytest.mark.parametrize(("bound", "status"), [(certification.TOLERANCE, 0), (1e-30, 1)])
def test_certify_exits_1_beyond_the_bound(
    bound: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(certification, "TOLERANCE", bound)
    monkeypatch.setattr(certification, "STEPS", STEPS)
    only = [f"framework={INSTALLED[-1]}", "cell=rnn", "activation=tanh", "inputs=tokens", "optimizer=adam"]
    words = [word for text in only for word in ("--only", text)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "certify", *words, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == status
    assert f"{1 - status} of 1 checks within" in " ".join(capsys.readouterr().out.split())
    (written,) = tmp_path.glob("*.json")
    certificate = json.loads(written.read_text())
    assert certificate["passed"] is (status == 0)
    assert certificate["complete"] is False
    assert certificates.find_certificate(certificate["name"], {certificate["checks"][0]["path"]}, tmp_path) is None
