"""What pip installs, and that it works far from the checkout, with no more than the extras that are asked for."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from setuptools import find_packages

import farreach
from farreach import command
from farreach.benchmarks.commands import COMMANDS
from farreach.benchmarks.matrix import registry
from farreach.results.storage.result_set import Store
from tests.support import installing
from tests.support.installing import ROOMS, run
from tests.support.sweeps import format_suite

PROJECT = tomllib.loads((registry.ROOT / "pyproject.toml").read_text())["project"]
RECORD = """
import sys
import torch
from farreach.pytorch import Recorder

model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
with Recorder(model, "mine", "my line") as recorder:
    for _ in range(12):
        optimizer.zero_grad()
        loss = (model(torch.ones(4, 3)) - 100).square().mean()
        loss.backward()
        recorder.clip_norm(5.0)
        optimizer.step()
        recorder.step(loss)
assert not {"numpy", "pandas", "typer"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for needed in ("setuptools", "pip", "packaging"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    return installing.build_wheel(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and nothing else."""
    return installing.make_environment(tmp_path_factory.mktemp("bare") / "environment", wheel)


def call(programs: Path, *words: str, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run the console script, with these packages beside it."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(  # noqa: S603
        [str(programs / "farreach"), *words],
        cwd=cwd,
        env=environ | ({"PYTHONPATH": path} if path else {}),
        capture_output=True,
        text=True,
        check=False,
    )


def list_extra(*extras: str) -> list[str]:
    """What pyproject.toml says of extras, those that they name themselves included."""
    lines: Sequence[str] = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    inner = [re.fullmatch(r"farreach\[(\w+)\]", line) for line in lines]
    others = [line for line, nested in zip(lines, inner, strict=True) if not nested]
    return others + [line for nested in inner if nested for line in list_extra(nested[1])]


def test_the_wheel_has_one_name_and_every_file_of_every_room(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"farreach"}
    listed = subprocess.run(  # noqa: S603
        ["git", "ls-files", *ROOMS, "farreach"],  # noqa: S607
        cwd=registry.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    wanted = {
        name if name.startswith("farreach/") else f"farreach/{name}"
        for name in listed
        if not re.match(r"results/(published|submitted)/", name)
        or re.fullmatch(r"results/published/certificates/.+\.json", name)
    }
    assert len(wanted) > 300
    assert wanted <= set(names)
    for room in ROOMS:
        assert find_packages(str(registry.ROOT / room))


def test_without_extras_nothing_else_is_installed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        needs = re.findall(r"^Requires-Dist: (.+)$", archive.read(name).decode(), re.MULTILINE)
    assert needs
    assert all("; extra ==" in need for need in needs), needs
    assert set(PROJECT["optional-dependencies"]) == {"suite", "torch", "tensorflow", "jax", "cluster", "report"}
    assert PROJECT["dependencies"] == []


def test_the_extras_are_what_the_environments_of_the_project_install() -> None:
    lines = (registry.ROOT / "requirements.txt").read_text().splitlines()
    required = {line for line in lines if line and not line.startswith("#")}
    assert {*list_extra("suite"), "pytest"} == required
    assert {line for line in required if "=" in line} <= set(list_extra("report"))
    for framework in registry.list_compared():
        needed = {*registry.list_needs(framework)} - {"numpy"}
        assert needed <= installing.find_needed(list_extra(registry.name_package(framework)))


def test_the_rooms_are_not_importable_under_their_own_names(programs: Path, tmp_path: Path) -> None:
    for room in ROOMS:
        done = run("-c", f"import {room}", cwd=tmp_path, python=programs / "python")
        assert f"No module named '{room}'" in done.stderr, room


def test_without_its_extra_every_command_is_one_line_that_names_it(programs: Path, tmp_path: Path) -> None:
    reading = {"show", "report", "tail", "compare", "history", "pack", "unpack"}
    assert reading < set(COMMANDS)
    cases = {
        "report": ["report", "mine"],
        "advise": ["advise", "mine"],
        "advise --task": ["advise", "--task", "adding"],
        "compare --live": ["compare", "a", "b", "--live"],
        "run": ["run", "quick"],
        "": [],
    }
    extras = {"report": "report", "advise": "report", "": "report"}
    for name, words in cases.items():
        done = call(programs, *words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), name
        assert done.stderr.count("\n") == 1, done.stderr
        extra = extras.get(name, "suite")
        assert f"needs the extra {extra}, of which is not installed: " in done.stderr, done.stderr
        assert "pandas" in done.stderr
        assert ("datasets" in done.stderr) == (extra == "suite")
    for name in COMMANDS:
        expected = "report" if name in {*reading, "advise"} else "suite"
        assert command.choose_extra([name]) == expected, name
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_the_recorder_needs_the_framework_alone_and_the_report_the_extra_report(programs: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    program = tmp_path / "training.py"
    program.write_text(RECORD)
    torch = installing.link_packages(tmp_path / "torch", list_extra("torch"))
    done = run(program, cwd=tmp_path, python=programs / "python", PYTHONPATH=torch)
    assert done.returncode == 0, done.stderr
    (row,) = (tmp_path / "mine" / "rows").glob("*.json")
    assert json.loads(row.read_text())["steps_done"] == 12
    path = installing.link_packages(tmp_path / "report", list_extra("report"))
    assert not (tmp_path / "report" / "datasets").exists()
    told = call(programs, "report", "mine", cwd=tmp_path, path=path)
    assert told.returncode == 0, told.stderr
    assert "pytorch with norm 5 (100 % of steps clipped)" in told.stdout.replace("\n", " ")
    report = (tmp_path / "mine" / "report.md").read_text()
    assert "farreach report mine" in report
    assert "python -m benchmarks report" not in report
    assert (tmp_path / "mine" / "report.html").exists()
    refused = call(programs, "run", "quick", cwd=tmp_path, path=path)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "needs the extra suite, of which is not installed: autograd, datasets, psutil," in refused.stderr


@pytest.mark.slow
def test_the_installed_suite_trains_in_the_working_directory_and_its_version_stands_for_the_commit(
    programs: Path, tmp_path: Path
) -> None:
    path = installing.link_packages(tmp_path / "suite", list_extra("suite"))
    place = tmp_path / "place"
    place.mkdir()
    (place / "small.toml").write_text(format_suite())
    version = f"v{farreach.__version__}"
    told = call(programs, "--version", cwd=place, path=path)
    assert told.stdout == f"farreach {farreach.__version__}\n"
    listing = call(programs, "list", cwd=place, path=path)
    assert listing.returncode == 0, listing.stderr
    assert {"adding", "reference", "quick"} <= set(re.findall(r"\w+", listing.stdout))
    training = call(programs, "run", "small.toml", cwd=place, path=path)
    assert training.returncode == 0, training.stderr
    rows = Store(place / "results" / "runs" / "small").rows()
    assert rows["status"].tolist() == ["finished"]
    assert rows["commit"].tolist() == [version]
    assert rows["command"].tolist() == ["farreach run small.toml"]
    assert {one.name for one in place.iterdir()} == {"small.toml", "results"}
    page = (place / "results" / "runs" / "small" / "report" / "curves-0.js").read_text()
    assert "farreach run small.toml --only task=adding" in page
    refused = call(programs, "run", "quick", "--only", "framework=pytorch", cwd=place, path=path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "framework pytorch is not installed: it needs the package torch (extra torch)" in refused.stderr
    refused = call(programs, "publish", cwd=place, path=path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "this suite is installed" in refused.stderr


def test_certificates_travel_with_the_package(programs: Path, tmp_path: Path) -> None:
    program = "from farreach.results.storage import certificates as c\nprint(len([*c.PUBLISHED.glob('*.json')]))"
    done = run("-c", program, cwd=tmp_path, python=programs / "python", PYTHONPATH=_link_report(tmp_path))
    published = [*(registry.ROOT / "results" / "published" / "certificates").glob("*.json")]
    assert published
    assert done.stdout.strip() == str(len(published)), done.stderr


def _link_report(tmp_path: Path) -> Any:
    return installing.link_packages(tmp_path / "report", list_extra("report"))


def test_the_version_is_written_once_for_pip_and_once_for_python() -> None:
    assert farreach.__version__ == PROJECT["version"]


def test_the_package_needs_neither_numpy_nor_a_framework_to_be_imported() -> None:
    heavy = {"torch", "keras", "tensorflow", "jax", "numpy", "pandas"}
    done = run("-c", f"import sys, farreach; assert not {heavy!r} & set(sys.modules), sys.modules", cwd=registry.ROOT)
    assert done.returncode == 0, done.stderr
