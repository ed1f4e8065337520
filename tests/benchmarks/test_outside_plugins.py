"""Tasks, frameworks with architectures, and suites that lie outside of the project: in folders and in packages."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from farreach.benchmarks.__main__ import call
from farreach.benchmarks.commands.shared.words import format_command, split_plugins
from farreach.benchmarks.matrix import plugins, registry, suite
from farreach.benchmarks.running import digest, resume, sweep
from farreach.frameworks import layouts
from farreach.results.record import Environment
from farreach.results.site import rerun_command
from farreach.results.storage.result_set import Store
from tests.support.commands import call_command, read_refusal
from tests.support.sweeps import Listener, format_suite

TASK = '''"""Faraway: adding, under another name."""

from farreach.tasks import adding


class Task(adding.Task):
    """The same sums."""
'''
FRAMEWORK = '''"""Mirror: the reference, with an architecture of its own that is an rnn by another name."""

import dataclasses

from farreach.frameworks import reference
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.mirror.naming import CELL

NEEDS = ("numpy",)
PATHS = {"cpu": {"rnn": ("numpy",), "looking_glass": ("numpy",)}}
LAYOUTS[CELL] = dataclasses.replace(LAYOUTS["rnn"], title=CELL)


def configure(device, threads):
    """Nothing to set."""


class Framework(reference.Framework):
    """Calls its cell an rnn."""

    def __init__(self, model, *rest, **facts):
        super().__init__(dataclasses.replace(model, cell="rnn"), *rest, **facts)
'''
CELL = '"""What the cell is called."""\n\nCELL = "looking_glass"\n'
MIRRORED = format_suite(task="faraway", framework="mirror", cell=["rnn", "looking_glass"])
ENTRY_POINTS = "[farreach.tasks]\nfaraway = faraway_tasks.sums\n\n[farreach.frameworks]\nmirror = mirror_package\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave nothing of a plug-in in this process."""
    monkeypatch.setenv(plugins.VARIABLE, "")
    known = dict(layouts.LAYOUTS)
    plugins.list_entry_points.cache_clear()
    yield
    names = ("farreach.tasks.faraway", "farreach.frameworks.mirror", "faraway_tasks", "mirror_package")
    for name in [one for one in sys.modules if one.startswith(names)]:
        del sys.modules[name]
    layouts.LAYOUTS.clear()
    layouts.LAYOUTS.update(known)
    plugins.list_entry_points.cache_clear()
    digest.hash_code.cache_clear()
    digest.list_files.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of plug-ins."""
    place = tmp_path / "mine"
    for name, text in {
        "tasks/faraway.py": TASK,
        "tasks/_helper.py": "",
        "frameworks/mirror/__init__.py": FRAMEWORK,
        "frameworks/mirror/naming.py": CELL,
        "suites/mirrored.toml": MIRRORED,
    }.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def train(name: str, store: Store) -> pd.DataFrame:
    """Train a suite in worker processes and return its rows."""
    store.create()
    plan = sweep.plan_run(suite.load_suite(name).list_cases(["reference"]), store)
    facts = {"suite": "mirrored", "command": "python -m benchmarks run mirrored", "jobs": 1}
    ended = sweep.Sweep(plan, store, listener=Listener(), facts=facts).run()
    assert not ended.failed, ended.failed
    return store.rows()


def test_a_folder_of_plugins_is_listed_trained_by_workers_and_named_in_every_row(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"faraway", "mirror"}.isdisjoint([*registry.list_tasks(), *registry.list_frameworks()])
    status, out, errors = call_command("list", "--plugins", str(folder))
    assert (status, errors) == (0, "")
    assert "Faraway: adding, under another name. (of mine)" in out
    assert "Mirror: the reference, with an architecture of its own that is an rnn by another name. (of mine)" in out
    assert "mirrored" in out
    assert "_helper" not in out
    monkeypatch.setenv(plugins.VARIABLE, str(folder))
    store = Store(tmp_path / "out")
    rows = train("mirrored", store)
    assert set(rows["cell"]) == {"looking_glass", "rnn"}
    for text in rows["plugins"]:
        said = json.loads(text)
        assert set(said) == {"task", "framework"}
        assert all(one.startswith("mine ") and len(one) == len("mine ") + 16 for one in said.values())
        assert str(tmp_path) not in text
    assert len(set(rows["loss"])) == 1  # one architecture by two names
    (tmp_path / "usual.toml").write_text(format_suite())
    usual = train(str(tmp_path / "usual.toml"), Store(tmp_path / "usual"))
    assert usual["loss"].tolist() == [rows["loss"].iloc[0]]
    assert usual["plugins"].tolist() == [None]
    assert "frameworks/mirror/naming.py" in digest.list_files("mirror", registry.MATCHED, "rnn")


def test_a_plugin_that_was_edited_marks_its_rows_as_made_by_other_code(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(plugins.VARIABLE, str(folder))
    store = Store(tmp_path / "out")
    (tmp_path / "one.toml").write_text(format_suite(task="faraway"))
    rows = train(str(tmp_path / "one.toml"), store)
    cases = suite.load_suite(str(tmp_path / "one.toml")).list_cases()
    assert resume.find_moved(sweep.plan_run(cases, store), store) == set()
    (folder / "tasks" / "faraway.py").write_text(TASK + "\n\nMORE = 1\n")
    assert resume.find_moved(sweep.plan_run(cases, store), store) == set(rows["key"])


def test_entry_points_of_an_installed_package_are_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    for name, text in {
        "faraway_tasks/__init__.py": "",
        "faraway_tasks/sums.py": TASK,
        "mirror_package/__init__.py": FRAMEWORK,
        "mirror_package/naming.py": CELL,
        "looking-0.3.dist-info/METADATA": "Metadata-Version: 2.1\nName: looking\nVersion: 0.3\n",
        "looking-0.3.dist-info/entry_points.txt": ENTRY_POINTS,
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    importlib.invalidate_caches()
    assert "faraway" in registry.list_tasks()
    (tmp_path / "mirrored.toml").write_text(MIRRORED)
    rows = train(str(tmp_path / "mirrored.toml"), Store(tmp_path / "out"))
    said = [json.loads(text) for text in rows["plugins"]]
    assert {one.rpartition(" ")[0] for each in said for one in each.values()} == {"looking 0.3"}
    assert registry.import_task("faraway").__doc__ == "The same sums."


def test_what_is_no_plugin_is_one_line(folder: Path, tmp_path: Path) -> None:
    assert "--plugins takes a folder with tasks/, frameworks/ or suites/" in read_refusal(
        "--plugins", str(tmp_path / "nowhere"), "list"
    )
    assert "--plugins takes a folder" in read_refusal("list", "--plugins")
    (folder / "tasks" / "adding.py").write_text(TASK)
    line = read_refusal("list", "--plugins", str(folder))
    assert "adding is there more than once: tasks/adding.py and adding.py of mine" in line
    (folder / "tasks" / "adding.py").unlink()
    (folder / "tasks" / "faraway.py").write_text("class Other: pass\n")
    status, out, _ = call_command("list", "tasks", "--plugins", str(folder))
    assert status == 0
    assert "faraway.py of mine has no class Task" in " ".join(out.split())
    (folder / "suites" / "quick.toml").write_text(MIRRORED)
    assert "suite quick is there 2 times" in read_refusal("run", "quick", "--dry-run", "--plugins", str(folder))


def test_an_entry_point_that_breaks_is_faulty_and_breaks_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "faraway_tasks").mkdir(parents=True)
    (site / "faraway_tasks" / "__init__.py").write_text("1 / 0\n")
    (site / "looking-0.3.dist-info").mkdir()
    (site / "looking-0.3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: looking\nVersion: 0.3\n")
    (site / "looking-0.3.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    assert "adding" in registry.list_tasks()
    faults = registry.list_faulty("tasks")
    assert "ZeroDivisionError" in faults["faraway"]
    assert "looking 0.3" in faults["faraway"]
    assert "cannot be read" in registry.list_faulty("frameworks")["mirror"]


def test_a_command_keeps_its_folders_at_its_end_and_a_row_is_made_again_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert split_plugins(["--plugins", "a", "run", "x", "--plugins=b"]) == (["run", "x"], ["a", "b"])
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--plugins", "/some/where/mine", "run", "mirrored"])
    command = format_command()
    assert command == "python -m benchmarks run mirrored --plugins mine"
    row = dict.fromkeys(rerun_command.ALWAYS) | {"command": command, "parameters": "{}", "device": "cpu", "threads": 1}
    again = rerun_command.write_command(row | {"task": "faraway"}, [])
    assert again == "python -m benchmarks run mirrored --only task=faraway --plugins mine --out results/runs/again"


def test_the_words_of_a_call_are_the_command_of_its_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["notebook", "-f", "/some/file"])
    with pytest.raises(registry.UsageError, match="unknown suite 'nothing'"):
        call(["run", "nothing", "--plugins", str(folder)])
    assert plugins.list_folders() == (folder.resolve(),)
    assert "plugins" in {field.name for field in dataclasses.fields(Environment)}
