"""The digest of a row: what the code does and how it is set, on every Python alike; a run that meets another one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import digest, resume, source, sweep
from farreach.frameworks import environment
from farreach.frameworks.layouts import LAYOUTS
from farreach.results.storage.result_set import Store
from tests.support.commands import run_command
from tests.support.sweeps import Listener, format_suite

CASE = Case(task="adding", parameters=(("T", 5),), framework="reference", cell="rnn", path="numpy", steps=100, hidden=4)
TORCH = Case(task="adding", framework="pytorch", cell="lstm", path="eager")

KNOWN = "f'{x}a' f'b{y!r:>{width}}'\ndef f(a, *, b=1.5e-8):\n    return a ** 2 if b else not a[1:]\n"
SAME = '''
"""A docstring."""
# A comment.

f"{x}a" f"b{y!r:>{width}}"


def f(
    a,
    *,
    b=0.000_000_015,  # what is meant
):
    """Another docstring."""
    return (a**2) if b else (not a[1:])
'''


def list_pythons() -> list[str]:
    """Every Python from 3.11 to 3.13 that this machine has."""
    found = {sys.executable}
    for minor in (11, 12, 13):
        found |= {path for path in (shutil.which(f"python3.{minor}"),) if path}
        found |= {str(one) for one in Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")}
    runs = {one: subprocess.run([one, "-c", ""], check=False, capture_output=True).returncode == 0 for one in found}  # noqa: S603
    return sorted(one for one in found if runs[one])


def test_what_code_does_is_hashed_and_not_how_it_is_laid_out() -> None:
    assert source.hash_source(KNOWN) == source.hash_source(SAME) == KNOWN_DIGEST
    for right, wrong in (
        ("1.5e-8", "1.6e-8"),
        ("** 2", "* 2"),
        ("not a", "a"),
        ("y!r", "y!s"),
        ("b{y", "c{y"),
        ("*, ", ""),
    ):
        assert KNOWN.count(right) == 1
        assert source.hash_source(KNOWN.replace(right, wrong)) != KNOWN_DIGEST, right


KNOWN_DIGEST = "4d8c53f4187ef347e5777bef24fdc68bafc061796bf11bfd166d9f4a8268828f"


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("python", list_pythons())
def test_the_digest_is_the_same_on_every_python(python: str) -> None:
    program = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('source', sys.argv[1])\n"
        "source = importlib.util.module_from_spec(spec); spec.loader.exec_module(source)\n"
        "print(source.hash_source(sys.argv[3]), source.hash_files(pathlib.Path(sys.argv[2]).joinpath, sys.argv[4:]))\n"
    )
    files = sorted(
        {
            one
            for name in registry.list_frameworks()
            for cell in LAYOUTS
            for one in digest.list_files(name, registry.MATCHED, cell)
        }
        | {"benchmarks/matrix/case.py", "results/record.py", "results/analysis/certificates.py"}
    )
    words = [str(Path(source.__file__ or "")), str(registry.ROOT), KNOWN, *files]
    done = subprocess.run([python, "-c", program, *words], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == [KNOWN_DIGEST, source.hash_files(registry.ROOT.joinpath, files)]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code, which digests are made of."""
    for room in ("benchmarks/matrix", "benchmarks/running", "frameworks", "tasks"):
        shutil.copytree(registry.ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "data"))
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    for one in (digest.list_files, digest.hash_code):
        monkeypatch.setattr(digest, one.__name__, one.__wrapped__)
    return tmp_path


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(
    ("path", "right", "wrong", "moved"),
    [
        (
            "frameworks/pytorch/optimizers.py",
            '"lr": learning_rate',
            '"lr": 3 * learning_rate',
            {"pytorch"},
        ),
        ("frameworks/pytorch/clip.py", "torch.lerp(first", "torch.lerp(2 * first", {"pytorch"}),
        ("frameworks/jax/recurrent.py", "jnp.tanh", "jnp.sin", {"jax"}),
        ("frameworks/weights.py", "FORGET_BIAS = 1.0", "FORGET_BIAS = 0.0", {"pytorch", "jax", "tensorflow"}),
        ("frameworks/base.py", "ADAM_EPSILON = 1e-8", "ADAM_EPSILON = 1e-7", {"pytorch", "jax", "tensorflow"}),
        (
            "benchmarks/matrix/recipes.py",
            "case.learning_rate",
            "3 * case.learning_rate",
            {"pytorch", "jax", "tensorflow"},
        ),
        ("benchmarks/running/training.py", "done += len(chunk)", "done += 1", {"pytorch", "jax", "tensorflow"}),
        ("tasks/base.py", "import numpy as np", "import numpy as np\nnp.seterr()", {"pytorch", "jax", "tensorflow"}),
        ("frameworks/pytorch/native.py", "NEEDS = ", "# More.\nLESS = 1\nNEEDS = ", set()),
        ("frameworks/pytorch/own_clips.py", "import ", "# A comment.\nimport math\nimport ", set()),
        ("benchmarks/matrix/case.py", "NUMERICS = 1", "NUMERICS = 2", set()),
        ("tasks/adding.py", "import ", "import math\nimport ", set()),
    ],
)
def test_a_change_moves_the_digests_of_what_it_can_move_the_numbers_of(
    copied: Path, path: str, right: str, wrong: str, moved: set[str]
) -> None:
    names = ("pytorch", "tensorflow", "jax")
    before = {name: digest.hash_code(name, registry.MATCHED, "rnn") for name in names}
    text = (copied / path).read_text()
    assert right in text
    (copied / path).write_text(text.replace(right, wrong, 1) + "# A comment more.\n")
    assert {name for name in names if digest.hash_code(name, registry.MATCHED, "rnn") != before[name]} == moved


