"""Every "how to" of docs/architecture.md works: what the page shows is put into a copy of the project and trained."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.storage.result_set import Store
from farreach.tasks import base
from tests.support.documents import apply_snippets, list_snippets, read_page, read_section

ROOMS = ("tasks", "frameworks", "benchmarks", "results", "farreach", "tests")
TITLES = ("Add a task", "Add a framework", "Add an architecture", "Add a clip", "Add a suite")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project without what was published."""
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "published", "runs")
        shutil.copytree(registry.ROOT / room, tmp_path / room, ignore=ignored)
    shutil.copy(registry.ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def add(project: Path, *titles: str) -> None:
    """Do in the copy what sections of the page show."""
    for title in titles:
        snippets = list_snippets(read_section("architecture", title))
        assert snippets, title
        apply_snippets(snippets, project)


def call(project: Path, line: str, *, status: int = 0) -> str:
    """Run a command line of the page in the copy; return what it said."""
    words = line.split()[1:] if line.startswith("python ") else ["-m", *line.split()]
    done = subprocess.run([sys.executable, *words], cwd=project, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def read_command(title: str) -> str:
    """Return the command that stands in a section on a line of its own."""
    (line,) = re.findall(
        r"^    (.*)$", re.sub(r"```.*?```", "", read_section("architecture", title), flags=re.DOTALL), re.MULTILINE
    )
    return str(line)


def test_the_page_says_how_to_add_each_kind_of_plugin_and_shows_one_picture() -> None:
    page = read_page("architecture")
    for title in TITLES:
        assert f"\n## {title}\n" in page
    assert re.findall(r"!\[[^\]]+\]\((.*?)\)", page) == ["pictures/rooms.svg"]


def test_the_page_and_its_picture_name_every_room_and_every_floor_of_the_results() -> None:
    page, picture = read_page("architecture"), (registry.ROOT / "docs" / "pictures" / "rooms.svg").read_text()
    floors = [path.parent.name for path in (registry.ROOT / "results").glob("*/__init__.py")]
    assert len(floors) > 5
    for room in (*ROOMS, *floors):
        assert f">{room}/<" in picture
    for room in ROOMS:
        assert f"| `{room}/` |" in page


def test_the_paths_that_the_page_names_are_there() -> None:
    page = read_page("architecture")
    shown = {snippet.path for snippet in list_snippets(page) if snippet.language != "diff"}
    named = set(re.findall(r"`((?:tasks|frameworks|benchmarks|results|farreach|tests)/[\w./-]*)`", page)) - shown
    assert len(named) > 20
    assert [path for path in named if not (registry.ROOT / path).exists()] == []


@pytest.mark.slow
def test_the_example_task_and_suite_keep_the_contract_and_train(project: Path) -> None:
    add(project, "Add a task", "Add a suite")
    assert "parity" in call(project, "benchmarks list tasks")
    said = call(project, read_command("Add a task") + " -q -k parity")
    assert re.search(r"\d\d passed", said)
    assert "12 cases, 0 already done, 12 to run" in call(project, read_command("Add a suite"))
    rows = Store(project / "results" / "runs" / "parity").rows()
    assert len(rows) == 12
    assert set(rows["status"]) == {"finished"}


def test_the_example_task_knows_its_floor_and_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = list_snippets(read_section("architecture", "Add a task"))
    module = types.ModuleType("farreach.tasks.parity")
    monkeypatch.setitem(sys.modules, "farreach.tasks.parity", module)
    exec(compile(snippet.text, snippet.path, "exec"), module.__dict__)  # noqa: S102 - our own page
    task: base.Task = module.Task(T=6)
    batch = next(task.batches(0, 4))
    assert batch.inputs.shape == (4, task.length, task.features)
    assert batch.targets.shape == batch.mask.shape == (4, task.scored)
    even = task.evaluate(lambda inputs: np.zeros((len(inputs), 1, 2)))
    assert even["loss"] == pytest.approx(task.floor)
    odd = task.evaluate(lambda inputs: np.eye(2)[inputs.sum(axis=1).astype(int) % 2] * 100)
    assert odd == {"loss": pytest.approx(0), "accuracy": 1}
    assert task.solved(odd)
    with pytest.raises(base.TaskError):
        module.Task(T=1)


@pytest.mark.slow
def test_the_example_framework_trains_as_the_reference_does(project: Path) -> None:
    add(project, "Add a framework")
    assert "4 cases, 0 already done, 4 to run" in call(project, read_command("Add a framework"))
    rows = Store(project / "results" / "runs" / "plain").rows().set_index(["framework", "clip"])
    numbers = rows[["loss", "norm_before_median", "scale_median", "clip_fraction"]].astype(float)
    pd.testing.assert_frame_equal(numbers.loc["plain"], numbers.loc["reference"], rtol=1e-10)
    assert numbers.loc[("plain", "norm"), "clip_fraction"] > 0
    assert numbers.loc[("plain", "none"), "clip_fraction"] == 0


@pytest.mark.slow
def test_the_example_framework_refuses_what_it_lacks_in_one_line(project: Path) -> None:
    add(project, "Add a framework")
    said = call(project, "benchmarks run plain --only framework=plain --only cell=lstm", status=2)
    assert said.count("\n") == 1
    path = project / "benchmarks" / "suites" / "plain.toml"
    path.write_text(path.read_text().replace('cell = "rnn"', 'cell = "lstm"').replace('"sgd"', '"adam"'))
    said = call(project, "benchmarks run plain", status=2)
    assert said.startswith("error: ")
    assert "plain has no cell lstm on cpu; it has: rnn" in said
    path.write_text(path.read_text().replace('cell = "lstm"', 'cell = "rnn"'))
    assert "plain trains one tanh layer" in call(project, "benchmarks run plain --only framework=plain", status=1)


@pytest.mark.slow
def test_the_example_architecture_is_certified_and_probed(project: Path) -> None:
    add(project, "Add an architecture")
    narrowed = " --only optimizer=adam --only clip=norm --only inputs=vectors"
    said = call(project, read_command("Add an architecture") + narrowed)
    assert re.search(r"(\d+) of \1 checks within their bounds", said)
    suite = (
        'description = "a new cell"\n[[block]]\ntask = "adding"\nparameters = { T = 10 }\ncell = "leaky"\nhidden = 8\n'
        'framework = ["jax", "reference"]\ndtype = "float64"\nsteps = 100\n'
    )
    (project / "benchmarks" / "suites" / "leaky.toml").write_text(suite)
    call(project, "benchmarks run leaky")
    store = Store(project / "results" / "runs" / "leaky")
    rows = store.rows().set_index("framework")
    flows = {name: pd.read_parquet(store.folder / "flow" / f"{rows.loc[name, 'key']}.parquet") for name in rows.index}
    np.testing.assert_allclose(flows["jax"]["h"], flows["reference"]["h"], rtol=1e-8)
    (project / "benchmarks" / "suites" / "leaky.toml").write_text(suite.replace('"reference"', '"pytorch"'))
    said = call(project, "benchmarks run leaky", status=2)
    assert "pytorch has no cell leaky on cpu; it has: rnn, lstm, gru" in said


@pytest.mark.slow
def test_the_example_clip_is_certified_in_every_framework_and_refused_in_mode_native(project: Path) -> None:
    add(project, "Add a clip")
    narrowed = " --only optimizer=sgd --only layers=1 --only cell=rnn --only activation=tanh"
    said = call(project, read_command("Add a clip") + narrowed)
    assert said.count("1 of 1 checks within their bounds") == len(registry.list_compared())
    suite = (
        'description = "a new clip"\n[[block]]\ntask = "adding"\nparameters = { T = 5 }\nframework = "pytorch"\n'
        'cell = "rnn"\nhidden = 4\nsteps = 100\nclip = { kind = "rms", threshold = [0.001, 1.0] }\n'
    )
    path = project / "benchmarks" / "suites" / "rms.toml"
    path.write_text(suite)
    call(project, "benchmarks run rms")
    rows = Store(project / "results" / "runs" / "rms").rows().set_index("threshold")
    assert rows.loc[0.001, "clip_fraction"] > 0.9
    assert rows.loc[1.0, "clip_fraction"] == 0
    path.write_text(suite + 'mode = "native"\n')
    assert "mode native takes no clip rms" in call(project, "benchmarks run rms", status=2)


def test_the_examples_keep_the_rules_of_style(project: Path) -> None:
    if shutil.which("ruff", path=Path(sys.executable).parent) is None:
        pytest.skip("ruff is not installed")
    add(project, *TITLES)
    assert "All checks passed" in call(project, "ruff check tasks frameworks benchmarks")
    assert "already formatted" in call(project, "ruff format --check tasks frameworks benchmarks")
