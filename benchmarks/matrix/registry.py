"""What there is: tasks, frameworks and suites, found by their files and read without importing them."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
from pathlib import Path
from typing import Any, TypeGuard

import farreach

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the rooms: the top of a checkout, or the installed package."""

SUITES = ROOT / "benchmarks" / "suites"

HOME = Path(farreach.__file__).resolve().parents[1]
"""The folder that `farreach` is imported from: where processes are started, so that they import the same."""

RUNS = (ROOT if HOME == ROOT else Path.cwd()) / "results" / "runs"
"""Where results go by default: the checkout, or for an installed suite the working directory."""

REFERENCE = "reference"
"""The reference implementation, which the others are compared with; it runs where it is asked for by name."""

TASK, FRAMEWORK = "Task", "Framework"
MATCHED, NATIVE = "matched", "native"
"""The modes: every framework made to do the same arithmetic, or each as its own documentation has it."""


class UsageError(Exception):
    """Something that the user asked for and that cannot be; one line, exit status 2."""


def list_tasks() -> list[str]:
    """Return the names of the tasks: the files in ``tasks/`` that define a class ``Task``."""
    return [
        path.stem
        for path in sorted((ROOT / "tasks").glob("*.py"))
        if path.stem != "base" and _defines_class(path, TASK)
    ]


def list_frameworks() -> list[str]:
    """Return the names of the frameworks: the folders in ``frameworks/`` that define a class ``Framework``."""
    paths = sorted((ROOT / "frameworks").glob("*/__init__.py"))
    return [path.parent.name for path in paths if _defines_class(path, FRAMEWORK)]


def list_compared() -> list[str]:
    """Return the frameworks that are compared: all but the reference."""
    return [name for name in list_frameworks() if name != REFERENCE]


def list_suites() -> list[str]:
    """Return the names of the suites: the TOML files in ``benchmarks/suites/``."""
    return [path.stem for path in sorted(SUITES.glob("*.toml"))]


def read_summary(folder: str, name: str) -> str:
    """Return the first line of a plug-in's docstring."""
    path = ROOT / folder / f"{name}.py"
    docstring = ast.get_docstring(_parse_file(path if path.exists() else ROOT / folder / name / "__init__.py")) or ""
    return docstring.partition("\n")[0]


def name_package(framework: str) -> str:
    """Return the distribution that is the framework itself, the first of those that it needs."""
    return list_needs(framework)[0]


def list_needs(framework: str, mode: str = MATCHED) -> tuple[str, ...]:
    """Return the distributions that a framework needs in a mode."""
    return tuple(_read_literal(_find_file(framework, mode), "NEEDS"))


@functools.cache
def find_version(distribution: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_framework_version(framework: str) -> str | None:
    """Return the installed version of a framework's distribution, or None."""
    return find_version(name_package(framework))


def list_installed() -> list[str]:
    """Return the frameworks that are compared and installed."""
    return [name for name in list_compared() if find_framework_version(name)]


def require_any() -> list[str]:
    """Return the frameworks that are compared and installed; raise `UsageError` where there are none."""
    names = list_installed()
    if not names:
        message = f"none of the frameworks is installed: {', '.join(list_compared())}"
        raise UsageError(message)
    return names


def require_framework(framework: str, mode: str = MATCHED) -> None:
    """Raise `UsageError` where there is no such framework, or a distribution that it needs in this mode is missing."""
    require_name("framework", framework, list_frameworks())
    if find_framework_version(framework) is None:
        message = f"framework {framework} is not installed: it needs the package {name_package(framework)}"
        raise UsageError(message)
    missing = [name for name in list_needs(framework, mode) if find_version(name) is None]
    if missing:
        message = f"framework {framework} in mode {mode} needs a package that is not installed: {', '.join(missing)}"
        raise UsageError(message)


def has_part(framework: str, part: str) -> bool:
    """Return whether a framework's folder has a file that is welcome and not needed, by its name without ``.py``.

    Args:
        framework: a name of `frameworks`.
        part: one that `farreach.frameworks.parts` describes, such as ``gradient_flow``.

    """
    return (ROOT / "frameworks" / framework / f"{part}.py").exists()


def has_mode(framework: str, mode: str) -> bool:
    """Return whether a framework has a mode."""
    return _find_file(framework, mode).exists()


def list_activations(framework: str) -> tuple[str, ...]:
    """Return the activations that a framework's own rnn takes; raise `UsageError` where it has no mode native."""
    if not has_mode(framework, NATIVE):
        message = f"{framework} has no defaults of its own, so no mode {NATIVE}"
        raise UsageError(message)
    return tuple(_read_literal(_find_file(framework, NATIVE), "ACTIVATIONS"))


def list_cells(framework: str, device: str, mode: str = MATCHED) -> dict[str, tuple[str, ...]]:
    """Return the cells that a framework has on a device in a mode, and the paths of each, its default first."""
    devices = _read_literal(_find_file(framework, mode), "PATHS")
    if device not in devices:
        message = f"{framework} does not run on {device}; it runs on: {', '.join(devices)}"
        raise UsageError(message)
    return {cell: tuple(offered) for cell, offered in devices[device].items()}


def list_paths(framework: str, device: str, cell: str, mode: str = MATCHED) -> tuple[str, ...]:
    """Return the paths that a framework offers for a cell on a device in a mode, its default first."""
    offered = list_cells(framework, device, mode)
    if cell not in offered:
        message = f"{framework} has no cell {cell} on {device}; it has: {', '.join(offered)}"
        raise UsageError(message)
    return offered[cell]


def read_environment(framework: str, device: str) -> dict[str, str]:
    """Return the variables that a framework wants to be set before its process starts on a device."""
    path = _find_file(framework, MATCHED)
    return dict(_read_literal(path, "ENVIRONMENT").get(device, {})) if _declares(path, "ENVIRONMENT") else {}


def require_name(kind: str, name: str, names: list[str]) -> str:
    """Return `name` if it is one of `names`; raise `UsageError` with what is allowed otherwise."""
    if name not in names:
        message = f"unknown {kind} {name!r}; allowed: {', '.join(names)}"
        raise UsageError(message)
    return name


@functools.cache
def _parse_file(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def _defines_class(path: Path, name: str) -> bool:
    if f"class {name}" not in path.read_text("utf-8"):  # most files: to parse all is what `list` takes longest over
        return False
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in _parse_file(path).body)


@functools.cache
def _find_file(framework: str, mode: str) -> Path:
    return ROOT / "frameworks" / framework / ("__init__.py" if mode == MATCHED else f"{mode}.py")


@functools.cache
def _read_literal(path: Path, name: str) -> Any:
    for node in _parse_file(path).body:
        if _assigns(node, name):
            return ast.literal_eval(node.value)
    message = f"{path.relative_to(ROOT)} declares no {name}"
    raise AttributeError(message)


def _declares(path: Path, name: str) -> bool:
    return any(_assigns(node, name) for node in _parse_file(path).body)


def _assigns(node: ast.stmt, name: str) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
