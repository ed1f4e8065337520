"""Plug-ins that are not complete are named in one line each, where they are listed or asked for, and nowhere else."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import farreach
from farreach import tasks
from farreach.benchmarks.matrix import registry, versions
from farreach.benchmarks.running import worker_client
from farreach.benchmarks.speed import aa_check
from tests.support.commands import call_command
from tests.support.sweeps import format_suite

LSTM = '''"""Only: an lstm alone."""
NEEDS = ("numpy",)
PATHS = {"cpu": {"lstm": ("loop",)}}
class Framework:
    """One."""
'''
Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return what writes a plug-in into a copy of the rooms of tasks and frameworks."""
    for room in ("tasks", "frameworks"):
        ignored = shutil.ignore_patterns("__pycache__", "data")
        shutil.copytree(registry.ROOT / room, tmp_path / "copy" / room, ignore=ignored)
    monkeypatch.setattr(registry, "ROOT", tmp_path / "copy")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path / "copy" / "tasks")])
    before = {*sys.modules}

    def write_plugin(name: str, text: str) -> None:
        path = tmp_path / "copy" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()

    yield write_plugin
    for name in {*sys.modules} - before:
        if name.startswith("farreach.tasks."):
            del sys.modules[name]
    assert farreach.__version__


FAULTY = [
    ("frameworks/mine/__init__.py", '"""Mine."""', "frameworks/mine/__init__.py has no class Framework"),
    ("frameworks/mine/recurrent.py", "x = 1", "frameworks/mine/__init__.py cannot be read: No such file or directory"),
    ("frameworks/mine/__init__.py", "class Framework: (", "frameworks/mine/__init__.py cannot be read: "),
    ("frameworks/mine/__init__.py", "class Framework:\n    pass\n", "declares no NEEDS"),
    ("frameworks/mine/__init__.py", LSTM.replace("PATHS", "WAYS"), "declares no PATHS"),
    ("frameworks/mine/__init__.py", LSTM.replace('("numpy",)', "find()"), "NEEDS is to be a tuple of names, and PATHS"),
    ("frameworks/mine/__init__.py", LSTM.replace('("numpy",)', "()"), "NEEDS is to be a tuple of names, and PATHS"),
    ("frameworks/mine/__init__.py", LSTM.replace('("loop",)', "()"), "NEEDS is to be a tuple of names, and PATHS"),
    ("frameworks/mine/__init__.py", LSTM.replace('("loop",)', '"loop"'), "NEEDS is to be a tuple of names, and PATHS"),
    (
        "frameworks/mine/__init__.py",
        LSTM.replace('{"lstm": ("loop",)}', "3"),
        "NEEDS is to be a tuple of names, and PATHS",
    ),
    ("tasks/mine.py", '"""Mine."""', "tasks/mine.py has no class Task"),
    ("tasks/mine.py", "class Task(", "tasks/mine.py cannot be read: "),
    (
        "tasks/mine.py",
        "import nothing_such\nclass Task: pass",
        "cannot be imported: ModuleNotFoundError: No module named",
    ),
    (
        "tasks/mine.py",
        "1 / 0\nclass Task: pass",
        "tasks/mine.py cannot be imported: ZeroDivisionError: division by zero",
    ),
    ("tasks/mine.py", "class Task: pass", "tasks/mine.py is not complete: its class Task lacks version, loss, unit"),
]


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(("name", "text", "fault"), FAULTY)
def test_a_plugin_that_is_not_complete_is_one_line_where_it_is_listed_or_named(
    name: str, text: str, fault: str, write: Write, tmp_path: Path
) -> None:
    write(name, text)
    room = name.partition("/")[0]
    status, out, errors = call_command("list", room)
    assert (status, errors) == (0, "")
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["mine"]]
    assert "faulty" in line
    assert fault in line
    path = tmp_path / "suite.toml"
    path.write_text(format_suite(**{room.removesuffix("s"): "mine"}))
    status, out, errors = call_command("run", str(path), "--out", str(tmp_path / "out"))
    assert status == 2
    assert errors.count("\n") == 1
    assert fault in errors
    path.write_text(format_suite())
    status, out, errors = call_command("run", str(path), "--dry-run", "--out", str(tmp_path / "out"))
    assert (status, errors) == (0, "")
    assert "mine" not in out