@pytest.mark.parametrize(
    ("path", "moved"),
    [
        ("recurrent", {*LAYOUTS}),  # others take its activations, and what cuts a derivative
        ("linear", {"mingru", "minlstm", "lru", "indrnn"}),  # which takes its names from there
        ("independent", {"indrnn"}),
        ("attention", {"attention"}),
        ("transformer", {"transformer"}),
        ("networks", {*LAYOUTS}),
    ],
)
def test_a_change_of_an_architecture_moves_the_digests_of_no_other(copied: Path, path: str, moved: set[str]) -> None:
    before = {cell: digest.hash_code("pytorch", registry.MATCHED, cell) for cell in LAYOUTS}
    file = copied / "frameworks" / "pytorch" / f"{path}.py"
    file.write_text(file.read_text() + "\nMORE = 1\n")
    assert {cell for cell in LAYOUTS if digest.hash_code("pytorch", registry.MATCHED, cell) != before[cell]} == moved


@pytest.mark.parametrize("framework", registry.list_frameworks())
def test_a_digest_has_the_file_that_runs_its_cell(framework: str) -> None:
    for cell, layout in LAYOUTS.items():
        assert f"frameworks/{framework}/{layout.family}.py" in digest.list_files(framework, registry.MATCHED, cell)


def test_every_setting_moves_the_digest_and_what_moves_no_bit_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the reference, whose facts are had without a framework."""
    digests = {digest.make_digest(CASE, "a kernel"), digest.make_digest(CASE, "another")}
    digests.add(digest.make_digest(Case.from_json(CASE.to_json() | {"dtype": "float64"}), "a kernel"))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    digests.add(digest.make_digest(CASE, "a kernel"))
    assert len(digests) == 4
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    assert "TF_CPP_MIN_LOG_LEVEL" in environment.IDLE
    assert digest.make_digest(CASE, "a kernel") in digests
    monkeypatch.setattr(registry, "find_version", lambda _: "0.0")
    assert digest.make_digest(CASE, "a kernel") not in digests


# A run that is resumed


def test_a_resumed_run_says_what_other_code_made_and_runs_it_again_when_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "out")
    store.create()
    facts = {"suite": "short", "command": "a test", "jobs": 1}
    plan = sweep.plan_run([CASE], store)
    sweep.Sweep(plan, store, listener=Listener(), facts=facts).run()
    plan = sweep.plan_run([CASE], store)
    assert resume.find_moved(plan, store) == set()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert resume.find_moved(plan, store) == {CASE.key()}
    again = resume.drop_moved(plan, store, {CASE.key()})
    assert {*again.missing} == {CASE.key()}
    sweep.Sweep(again, store, listener=Listener(), facts=facts).run()
    assert resume.find_moved(sweep.plan_run([CASE], store), store) == set()
    path = store.folder / "rows" / f"{CASE.key()}.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"digest": ""}), "utf-8")
    assert resume.find_moved(sweep.plan_run([CASE], store), store) == {CASE.key()}  # nobody knows what made it


@pytest.mark.slow
def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(format_suite())
    words = ["run", str(tmp_path / "short.toml"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert "other code" not in run_command(*words).stdout
    moved = {"OPENBLAS_CORETYPE": "Haswell"}
    line = "1 of 1 rows were made by other code or settings: "
    assert line + "they stay as they are; --stale runs them again" in run_command(*words, **moved).stdout
    assert line + "they are run again" in run_command(*words, "--stale", **moved).stdout
    assert "other code" not in run_command(*words, **moved).stdout
