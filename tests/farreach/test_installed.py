"""What pip installs, and that it works far from the checkout."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from setuptools import find_packages

from farreach.benchmarks.matrix import registry
from farreach.results.storage.result_set import Store
from tests.support.sweeps import format_suite

ROOMS = ("tasks", "frameworks", "benchmarks", "results")
KINDS = {".py", ".typed", ".toml", ".js", ".css", ".j2", ".parquet", ".json", ".md"}


def run(*arguments: Any, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python without what the tests have on its path."""
    apart = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(  # noqa: S603
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=apart | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the project into, from a copy of its sources, which a build leaves traces in."""
    for needed in ("setuptools", "pip"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    listed = [registry.ROOT / name for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md")]
    rooms = [path for room in ("farreach", *ROOMS) for path in (registry.ROOT / room).rglob("*")]
    outputs = {registry.ROOT / "results" / name for name in ("runs", "published")}
    sources = [path for path in rooms if path.suffix in KINDS and not outputs & set(path.parents)]
    sources += (registry.ROOT / "results" / "published" / "certificates").glob("*.json")
    for path in [*listed, *sources]:
        copy = source / path.relative_to(registry.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", target]
    done = run("-m", "pip", "install", *options, source, cwd=source)
    assert done.returncode == 0, done.stderr
    return target


def test_pip_puts_one_name_on_the_path_and_every_room_below_it(installed: Path) -> None:
    names = {path.name.partition("-")[0] for path in installed.iterdir()}
    assert names == {"farreach"}
    for room in ROOMS:
        expected = {room, *(f"{room}/{name.replace('.', '/')}" for name in find_packages(str(registry.ROOT / room)))}
        for folder in expected:
            there = {path.name for path in (installed / "farreach" / folder).glob("*.py")}
            assert there == {path.name for path in (registry.ROOT / folder).glob("*.py")}, folder


def test_what_is_installed_needs_no_other_distribution(installed: Path) -> None:
    assert "Requires-Dist" not in next(installed.glob("*.dist-info/METADATA")).read_text()


def test_the_rooms_are_not_importable_under_their_own_names(installed: Path, tmp_path: Path) -> None:
    for room in ROOMS:
        done = run("-c", f"import {room}", cwd=tmp_path, PYTHONPATH=str(installed))
        assert f"No module named '{room}'" in done.stderr, room


def test_the_installed_suite_lists_trains_and_reports_in_the_working_directory(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(format_suite())
    place = {"PYTHONPATH": str(installed)}
    listing = run("-m", "farreach.benchmarks", "list", cwd=tmp_path, **place)
    assert listing.returncode == 0, listing.stderr
    assert {"adding", "reference", "quick"} <= set(re.findall(r"\w+", listing.stdout))
    training = run("-m", "farreach.benchmarks", "run", "small.toml", cwd=tmp_path, **place)
    assert training.returncode == 0, training.stderr
    folder = tmp_path / "results" / "runs" / "small"
    assert Store(folder).rows()["status"].tolist() == ["finished"]
    (folder / "report.md").unlink()
    reporting = run("-m", "farreach.benchmarks", "report", str(folder), cwd=tmp_path, **place)
    assert reporting.returncode == 0, reporting.stderr
    assert (folder / "report.md").exists()
    assert (folder / "report.html").exists()


def test_the_version_is_written_once_for_pip_and_once_for_python() -> None:
    init = (registry.ROOT / "farreach" / "__init__.py").read_text()
    project = (registry.ROOT / "pyproject.toml").read_text()
    assert re.search(r'__version__ = "(.+)"', init)[1] == re.search(r'\nversion = "(.+)"', project)[1]  # type: ignore[index]


def test_the_package_needs_neither_numpy_nor_a_framework_to_be_imported() -> None:
    heavy = {"torch", "keras", "tensorflow", "jax", "numpy", "pandas"}
    done = run("-c", f"import sys, farreach; assert not {heavy!r} & set(sys.modules), sys.modules", cwd=registry.ROOT)
    assert done.returncode == 0, done.stderr
