"""Data flows one way: who may import whom, and where a framework may be named."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from farreach.benchmarks.commands import COMMANDS
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.speed import handwritten

ROOMS = ("tasks", "frameworks", "benchmarks", "results", "farreach")
ALLOWED = {
    "tasks": {"tasks"},
    "frameworks": {"frameworks", "tasks.base"},
    "benchmarks": {"benchmarks", "frameworks", "tasks", "results"},
    "results": {"results"},
    "farreach": {"farreach"},
}
DOORS = {"advising.py": {"results"}, "api.py": {"benchmarks", "results"}, "command.py": {"benchmarks"}}
"""The files of ``farreach/`` that lead to the suite, which their functions import: the recorders need nothing of it."""

TORCH = ("flow", "norms", "tracking", "updates", "watch")
"""What the recorder for PyTorch is made of."""

PACKAGES = {"torch", "lightning", "tensorflow", "keras", "jax", "flax", "optax"}
FOLDER = registry.ROOT / "benchmarks" / "speed" / "handwritten"
HANDWRITTEN = {FOLDER / f"{name}.py": framework for name, framework in handwritten.LOOPS.items()}
HEAVY = PACKAGES | {"pandas", "datasets", "seaborn", "scipy"}


def list_imports(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too; one of ours without the ``farreach.`` before it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {
        name.removeprefix("farreach.") if name.split(".")[1:2] and name.split(".")[1] in ROOMS else name
        for name in names
    }


def list_files(room: str) -> list[Path]:
    return sorted((registry.ROOT / room).rglob("*.py"))


def is_within(name: str, allowed: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in allowed)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_flows_into_it(room: str) -> None:
    assert list_files(room)
    for path in list_files(room):
        ours = {name for name in list_imports(path) if name.split(".")[0] in ROOMS}
        package = (
            {"farreach", "farreach.granted"} if room == "benchmarks" else set()
        )  # its place, its version, the cores
        allowed = ALLOWED[room] | (DOORS.get(path.name, set()) if room == "farreach" else set())
        wrong = {name for name in ours - package if not is_within(name, allowed)}
        assert not wrong, f"{path} imports {wrong}"


FLOORS = {
    "results": ("publishing", "site", "report", "figures", "timing", "analysis", "storage"),
    "benchmarks": ("worker", "replica", "commands", "studies", "cluster", "speed", "running", "matrix"),
}
"""From top to bottom. The worker is a program of its own, as the command line is: it is started and never imported."""


def find_floor(room: str, part: str) -> int:
    """Return how far down a part of a room lies; what lies on no floor of its own is below them all."""
    floors = FLOORS[room]
    return floors.index(part) if part in floors else len(floors)


@pytest.mark.parametrize("room", FLOORS)
def test_within_a_room_imports_go_downward_only(room: str) -> None:
    for path in list_files(room):
        place = path.relative_to(registry.ROOT / room).parts[0].removesuffix(".py")
        if place in {"__main__", "__init__"}:
            continue
        inner = {name for name in list_imports(path) if name.startswith(f"{room}.")}
        above = {name for name in inner if find_floor(room, name.split(".")[1]) < find_floor(room, place)}
        assert not above, f"{path} imports {above}, from above"


@pytest.mark.parametrize("room", ["tasks", "benchmarks", "results"])
def test_no_file_outside_frameworks_imports_a_framework_but_the_handwritten_loops(room: str) -> None:
    for path in set(list_files(room)) - set(HANDWRITTEN):
        named = {name.split(".")[0] for name in list_imports(path)} & PACKAGES
        assert not named, f"{path} imports {named}"


def test_each_framework_file_imports_its_own_framework_alone() -> None:
    for name in registry.list_frameworks():
        roots = {module.split(".")[0] for path in list_files(f"frameworks/{name}") for module in list_imports(path)}
        others = {registry.name_package(other) for other in registry.list_frameworks() if other != name}
        assert not roots & others - {"numpy"}  # the reference's, in which every framework takes and gives its arrays


def test_a_handwritten_loop_imports_one_framework_and_nothing_of_ours() -> None:
    assert set(HANDWRITTEN) == set(list_files("benchmarks/speed/handwritten")) - {FOLDER / "__init__.py"}
    for path, framework in HANDWRITTEN.items():
        roots = {name.split(".")[0] for name in list_imports(path)}
        others = {registry.name_package(other) for other in registry.list_compared() if other != framework}
        assert registry.name_package(framework) in roots, path
        assert not roots & {*ROOMS, "tests", "examples", *others}, path


def test_the_installable_package_needs_its_framework_alone() -> None:
    needs = {  # and no NumPy but where the framework has it, no pandas or pyarrow but where the suite judges
        **{name: {"torch"} for name in ("pytorch.py", *(f"torch_{part}.py" for part in TORCH))},
        "lightning.py": {"lightning", "pytorch_lightning"},
        "transformers.py": {"transformers"},
        "keras.py": {"keras"},
        "keras_optimizer.py": {"keras", "tensorflow"},
        "keras_flow.py": {"keras", "tensorflow", "torch"},
        "jax.py": {"jax", "numpy"},
        "jax_recorded.py": {"jax", "numpy", "optax"},
        "cost.py": {"torch", "keras", "jax", "optax", "numpy"},  # one of them at a time
        "advising.py": {"pandas", "results"},
        "api.py": {"pandas", "pyarrow", "benchmarks", "results"},
        "command.py": {"benchmarks"},
    }
    for path in list_files("farreach"):
        roots = {name.split(".")[0] for name in list_imports(path)} - set(sys.stdlib_module_names) - {"farreach"}
        assert roots == needs.get(path.name, set()), path


def test_an_example_uses_the_installed_package_and_nothing_else_of_ours() -> None:
    assert list_files("examples")
    for path in list_files("examples"):
        assert {name.split(".")[0] for name in list_imports(path)} & set(ROOMS) == {"farreach"}
        assert len(path.read_text().splitlines()) < 80


def test_no_test_module_imports_another() -> None:
    modules = [path for path in list_files("tests") if path.name.startswith("test_")]
    assert modules
    for path in modules:
        wrong = {name for name in list_imports(path) if re.match(r"tests\.(.+\.)?test_", name)}
        assert not wrong, f"{path} imports {wrong}: what tests share lies in tests/support"


def run_program(program: str) -> None:
    """Hold that a program ends well in a process of its own."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], cwd=registry.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_listing_and_help_load_nothing_heavy() -> None:
    lines = [["list"], [], ["--help"], *([name, "--help"] for name in COMMANDS)]
    program = (
        "import sys\n"
        "from farreach.benchmarks.__main__ import main\n"
        f"for line in {lines!r}:\n"
        "    sys.argv = ['benchmarks', *line]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, end.code\n"
        f"    loaded = set(sys.modules) & {HEAVY!r}\n"
        "    assert not loaded, (line, loaded)\n"
    )
    run_program(program)


def test_a_result_set_is_read_without_statistics_which_take_half_a_second_to_load() -> None:
    program = "import sys\nfrom farreach.results.report import contents\nassert 'scipy.stats' not in sys.modules\n"
    run_program(program)