def test_versions_of_tasks_are_collected_past_one_that_breaks(write: Write) -> None:
    write("tasks/mine.py", "1 / 0\nclass Task: pass")
    assert set(versions.collect_versions()) == {*registry.list_tasks()} - {"mine"}


def test_a_framework_with_one_cell_takes_part_in_that_alone_and_the_rest_is_said(write: Write, tmp_path: Path) -> None:
    write("frameworks/only/__init__.py", LSTM)
    path = tmp_path / "suite.toml"
    text = format_suite(cell=["rnn", "lstm"], seed=[0, 1]).replace('framework = "reference"\n', "")
    path.write_text(text)
    status, out, errors = call_command("run", str(path), "--dry-run", "--out", str(tmp_path / "out"))
    assert (status, errors) == (0, "")
    assert "only has no cell rnn on cpu; it has: lstm: its 2 cases are left out" in out
    assert out.count(" only lstm ") == 2
    assert " only rnn " not in out
    path.write_text(text.replace('cell = ["rnn", "lstm"]', 'cell = "rnn"\nframework = "only"'))
    status, _, errors = call_command("run", str(path), "--dry-run")
    assert (status, errors) == (2, "error: only has no cell rnn on cpu; it has: lstm\n")


def test_an_aa_test_takes_a_framework_with_the_cells_that_it_has(write: Write) -> None:
    write("frameworks/only/__init__.py", LSTM)
    launches = aa_check.list_launches(["only", "reference"], 1_000, 1)
    assert {(one.case.framework, one.case.cell) for one in launches} == {
        ("only", "lstm"),
        *(("reference", cell) for cell in aa_check.CELLS),
    }
    with pytest.raises(registry.UsageError, match="only does not run on cuda; it runs on: cpu"):
        aa_check.list_launches(["only"], 1, 1, "cuda")


def test_a_framework_that_breaks_at_its_start_fails_its_cases_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_client, "read_environment", lambda *_: {})
    worker = worker_client.Live("no_such", "cpu", 1, tmp_path / "no_such.log")
    with pytest.raises(
        worker_client.StartError, match=r"^framework no_such does not start: ModuleNotFoundError: No mod"
    ):
        worker.start()
    assert "Traceback" in (tmp_path / "no_such.log").read_text()


def test_every_fault_of_a_suite_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(format_suite(steps="many", hidden=-1, colour="red", cell="elman"))
    status, _, errors = call_command("run", str(path))
    assert status == 2
    assert errors.count("\n") == 1
    for part in ("block.0.steps", "block.0.hidden", "unknown key block.0.colour", "block.0.cell"):
        assert part in errors, errors
    two = format_suite(task="nowhere") + format_suite(steps=150, layers=9_999).partition('short cases"\n')[2]
    path.write_text(two)
    status, _, errors = call_command("run", str(path))
    assert status == 2
    assert "unknown task 'nowhere'; allowed: " in errors
    assert "layers must be a whole number from 1 to 1000, not 9999" in errors
    path.write_text(format_suite(layers=[2_000 + at for at in range(50)]))
    status, _, errors = call_command("run", str(path))
    assert errors.count("layers must be") == 10


def test_a_fault_of_the_defaults_is_said_once_though_every_block_has_it(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    block = '[[block]]\ntask = "adding"\nframework = "reference"\n'
    path.write_text('description = "many"\n[defaults]\nell = ["rnn"]\nparameters = { T = 5 }\n' + 30 * block)
    status, _, errors = call_command("run", str(path))
    assert status == 2
    assert errors.count("unknown key") == errors.count("Field required") == 1
    assert len(errors) < 1_000
