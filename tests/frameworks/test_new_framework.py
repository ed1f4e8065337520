"""A new framework is a folder whose ``__init__.py`` alone is needed."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
from pathlib import Path

import pytest

from farreach import frameworks
from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import training
from farreach.benchmarks.studies import certification
from farreach.results.analysis.certificates import is_within_bounds
from tests.support import certified

SOURCE = '''"""A framework of one file, which computes as the reference does."""

from farreach.frameworks.reference import Framework as Reference
from farreach.frameworks.reference import configure

NEEDS = ("numpy",)
PATHS = {"cpu": {"rnn": ("plain",), "lstm": ("plain",), "gru": ("plain",)}}

__all__ = ["Framework", "configure"]


class Framework(Reference):
    """One model in training."""
'''


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a framework of one file that the registry finds, beside those that there are."""
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    folder = tmp_path / "frameworks"
    shutil.copytree(Path(frameworks.__path__[0]), folder)
    (folder / "onefile").mkdir()
    (folder / "onefile" / "__init__.py").write_text(SOURCE)
    for room in ("benchmarks/matrix", "benchmarks/running", "tasks"):
        shutil.copytree(Path(frameworks.__path__[0]).parent / room, tmp_path / room)
    monkeypatch.setattr(frameworks, "__path__", [*frameworks.__path__, str(folder)])
    return "onefile"


def test_it_is_listed_compared_and_says_what_it_is(name: str) -> None:
    assert name in registry.list_frameworks()
    assert name in registry.list_compared()
    assert registry.read_summary("frameworks", name) == "A framework of one file, which computes as the reference does."
    assert registry.list_paths(name, "cpu", "lstm") == ("plain",)
    assert registry.read_environment(name, "cpu") == registry.read_environment(name, "cuda") == {}
    assert registry.find_framework_version(name) == registry.find_version("numpy")


def test_it_trains_and_has_no_gradient_through_time(name: str) -> None:
    case = Case(task="adding", parameters=(("T", 5),), framework=name, cell="gru", path="plain", hidden=4, steps=100)
    reference = dataclasses.replace(case, framework="reference", path="numpy", dtype="float64")
    assert not registry.has_part(name, "gradient_flow")
    outcomes = [training.train(one, lambda _: None) for one in (case, reference)]
    assert outcomes[0].curves == outcomes[1].curves
    assert outcomes[1].flow["h"]
    assert not any(outcomes[0].flow.values())
    assert not any(outcomes[0].spectra.values())


def test_it_is_held_against_the_reference(name: str) -> None:
    check = certification.list_checks(name)[0]
    assert is_within_bounds(certified.make_check(check, certification.measure_differences(check, 3).differences))


@pytest.mark.parametrize("part", ["gradient_flow", "native", "own_clips", "device"])
def test_the_parts_that_it_lacks_are_known_to_be_missing(name: str, part: str) -> None:
    assert not registry.has_part(name, part)
    assert registry.has_part("pytorch", part)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"farreach.frameworks.{name}.{part}")


def test_what_it_lacks_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(registry.UsageError, match="onefile has no defaults of its own, so no mode native"):
        Case(task="adding", framework=name, cell="lstm", path="plain", mode="native")
    with pytest.raises(registry.UsageError, match="onefile does not run on cuda; it runs on: cpu"):
        suite.load_suite("quick").list_cases([name], device="cuda")
